//! The connection as such: greeting, password, protocol, database, and goodbye.
//!
//! There is one user, `default`; `requirepass` is its password. Passwords are compared in time that depends on
//! their lengths only, and never appear in MONITOR or SLOWLOG.

use super::keys::db_index;
use super::{Command, Ctx, Flags, Group, Keys, Outcome, UNCHANGED};
use crate::error::ReplyError;
use crate::format::rdb::REDIS_VERSION;
use crate::resp::args::Args;
use crate::resp::number::parse_i64;
use crate::resp::reply::Protocol;
use crate::state::session::ReplyMode;

const NO_PASSWORD_SET: ReplyError = ReplyError::new(
    "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
);
const WRONG_PASSWORD: ReplyError =
    ReplyError::new("WRONGPASS invalid username-password pair or user is disabled.");
const NO_PROTO: ReplyError = ReplyError::new("NOPROTO unsupported protocol version");
const HELLO_BEFORE_AUTH: ReplyError = ReplyError::new(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
);

/// PING [message]
fn ping(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if args.len() > 2 {
        return Err(ReplyError::wrong_arity("ping"));
    }
    let message = args.get(1);
    if ctx.out.proto() == Protocol::Resp2 && ctx.session().subscriptions() > 0 {
        ctx.out.array(2);
        ctx.out.bulk(b"pong");
        ctx.out.bulk(message.unwrap_or_default());
    } else {
        match message {
            Some(message) => ctx.out.bulk(message),
            None => ctx.out.simple("PONG"),
        }
    }
    UNCHANGED
}

/// ECHO message
fn echo(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.out.bulk(&args[1]);
    UNCHANGED
}

/// SELECT index
fn select(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let index = db_index(ctx, args, 1)?;
    ctx.session().db = index;
    ctx.out.ok();
    UNCHANGED
}

/// AUTH [username] password
fn auth(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if args.len() > 3 {
        return Err(ReplyError::SYNTAX);
    }
    ctx.server.redacted.extend(1..args.len());
    if args.len() == 2 && ctx.server.config.settings.requirepass.get().is_none() {
        return Err(NO_PASSWORD_SET);
    }
    let user = if args.len() == 3 { &args[1] } else { b"default" };
    log_in(ctx, user, &args[args.len() - 1])?;
    ctx.out.ok();
    UNCHANGED
}

fn log_in(ctx: &mut Ctx<'_>, user: &[u8], password: &[u8]) -> Result<(), ReplyError> {
    let wanted = ctx.server.config.settings.requirepass.get();
    if user != b"default" || wanted.is_some_and(|wanted| !same(wanted, password)) {
        ctx.server.stats.denied_auth += 1;
        return Err(WRONG_PASSWORD);
    }
    let session = ctx.session();
    session.authenticated = true;
    session.user = "default".into();
    Ok(())
}

/// Equality whose duration says nothing about where the two differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

/// HELLO [protover [AUTH username password] [SETNAME clientname]]
fn hello(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let proto = match args.get(1).map(parse_i64) {
        None => None,
        Some(None) => {
            return Err(ReplyError::new("ERR Protocol version is not an integer or out of range"));
        }
        Some(Some(2)) => Some(Protocol::Resp2),
        Some(Some(3)) => Some(Protocol::Resp3),
        Some(Some(_)) => return Err(NO_PROTO),
    };
    let (mut credentials, mut name) = (None, None);
    let mut i = 2;
    while i < args.len() {
        let more = args.len() - 1 - i;
        if args.is(i, "AUTH") && more >= 2 {
            ctx.server.redacted.extend([i + 1, i + 2]);
            credentials = Some((&args[i + 1], &args[i + 2]));
            i += 3;
        } else if args.is(i, "SETNAME") && more >= 1 {
            check_name(&args[i + 1])?;
            name = Some(&args[i + 1]);
            i += 2;
        } else {
            let option = String::from_utf8_lossy(&args[i]);
            return Err(format!("ERR Syntax error in HELLO option '{option}'").into());
        }
    }
    if let Some((user, password)) = credentials {
        log_in(ctx, user, password)?;
    }
    if !ctx.session().authenticated && ctx.server.config.settings.requirepass.get().is_some() {
        return Err(HELLO_BEFORE_AUTH);
    }
    if let Some(name) = name {
        ctx.session().name = name.to_vec();
    }
    if let Some(proto) = proto {
        ctx.session().proto = proto;
        ctx.out.set_proto(proto);
    }
    greet(ctx);
    UNCHANGED
}

fn greet(ctx: &mut Ctx<'_>) {
    let id = ctx.session().id.0;
    let replica = ctx.server.config.settings.replicaof.is_some();
    let out = &mut ctx.out;
    out.map(7);
    out.bulk_str("server");
    out.bulk_str("redis");
    out.bulk_str("version");
    out.bulk_str(REDIS_VERSION);
    out.bulk_str("proto");
    out.int(if out.proto() == Protocol::Resp3 { 3 } else { 2 });
    out.bulk_str("id");
    out.int(id as i64);
    out.bulk_str("mode");
    out.bulk_str("standalone");
    out.bulk_str("role");
    out.bulk_str(if replica { "replica" } else { "master" });
    out.bulk_str("modules");
    out.array(0);
}

/// Whether CLIENT LIST, whose lines are words, can show the text.
pub fn is_word(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// Whether a client may call itself so.
pub fn check_name(name: &[u8]) -> Result<(), ReplyError> {
    let error = "ERR Client names cannot contain spaces, newlines or special characters.";
    if is_word(name) { Ok(()) } else { Err(ReplyError::new(error)) }
}

/// QUIT
fn quit(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.session().close_after_reply = true;
    ctx.out.ok();
    UNCHANGED
}

/// RESET: as if just connected, but for the names of the client's library.
fn reset(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    let slot = ctx.slot;
    ctx.server.forget_client(ctx.db.changes(), slot);
    let authenticated = ctx.server.config.settings.requirepass.get().is_none();
    let session = ctx.session();
    session.monitor = false;
    session.multi = None;
    session.db = 0;
    session.proto = Protocol::Resp2;
    session.authenticated = authenticated;
    session.user = "default".into();
    session.name.clear();
    session.reply_mode = ReplyMode::On;
    session.no_evict = false;
    session.no_touch = false;
    ctx.out.simple("RESET");
    UNCHANGED
}

const EARLY: Flags =
    Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::FAST).union(Flags::NO_AUTH);
const ANYTIME: Flags = Flags::LOADING.union(Flags::STALE).union(Flags::FAST);

const fn row(name: &'static str, arity: i32, flags: Flags, run: super::Execute) -> Command {
    Command::new(name, arity, flags, Keys::None, run).group(Group::Connection)
}

pub const COMMANDS: &[Command] = &[
    row("auth", -2, EARLY.union(Flags::ALLOW_BUSY), auth).doc("1.0.0", "Shows the server a password."),
    row("echo", 2, ANYTIME, echo).doc("1.0.0", "Gives its argument back."),
    row("hello", -1, EARLY.union(Flags::ALLOW_BUSY), hello)
        .doc("6.0.0", "Says who is there and chooses the protocol."),
    row("ping", -1, Flags::FAST, ping).doc("1.0.0", "Asks whether the server is alive."),
    row("quit", -1, EARLY.union(Flags::ALLOW_BUSY), quit).doc("1.0.0", "Ends the connection."),
    row("reset", 1, EARLY.union(Flags::ALLOW_BUSY), reset)
        .doc("6.2.0", "Brings the connection back to its first state."),
    row("select", 2, ANYTIME, select).doc("1.0.0", "Chooses the database of the connection."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;

    fn with_password(password: &str) -> Bench {
        let mut bench = Bench::default();
        bench.set("requirepass", password);
        bench.session().authenticated = false;
        bench
    }

    #[test]
    fn greeting() {
        let mut bench = Bench::default();
        bench.check("PING", "+PONG");
        bench.check("PING hi", "$2 hi");
        bench.check("PING a b", "-ERR wrong number of arguments for 'ping' command");
        bench.check("ECHO x", "$1 x");
        bench.session().channels.insert(b"c".to_vec());
        bench.check("PING", "*2 $4 pong $0");
        bench.check("PING hi", "*2 $4 pong $2 hi");
    }

    #[test]
    fn selecting() {
        let mut bench = Bench::default();
        bench.check("SELECT 15", "+OK");
        assert_eq!(bench.session().db, 15);
        bench.check("SELECT 16", "-ERR DB index is out of range");
        bench.check("SELECT -1", "-ERR DB index is out of range");
        bench.check("SELECT x", "-ERR value is not an integer or out of range");
        assert_eq!(bench.session().db, 15);
    }

    #[test]
    fn passwords() {
        let mut bench = Bench::default();
        bench.check("AUTH foo", &format!("-{}", NO_PASSWORD_SET.text()));
        bench.check("AUTH default foo", "+OK");
        bench.check("AUTH other foo", &format!("-{}", WRONG_PASSWORD.text()));
        let mut bench = with_password("secret");
        bench.check("AUTH Secret", &format!("-{}", WRONG_PASSWORD.text()));
        bench.check("AUTH secrets", &format!("-{}", WRONG_PASSWORD.text()));
        assert!(!bench.session().authenticated);
        bench.check("AUTH default secret", "+OK");
        assert!(bench.session().authenticated);
        assert_eq!(bench.server.redacted, [1, 2]);
        bench.check("AUTH a b c", "-ERR syntax error");
    }

    #[test]
    fn hello_negotiates() {
        let mut bench = Bench::default();
        let info = "$6 server $5 redis $7 version $5 7.2.4 $5 proto :2 $2 id :1 $4 mode $10 standalone $4 role $6 master $7 modules *0";
        bench.check("HELLO", &format!("*14 {info}"));
        bench.check("HELLO 3 SETNAME joe", &format!("%7 {}", info.replace(":2", ":3")));
        assert_eq!((bench.session().proto, &*bench.session().name), (Protocol::Resp3, &b"joe"[..]));
        bench.check("HELLO 4", "-NOPROTO unsupported protocol version");
        bench.check("HELLO x", "-ERR Protocol version is not an integer or out of range");
        bench.check("HELLO 2 FOO", "-ERR Syntax error in HELLO option 'FOO'");
        bench.check("HELLO 2 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'");
        let mut bench = with_password("secret");
        assert!(bench.run("HELLO 3").starts_with("-NOAUTH HELLO must be called"));
        assert_eq!(bench.session().proto, Protocol::Resp2);
        assert!(bench.run("HELLO 3 AUTH default nope SETNAME x").starts_with("-WRONGPASS"));
        assert_eq!(bench.session().name, b"");
        assert!(bench.run("HELLO 3 AUTH default secret").starts_with("%7"));
    }

    #[test]
    fn resetting() {
        let mut bench = with_password("secret");
        bench.run("HELLO 3 AUTH default secret SETNAME joe");
        bench.run("SELECT 3");
        bench.run("WATCH k");
        bench.run("MULTI");
        bench.check("RESET", "+RESET");
        let session = bench.session().clone();
        assert!(!session.authenticated && session.multi.is_none() && session.watched.is_empty());
        assert_eq!((session.db, session.proto, &*session.name), (0, Protocol::Resp2, &b""[..]));
        assert!(bench.store.changes.interest.is_empty());
        bench.check("QUIT", "+OK");
        assert!(bench.session().close_after_reply);
    }
}

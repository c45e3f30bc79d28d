//! CLIENT: who is connected, and what may be done to them.
//!
//! A command sees other clients but does nothing to them itself: killing and unblocking are orders that the node
//! carries out when the unit is closed, so that a client which kills itself gets its reply first.

use super::connection::{check_name, is_word};
use super::help::{help, unknown_form};
use super::{BlockCause, Command, Ctx, Flags, Group, Keys, Outcome, UNCHANGED};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::resp::number::parse_i64;
use crate::resp::reply::Protocol;
use crate::state::session::ReplyMode;
use crate::state::{ClientId, Order, Pause, Session, Slot, Transaction};

/// CLIENT ID
fn id(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    let id = ctx.session().id;
    ctx.out.int(id.0 as i64);
    UNCHANGED
}

/// CLIENT GETNAME
fn getname(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    let name = ctx.session().name.clone();
    if name.is_empty() {
        ctx.out.null()
    } else {
        ctx.out.bulk(&name)
    }
    UNCHANGED
}

/// CLIENT SETNAME name
fn setname(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    check_name(&args[2])?;
    ctx.session().name = args[2].to_vec();
    ctx.out.ok();
    UNCHANGED
}

/// CLIENT SETINFO LIB-NAME|LIB-VER value
fn setinfo(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let name = if args.is(2, "LIB-NAME") {
        true
    } else if args.is(2, "LIB-VER") {
        false
    } else {
        return Err(format!("ERR Unrecognized option '{}'", String::from_utf8_lossy(&args[2])).into());
    };
    if !is_word(&args[3]) {
        let name = String::from_utf8_lossy(&args[2]);
        return Err(format!("ERR {name} cannot contain spaces, newlines or special characters.").into());
    }
    let session = ctx.session();
    *(if name { &mut session.lib_name } else { &mut session.lib_ver }) = args[3].to_vec();
    ctx.out.ok();
    UNCHANGED
}

/// CLIENT INFO
fn info(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let mut text = Vec::new();
    let now = ctx.now;
    describe(ctx.session(), now, args.total_len(), &mut text);
    ctx.out.verbatim("txt", &text);
    UNCHANGED
}

/// CLIENT LIST [TYPE type] [ID id ...]
fn list(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let me = ctx.session().id;
    let (mut kind, mut ids) = (None, None);
    if args.len() == 4 && args.is(2, "TYPE") {
        kind = Some(Kind::parse(&args[3])?);
    } else if args.len() > 3 && args.is(2, "ID") {
        let invalid = ReplyError::new("ERR Invalid client ID");
        let numbers = args.tail(3).iter().map(|id| parse_i64(id).ok_or(invalid.clone()));
        ids = Some(numbers.collect::<Result<Vec<i64>, _>>()?);
    } else if args.len() != 2 {
        return Err(ReplyError::SYNTAX);
    }
    let mut text = Vec::new();
    // The caller is the only client whose command runs.
    let running = |session: &Session| if session.id == me { args.total_len() } else { 0 };
    match ids {
        Some(ids) => {
            for id in ids {
                let slot = slot_of(ctx, id);
                slot.and_then(|slot| ctx.server.sessions.get(slot))
                    .into_iter()
                    .for_each(|s| describe(s, ctx.now, running(s), &mut text));
            }
        }
        None => {
            let mut sessions: Vec<&Session> = ctx.server.sessions.iter().map(|(_, s)| s).collect();
            sessions.retain(|s| !s.closing && kind.is_none_or(|kind| Kind::of(s) == kind));
            sessions.sort_by_key(|s| s.id);
            sessions.into_iter().for_each(|s| describe(s, ctx.now, running(s), &mut text));
        }
    }
    ctx.out.verbatim("txt", &text);
    UNCHANGED
}

fn slot_of(ctx: &Ctx<'_>, id: i64) -> Option<Slot> {
    let id = ClientId(u64::try_from(id).ok()?);
    ctx.server.sessions.iter().find(|(_, session)| session.id == id && !session.closing).map(|(slot, _)| slot)
}

/// What CLIENT LIST and KILL call a type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Primary,
    Replica,
    Subscriber,
}

impl Kind {
    fn parse(word: &[u8]) -> Result<Kind, ReplyError> {
        match word.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(Kind::Normal),
            b"master" => Ok(Kind::Primary),
            b"slave" | b"replica" => Ok(Kind::Replica),
            b"pubsub" => Ok(Kind::Subscriber),
            _ => Err(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(word)).into()),
        }
    }

    fn of(session: &Session) -> Kind {
        match session {
            session if session.upstream => Kind::Primary,
            session if session.downstream().is_some() => Kind::Replica,
            session if session.subscriptions() > 0 => Kind::Subscriber,
            _ => Kind::Normal,
        }
    }
}

/// Appends a client's line. `running`: bytes in the arguments of its command that runs now, 0 for none.
pub fn describe(session: &Session, now: i64, running: usize, text: &mut Vec<u8>) {
    let seconds = |since: i64| (now - since).max(0) / 1000;
    let multi = session.multi.as_ref();
    let held = running + session.blocked.as_ref().map_or(0, |blocked| blocked.command.as_args().total_len());
    let queued = multi.map_or(0, Transaction::heap_bytes);
    let waiting = session.output_buffer;
    let events = if session.out.is_empty() && waiting == 0 { "r" } else { "rw" };
    let proto = if session.proto == Protocol::Resp3 { 3 } else { 2 };
    let line = [
        format!("id={} addr={} laddr={} fd={} name=", session.id.0, session.addr, session.laddr, session.fd),
        String::from_utf8_lossy(&session.name).into_owned(),
        format!(" age={} idle={}", seconds(session.created_ms), seconds(session.last_active_ms)),
        format!(" flags={} db={}", flags(session), session.db),
        format!(
            " sub={} psub={} ssub={}",
            session.channels.len(),
            session.patterns.len(),
            session.shard_channels.len()
        ),
        format!(" multi={}", multi.map_or(-1, |multi| multi.queue.len() as i64)),
        format!(
            " qbuf={} qbuf-free={} argv-mem={held} multi-mem={queued}",
            session.query_len,
            session.query_buffer.saturating_sub(session.query_len)
        ),
        format!(" rbs={} rbp={} obl={}", session.out.capacity(), session.out.capacity(), session.out.len()),
        format!(" oll={} omem={waiting} tot-mem={}", u8::from(waiting > 0), session.heap_bytes() + waiting),
        format!(" events={events} cmd={} user={}", session.last_command, session.user),
        format!(" redir=-1 resp={proto} lib-name="),
        String::from_utf8_lossy(&session.lib_name).into_owned(),
        " lib-ver=".to_string(),
        String::from_utf8_lossy(&session.lib_ver).into_owned(),
        "\n".to_string(),
    ];
    text.extend_from_slice(line.concat().as_bytes());
}

fn flags(session: &Session) -> String {
    let all = [
        ('O', session.monitor),
        ('S', session.downstream().is_some()),
        ('M', session.upstream),
        ('P', session.subscriptions() > 0),
        ('x', session.multi.is_some()),
        ('b', session.blocked.is_some()),
        ('d', session.watch_broken),
        ('c', session.close_after_reply),
        ('A', session.closing),
        ('U', session.unix_socket),
        ('e', session.no_evict),
        ('T', session.no_touch),
    ];
    let set: String = all.iter().filter(|(_, set)| *set).map(|(flag, _)| *flag).collect();
    if set.is_empty() { "N".into() } else { set }
}

/// What CLIENT KILL looks for; everything given must fit.
#[derive(Default)]
struct Filter<'a> {
    id: Option<ClientId>,
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    kind: Option<Kind>,
    user: Option<&'a [u8]>,
    with_me: bool,
}

impl<'a> Filter<'a> {
    fn parse(args: Args<'a>) -> Result<Filter<'a>, ReplyError> {
        if args.len() == 3 {
            return Ok(Filter { addr: args.get(2), with_me: true, ..Filter::default() });
        }
        let mut filter = Filter::default();
        for i in (2..args.len()).step_by(2) {
            let value = args.get(i + 1).ok_or(ReplyError::SYNTAX)?;
            if args.is(i, "ID") {
                let id = parse_i64(value).filter(|id| *id > 0);
                let id = id.ok_or(ReplyError::new("ERR client-id should be greater than 0"))?;
                filter.id = Some(ClientId(id as u64));
            } else if args.is(i, "TYPE") {
                filter.kind = Some(Kind::parse(value)?);
            } else if args.is(i, "ADDR") {
                filter.addr = Some(value);
            } else if args.is(i, "LADDR") {
                filter.laddr = Some(value);
            } else if args.is(i, "USER") {
                if value != b"default" {
                    return Err(format!("ERR No such user '{}'", String::from_utf8_lossy(value)).into());
                }
                filter.user = Some(value);
            } else if args.is(i, "SKIPME") && (args.is(i + 1, "YES") || args.is(i + 1, "NO")) {
                filter.with_me = args.is(i + 1, "NO");
            } else {
                return Err(ReplyError::SYNTAX);
            }
        }
        Ok(filter)
    }

    fn fits(&self, session: &Session) -> bool {
        self.id.is_none_or(|id| session.id == id)
            && self.addr.is_none_or(|addr| session.addr.as_bytes() == addr)
            && self.laddr.is_none_or(|laddr| session.laddr.as_bytes() == laddr)
            && self.kind.is_none_or(|kind| Kind::of(session) == kind)
            && self.user.is_none_or(|user| session.user.as_bytes() == user && session.authenticated)
    }
}

/// CLIENT KILL addr, CLIENT KILL filter value ...
fn kill(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let filter = Filter::parse(args)?;
    let (me, mut killed) = (ctx.slot, 0);
    for (slot, session) in ctx.server.sessions.iter_mut() {
        if session.closing || slot == me && !filter.with_me || !filter.fits(session) {
            continue;
        }
        killed += 1;
        if slot == me {
            session.close_after_reply = true;
        } else {
            session.closing = true;
            ctx.server.orders.push(Order::Kill(slot));
        }
    }
    match (args.len(), killed) {
        (3, 0) => return Err(ReplyError::new("ERR No such client")),
        (3, _) => ctx.out.ok(),
        _ => ctx.out.int(killed),
    }
    UNCHANGED
}

/// CLIENT PAUSE milliseconds [WRITE|ALL]
fn pause(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let writes_only = args.is(3, "WRITE");
    if args.len() > 4 {
        return Err(unknown_form(args));
    }
    if args.len() == 4 && !writes_only && !args.is(3, "ALL") {
        return Err(ReplyError::new("ERR CLIENT PAUSE mode must be WRITE or ALL"));
    }
    let error = "ERR timeout is not an integer or out of range";
    let time = parse_i64(&args[2]).ok_or(ReplyError::new(error))?;
    if time < 0 {
        return Err(ReplyError::new("ERR timeout is negative"));
    }
    let until = ctx.now.checked_add(time).ok_or(ReplyError::new("ERR timeout is out of range"))?;
    // A running pause is never shortened, but its kind is the new one's.
    let until_ms = ctx.server.pause.map_or(until, |running| running.until_ms.max(until));
    ctx.server.pause = Some(Pause { until_ms, writes_only });
    ctx.out.ok();
    UNCHANGED
}

/// CLIENT UNPAUSE
fn unpause(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.server.pause_ended |= ctx.server.pause.take().is_some();
    ctx.out.ok();
    UNCHANGED
}

/// CLIENT REPLY ON|OFF|SKIP
fn reply(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let was = ctx.session().reply_mode;
    if args.is(2, "ON") {
        ctx.session().reply_mode = ReplyMode::On;
        ctx.out.ok();
    } else if args.is(2, "OFF") {
        ctx.session().reply_mode = ReplyMode::Off;
    } else if args.is(2, "SKIP") {
        if was != ReplyMode::Off {
            ctx.session().reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(ReplyError::SYNTAX);
    }
    UNCHANGED
}

fn on_or_off(args: Args<'_>) -> Result<bool, ReplyError> {
    if !args.is(2, "ON") && !args.is(2, "OFF") {
        return Err(ReplyError::SYNTAX);
    }
    Ok(args.is(2, "ON"))
}

/// CLIENT NO-EVICT ON|OFF
fn no_evict(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.session().no_evict = on_or_off(args)?;
    ctx.out.ok();
    UNCHANGED
}

/// CLIENT NO-TOUCH ON|OFF
fn no_touch(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.session().no_touch = on_or_off(args)?;
    ctx.out.ok();
    UNCHANGED
}

/// CLIENT UNBLOCK id [TIMEOUT|ERROR]
fn unblock(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let with_error = args.is(3, "ERROR");
    if args.len() > 4 {
        return Err(unknown_form(args));
    }
    if args.len() == 4 && !with_error && !args.is(3, "TIMEOUT") {
        return Err(ReplyError::new("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
    }
    let slot = slot_of(ctx, args.int(2)?);
    let ends = |session: &Session| {
        let cause = session.blocked.as_ref().map(|blocked| &blocked.cause);
        matches!(cause, Some(BlockCause::Keys(_) | BlockCause::Others(_)))
    };
    let slot = slot.filter(|slot| ctx.server.sessions.get(*slot).is_some_and(ends));
    if let Some(slot) = slot {
        ctx.server.orders.push(Order::Unblock { slot, with_error });
    }
    ctx.out.int(slot.is_some().into());
    UNCHANGED
}

/// CLIENT TRACKING ON|OFF ...: there is none, so it can only be off.
fn tracking(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if on_or_off(args)? {
        return Err(ReplyError::new("ERR client tracking is not available in this version"));
    }
    ctx.out.ok();
    UNCHANGED
}

/// CLIENT TRACKINGINFO
fn trackinginfo(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    let out = &mut ctx.out;
    out.map(3);
    out.bulk_str("flags");
    out.set(1);
    out.bulk_str("off");
    out.bulk_str("redirect");
    out.int(-1);
    out.bulk_str("prefixes");
    out.array(0);
    UNCHANGED
}

/// CLIENT CACHING YES|NO
fn caching(_: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    Err(ReplyError::new(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
    ))
}

/// CLIENT GETREDIR
fn getredir(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.out.int(-1);
    UNCHANGED
}

const ANY: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE);
const ADMIN: Flags = ANY.union(Flags::ADMIN);

const fn row(name: &'static str, arity: i32, flags: Flags, run: super::Execute) -> Command {
    Command::new(name, arity, flags, Keys::None, run).group(Group::Connection)
}

pub const COMMANDS: &[Command] =
    &[row("client", -2, Flags::empty(), help).doc("2.4.0", "Looks after connections.").subcommands(&[
        row("client|caching", 3, ANY, caching).doc("6.0.0", "Whether to track the next command's keys."),
        row("client|getname", 2, ANY, getname).doc("2.6.9", "Returns the name of the connection."),
        row("client|getredir", 2, ANY, getredir).doc("6.0.0", "Returns where tracking messages go."),
        row("client|help", 2, Flags::LOADING.union(Flags::STALE), help)
            .doc("5.0.0", "Lists the subcommands."),
        row("client|id", 2, ANY, id).doc("5.0.0", "Returns the number of the connection."),
        row("client|info", 2, ANY, info).doc("6.2.0", "Describes the connection."),
        row("client|kill", -3, ADMIN, kill).doc("2.4.0", "Closes connections."),
        row("client|list", -2, ADMIN, list).doc("2.4.0", "Describes all connections, or some."),
        row("client|no-evict", 3, ADMIN, no_evict).doc("7.0.0", "Protects the connection from eviction."),
        row("client|no-touch", 3, ANY, no_touch)
            .doc("7.2.0", "Lets commands leave no mark of access on keys."),
        row("client|pause", -3, ADMIN, pause).doc("3.0.0", "Lets clients wait for some time."),
        row("client|reply", 3, ANY, reply).doc("3.2.0", "Whether commands are answered."),
        row("client|setinfo", 4, ANY, setinfo).doc("7.2.0", "Names the library behind the connection."),
        row("client|setname", 3, ANY, setname).doc("2.6.9", "Names the connection."),
        row("client|tracking", -3, ANY, tracking).doc("6.0.0", "Switches tracking of keys read."),
        row("client|trackinginfo", 2, ANY, trackinginfo).doc("6.2.0", "Describes the tracking of keys read."),
        row("client|unblock", -3, ADMIN, unblock).doc("5.0.0", "Ends the wait of another client."),
        row("client|unpause", 2, ADMIN, unpause).doc("6.2.0", "Ends a pause."),
    ])];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;

    #[test]
    fn names() {
        let mut bench = Bench::default();
        bench.check("CLIENT ID", ":1");
        bench.check("CLIENT GETNAME", "$-1");
        bench.check("CLIENT SETNAME joe", "+OK");
        bench.check("CLIENT GETNAME", "$3 joe");
        let error = "-ERR Client names cannot contain spaces, newlines or special characters.";
        let reply = bench.run_args(&[b"CLIENT", b"SETNAME", b"a b"]);
        assert_eq!(String::from_utf8_lossy(&reply).trim_end(), error);
        bench.check("CLIENT SETINFO LIB-NAME lettuce", "+OK");
        bench.check("CLIENT SETINFO lib-ver 1.2", "+OK");
        bench.check("CLIENT SETINFO other 1", "-ERR Unrecognized option 'other'");
        let info = bench.run("CLIENT INFO");
        assert!(
            info.contains(" name=joe ") && info.trim_end().ends_with(" lib-name=lettuce lib-ver=1.2"),
            "{info}"
        );
        bench.run_args(&[b"CLIENT", b"SETNAME", b""]);
        bench.check("CLIENT GETNAME", "$-1");
    }

    #[test]
    fn a_line_has_every_field_of_redis() {
        let mut bench = Bench { now: 12_000, ..Bench::default() };
        bench.session().last_active_ms = 10_000;
        bench.run("MULTI");
        let line = bench.run("CLIENT INFO");
        let fields = line.split([' ', '\n']).skip(1).map(|f| f.split('=').next().unwrap_or_default());
        let expected = "id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem \
             multi-mem rbs rbp obl oll omem tot-mem events cmd user redir resp lib-name lib-ver";
        assert_eq!(fields.filter(|f| !f.is_empty()).collect::<Vec<_>>().join(" "), expected);
        assert!(line.contains("age=12 idle=2 flags=x db=0") && line.contains("multi=0"), "{line}");
    }

    #[test]
    fn lists() {
        let mut bench = Bench::default();
        let other = bench.connect();
        bench.server.sessions.get_mut(other).unwrap().channels.insert(b"c".to_vec());
        let count = |reply: String| reply.matches("addr=127").count() / 2;
        assert_eq!(count(bench.run("CLIENT LIST")), 2);
        assert!(bench.run("CLIENT LIST TYPE pubsub").contains("id=2 "));
        assert_eq!(count(bench.run("CLIENT LIST TYPE NORMAL")), 1);
        assert_eq!(count(bench.run("CLIENT LIST ID 2 1 7")), 2);
        bench.check("CLIENT LIST TYPE x", "-ERR Unknown client type 'x'");
        bench.check("CLIENT LIST ID x", "-ERR Invalid client ID");
        bench.check("CLIENT LIST FOO", "-ERR syntax error");
    }

    #[test]
    fn kills() {
        let mut bench = Bench::default();
        let (b, c) = (bench.connect(), bench.connect());
        bench.check("CLIENT KILL 1.2.3.4:5", "-ERR No such client");
        bench.check("CLIENT KILL ID 0", "-ERR client-id should be greater than 0");
        bench.check("CLIENT KILL ID", "-ERR No such client");
        bench.check("CLIENT KILL ID 1 ADDR", "-ERR syntax error");
        bench.check("CLIENT KILL USER joe SKIPME yes", "-ERR No such user 'joe'");
        bench.check("CLIENT KILL 127.0.0.1:2", "+OK");
        bench.check("CLIENT KILL ID 2", ":0");
        bench.check("CLIENT KILL TYPE normal", ":1");
        assert_eq!(bench.server.orders, [Order::Kill(b), Order::Kill(c)]);
        bench.check("CLIENT KILL ID 1", ":0");
        bench.check("CLIENT KILL ID 1 SKIPME no", ":1");
        assert!(bench.session().close_after_reply && !bench.session().closing);
    }

    #[test]
    fn pauses() {
        let mut bench = Bench::default();
        bench.check("CLIENT PAUSE 100 WRITE", "+OK");
        bench.check("CLIENT PAUSE 50", "+OK");
        let pause = bench.server.pause.unwrap();
        assert_eq!((pause.until_ms, pause.writes_only), (bench.now + 100, false));
        bench.check("CLIENT PAUSE x", "-ERR timeout is not an integer or out of range");
        bench.check("CLIENT PAUSE -1", "-ERR timeout is negative");
        bench.check("CLIENT PAUSE 1 FOO", "-ERR CLIENT PAUSE mode must be WRITE or ALL");
        bench.check("CLIENT UNPAUSE", "+OK");
        assert!(bench.server.pause.is_none() && bench.server.pause_ended);
    }

    #[test]
    fn switches() {
        let mut bench = Bench::default();
        bench.check("CLIENT NO-EVICT on", "+OK");
        bench.check("CLIENT NO-TOUCH on", "+OK");
        assert!(bench.run("CLIENT INFO").contains("flags=eT "));
        bench.check("CLIENT NO-EVICT maybe", "-ERR syntax error");
        bench.check("CLIENT TRACKING off", "+OK");
        bench.check("CLIENT GETREDIR", ":-1");
        bench.check("CLIENT TRACKINGINFO", "*6 $5 flags *1 $3 off $8 redirect :-1 $8 prefixes *0");
        bench.check("CLIENT UNBLOCK 1", ":0");
        bench.check("CLIENT UNBLOCK x", "-ERR value is not an integer or out of range");
        bench.check("CLIENT UNBLOCK 1 x", "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
        bench.check("CLIENT REPLY SKIP", "");
        assert_eq!(bench.session().reply_mode, ReplyMode::SkipNext);
    }
}

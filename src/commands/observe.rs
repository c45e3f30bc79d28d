//! Watching the server at work: SLOWLOG, MONITOR; and LOLWUT, which needs no reason.

use super::help::{help, unknown_form};
use super::{Command, Ctx, Flags, Group, Keys, Outcome, UNCHANGED};
use crate::error::ReplyError;
use crate::format::rdb::REDIS_VERSION;
use crate::resp::args::Args;
use crate::resp::number::parse_i64;

/// SLOWLOG GET [count]
fn slowlog_get(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if args.len() > 3 {
        return Err(unknown_form(args));
    }
    let entries = &ctx.server.slowlog.entries;
    let count = match args.get(2) {
        None => 10,
        Some(text) => match parse_i64(text) {
            Some(-1) => entries.len(),
            Some(count @ 0..) => count as usize,
            _ => return Err(ReplyError::new("ERR count should be greater than or equal to -1")),
        },
    };
    ctx.out.array(count.min(entries.len()));
    for slow in entries.iter().take(count) {
        ctx.out.array(6);
        ctx.out.int(slow.id as i64);
        ctx.out.int(slow.at);
        ctx.out.int(slow.micros);
        ctx.out.array(slow.args.len());
        slow.args.iter().for_each(|arg| ctx.out.bulk(arg));
        ctx.out.bulk_str(&slow.addr);
        ctx.out.bulk(&slow.name);
    }
    UNCHANGED
}

/// SLOWLOG LEN
fn slowlog_len(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.out.int(ctx.server.slowlog.entries.len() as i64);
    UNCHANGED
}

/// SLOWLOG RESET
fn slowlog_reset(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.server.slowlog.entries.clear();
    ctx.out.ok();
    UNCHANGED
}

/// MONITOR
fn monitor(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    if ctx.deny_blocking {
        return Err(ReplyError::new("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    if !ctx.session().monitor {
        ctx.session().monitor = true;
        ctx.server.monitors.push(ctx.slot);
        ctx.out.ok();
    }
    UNCHANGED
}

/// LOLWUT [VERSION number] ...
fn lolwut(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if args.len() >= 3 && args.is(1, "VERSION") {
        args.int(2)?;
    }
    // A ring, and where it stands.
    let mut art = String::new();
    for y in -5i32..=5 {
        for x in -11i32..=11 {
            let distance = x * x / 4 + y * y;
            art.push(if (18..=28).contains(&distance) { 'o' } else { ' ' });
        }
        art.truncate(art.trim_end_matches(' ').len());
        art.push('\n');
    }
    art.push_str(&format!("Ringhold {}, Redis ver. {REDIS_VERSION}\n", env!("CARGO_PKG_VERSION")));
    ctx.out.verbatim("txt", art.as_bytes());
    UNCHANGED
}

const LOG: Flags = Flags::ADMIN.union(Flags::LOADING).union(Flags::STALE);
const MONITOR: Flags = LOG.union(Flags::NOSCRIPT);

const fn row(name: &'static str, arity: i32, flags: Flags, run: super::Execute) -> Command {
    Command::new(name, arity, flags, Keys::None, run).group(Group::Server)
}

pub const COMMANDS: &[Command] = &[
    row("slowlog", -2, Flags::empty(), help).doc("2.2.12", "Keeps slow commands.").subcommands(&[
        row("slowlog|get", -2, LOG, slowlog_get).doc("2.2.12", "Returns the latest slow commands."),
        row("slowlog|help", 2, Flags::LOADING.union(Flags::STALE), help)
            .doc("6.2.0", "Lists the subcommands."),
        row("slowlog|len", 2, LOG, slowlog_len).doc("2.2.12", "Counts the slow commands kept."),
        row("slowlog|reset", 2, LOG, slowlog_reset).doc("2.2.12", "Forgets the slow commands."),
    ]),
    row("monitor", 1, MONITOR, monitor).doc("1.0.0", "Shows every command as it is executed."),
    row("lolwut", -1, Flags::READONLY.union(Flags::FAST), lolwut)
        .doc("5.0.0", "Draws something, and says which version this is."),
];

#[cfg(test)]
mod tests {
    use crate::config::Allow;
    use crate::engine::testing::NodeBench;

    #[test]
    fn slow_commands_are_kept() {
        let mut bench = NodeBench::default();
        let a = bench.connect();
        bench.set("slowlog-log-slower-than", "100000");
        bench.node.server.config.settings.enable_debug_command = Allow::Yes;
        bench.check(a, "CLIENT SETNAME joe", "+OK");
        bench.check(a, "DEBUG SLEEP 0.2", "+OK");
        bench.check(a, "PING", "+PONG");
        bench.check(a, "SLOWLOG LEN", ":1");
        let entry = "*6 :0 :1700000000 :200000 *3 $5 DEBUG $5 SLEEP $3 0.2 $11 127.0.0.1:1 $3 joe";
        bench.check(a, "SLOWLOG GET", &format!("*1 {entry}"));
        bench.check(a, "SLOWLOG GET -1", &format!("*1 {entry}"));
        bench.check(a, "SLOWLOG GET 0", "*0");
        bench.check(
            a,
            "SLOWLOG get 1 2",
            "-ERR unknown subcommand or wrong number of arguments for 'get'. Try SLOWLOG HELP.",
        );
        bench.check(a, "SLOWLOG GET -2", "-ERR count should be greater than or equal to -1");
        bench.check(a, "SLOWLOG RESET", "+OK");
        bench.set("slowlog-log-slower-than", "0");
        bench.send(a, "AUTH joe secret");
        let log = bench.send(a, "SLOWLOG GET");
        assert!(log.contains("*3 $4 AUTH $10 (redacted) $10 (redacted)"), "{log}");
    }

    #[test]
    fn monitors_see_commands_in_order_and_no_secrets() {
        let mut bench = NodeBench::default();
        let (a, b) = (bench.connect(), bench.connect());
        bench.check(a, "MONITOR", "+OK");
        bench.check(a, "GET k", "-ERR Replica can't interact with the keyspace");
        bench.send(b, "SELECT 9");
        bench.send(b, "MULTI");
        bench.send(b, "SET k v");
        bench.send(b, "EXEC");
        bench.send(b, "BLPOP list 0");
        bench.send(b, "PING");
        let time = "+1700000000.000000 [9 127.0.0.1:2]";
        let lines =
            ["\"SELECT\" \"9\"", "\"MULTI\"", "\"SET\" \"k\" \"v\"", "\"EXEC\"", "\"BLPOP\" \"list\" \"0\""];
        let expected: Vec<String> = lines.iter().map(|line| format!("{time} {line}")).collect();
        bench.check_output(a, &expected.join(" "));
        let c = bench.connect();
        bench.send(c, "AUTH joe secret");
        bench.send(c, "CONFIG GET hz");
        let shown = bench.output(a);
        assert!(shown.ends_with("\"AUTH\" \"(redacted)\" \"(redacted)\""), "{shown}");
        bench.check(a, "RESET", "+RESET");
        bench.send(c, "PING");
        bench.check_output(a, "");
    }
}

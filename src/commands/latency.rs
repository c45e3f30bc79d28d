//! LATENCY: events that took long, and how long commands take.

use super::help::help;
use super::table::all;
use super::{Command, Ctx, Flags, Group, Keys, Outcome, UNCHANGED, find};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::state::latency::{Event, Histogram};

/// LATENCY LATEST
fn latest(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    let events = &ctx.server.latency.0;
    ctx.out.array(events.len());
    for (name, event) in events {
        let (at, ms) = event.samples.back().copied().unwrap_or_default();
        ctx.out.array(4);
        ctx.out.bulk_str(name);
        ctx.out.int(at);
        ctx.out.int(ms as i64);
        ctx.out.int(event.max_ms as i64);
    }
    UNCHANGED
}

fn event<'a>(ctx: &'a Ctx<'_>, name: &[u8]) -> Option<(&'static str, &'a Event)> {
    let mut events = ctx.server.latency.0.iter();
    events.find(|(known, _)| known.as_bytes() == name).map(|(name, event)| (*name, event))
}

/// LATENCY HISTORY event
fn history(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let samples: Vec<(i64, u64)> =
        event(ctx, &args[2]).map(|(_, event)| event.samples.iter().copied().collect()).unwrap_or_default();
    ctx.out.array(samples.len());
    for (at, ms) in samples {
        ctx.out.array(2);
        ctx.out.int(at);
        ctx.out.int(ms as i64);
    }
    UNCHANGED
}

/// LATENCY RESET [event ...]
fn reset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let events = &mut ctx.server.latency.0;
    let before = events.len();
    events.retain(|name, _| {
        args.len() > 2 && !args.tail(2).iter().any(|asked| asked.eq_ignore_ascii_case(name.as_bytes()))
    });
    let after = events.len();
    ctx.out.int((before - after) as i64);
    UNCHANGED
}

/// LATENCY GRAPH event: columns of samples, oldest first, with their age below.
fn graph(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let Some((name, event)) = event(ctx, &args[2]) else {
        let name = String::from_utf8_lossy(&args[2]);
        return Err(format!("ERR No samples available for event '{name}'").into());
    };
    let text = draw(name, event, ctx.now / 1000);
    ctx.out.verbatim("txt", text.as_bytes());
    UNCHANGED
}

const COLUMNS: usize = 80;
const ROWS: u64 = 4;

fn draw(name: &str, event: &Event, now: i64) -> String {
    let skipped = event.samples.len().saturating_sub(COLUMNS);
    let shown: Vec<(i64, u64)> = event.samples.iter().skip(skipped).copied().collect();
    let high = shown.iter().map(|sample| sample.1).max().unwrap_or(0);
    let low = shown.iter().map(|sample| sample.1).min().unwrap_or(0);
    let mut text = format!("{name} - high {high} ms, low {low} ms (all time high {} ms)\n", event.max_ms);
    text.push_str(&"-".repeat(COLUMNS));
    text.push('\n');
    let height = |ms: u64| 1 + (ms - low) * (ROWS - 1) / (high - low).max(1);
    for row in (1..=ROWS).rev() {
        text.extend(shown.iter().map(|(_, ms)| match height(*ms) {
            top if top == row => '#',
            top if top > row => '|',
            _ => ' ',
        }));
        text.push('\n');
    }
    let labels: Vec<String> = shown.iter().map(|(at, _)| age((now - at).max(0))).collect();
    let longest = labels.iter().map(String::len).max().unwrap_or(0);
    text.push('\n');
    for row in 0..longest {
        text.extend(labels.iter().map(|label| label.chars().nth(row).unwrap_or(' ')));
        text.push('\n');
    }
    text
}

fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

/// LATENCY DOCTOR
fn doctor(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    let threshold = ctx.server.config.settings.latency_monitor_threshold;
    let events = &ctx.server.latency.0;
    let mut text = String::new();
    if threshold == 0 {
        text.push_str(
            "Latency monitoring is disabled in this server. CONFIG SET latency-monitor-threshold <milliseconds> enables it.\n",
        );
    } else if events.is_empty() {
        text.push_str(&format!("Nothing took {threshold} ms or more since this was last reset.\n"));
    }
    for (name, event) in events {
        let count = event.samples.len() as u64;
        let mean = event.samples.iter().map(|sample| sample.1).sum::<u64>() / count.max(1);
        let worst = event.max_ms;
        text.push_str(&format!("{name}: {count} latency spikes (average {mean} ms, worst {worst} ms).\n"));
        text.push_str(match *name {
            "command" | "fast-command" => "  SLOWLOG shows which commands were slow.\n",
            _ => "  Look at the disk, and at what else the machine does.\n",
        });
    }
    ctx.out.verbatim("txt", text.as_bytes());
    UNCHANGED
}

/// LATENCY HISTOGRAM [command ...]
fn histogram(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let family = |row: &'static Command| std::iter::once(row).chain(row.subcommands);
    let rows: Vec<&Command> = if args.len() == 2 {
        all().flat_map(family).collect()
    } else {
        let asked = args.tail(2).iter().filter_map(|name| {
            let mut parts = name.splitn(2, |byte| *byte == b'|');
            let row = find(parts.next()?)?;
            match parts.next() {
                Some(sub) => row.subcommand(sub).map(|row| vec![row]),
                None => Some(family(row).collect()),
            }
        });
        asked.flatten().collect()
    };
    let known =
        |row: &Command| ctx.server.stats.commands.get(row.id).and_then(|stats| stats.latency.as_ref());
    let found: Vec<(&str, &Histogram)> =
        rows.into_iter().filter_map(|row| Some((row.name, known(row)?))).collect();
    ctx.out.map(found.len());
    for (name, histogram) in found {
        let powers = histogram.cumulative();
        ctx.out.bulk_str(name);
        ctx.out.map(2);
        ctx.out.bulk_str("calls");
        ctx.out.int(histogram.total as i64);
        ctx.out.bulk_str("histogram_usec");
        ctx.out.map(powers.len());
        for (micros, count) in powers {
            ctx.out.int(micros as i64);
            ctx.out.int(count as i64);
        }
    }
    UNCHANGED
}

const ADMIN: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);

const fn row(name: &'static str, arity: i32, run: super::Execute) -> Command {
    Command::new(name, arity, ADMIN, Keys::None, run).group(Group::Server)
}

pub const COMMANDS: &[Command] = &[Command::new("latency", -2, Flags::empty(), Keys::None, help)
    .group(Group::Server)
    .doc("2.8.13", "Looks into what took long.")
    .subcommands(&[
        row("latency|doctor", 2, doctor).doc("2.8.13", "Says what took long and why."),
        row("latency|graph", 3, graph).doc("2.8.13", "Draws the history of an event."),
        Command::new("latency|help", 2, Flags::LOADING.union(Flags::STALE), Keys::None, help)
            .group(Group::Server)
            .doc("2.8.13", "Lists the subcommands."),
        row("latency|histogram", -2, histogram).doc("7.0.0", "Returns how long commands take."),
        row("latency|history", 3, history).doc("2.8.13", "Returns the samples of an event."),
        row("latency|latest", 2, latest).doc("2.8.13", "Returns the latest sample of every event."),
        row("latency|reset", -2, reset).doc("2.8.13", "Forgets events."),
    ])];

#[cfg(test)]
mod tests {
    use crate::config::Allow;
    use crate::engine::testing::NodeBench;

    #[test]
    fn what_took_long() {
        let mut bench = NodeBench::default();
        let a = bench.connect();
        bench.node.server.config.settings.enable_debug_command = Allow::Yes;
        bench.set("slowlog-log-slower-than", "-1");
        bench.send(a, "DEBUG SLEEP 0.3");
        bench.check(a, "LATENCY LATEST", "*0");
        assert!(bench.send(a, "LATENCY DOCTOR").contains("disabled"));
        bench.set("latency-monitor-threshold", "200");
        bench.send(a, "DEBUG SLEEP 0.3");
        bench.send(a, "DEBUG SLEEP 0.5");
        bench.check(a, "LATENCY LATEST", "*1 *4 $7 command :1700000001 :500 :500");
        bench.check(a, "LATENCY HISTORY command", "*2 *2 :1700000000 :300 *2 :1700000001 :500");
        bench.check(a, "LATENCY HISTORY other", "*0");
        let graph = bench.send(a, "LATENCY GRAPH command");
        assert!(graph.contains("command - high 500 ms, low 300 ms (all time high 500 ms)\n"), "{graph}");
        bench.check(a, "LATENCY GRAPH x", "-ERR No samples available for event 'x'");
        bench.check(a, "LATENCY RESET x", ":0");
        bench.check(a, "LATENCY RESET", ":1");
        bench.check(a, "LATENCY LATEST", "*0");
    }

    #[test]
    fn histograms() {
        let mut bench = NodeBench::default();
        let a = bench.connect();
        bench.send(a, "SET k v");
        bench.check(a, "LATENCY HISTOGRAM set get", "*2 $3 set *4 $5 calls :1 $14 histogram_usec *2 :1 :1");
        bench.check(a, "LATENCY HISTOGRAM nosuch", "*0");
        let info = bench.send(a, "INFO latencystats");
        assert!(info.contains("latency_percentiles_usec_set:p50=0.000,p99=0.000,p99.9=0.000"), "{info}");
        bench.send(a, "CONFIG RESETSTAT");
        bench.check(a, "LATENCY HISTOGRAM set", "*0");
    }
}

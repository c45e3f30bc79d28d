//! MEMORY: what keys and the server cost.

use super::help::help;
use super::{Command, Ctx, Flags, Group, Keys, Outcome, UNCHANGED};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::store::Entry;

/// MEMORY USAGE key [SAMPLES count]: collections too large to add up are sampled, whatever `count` is.
fn usage(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    for i in (3..args.len()).step_by(2) {
        if !args.is(i, "SAMPLES") || i + 1 >= args.len() || args.int(i + 1)? < 0 {
            return Err(ReplyError::SYNTAX);
        }
    }
    match ctx.db.entries().get(&args[2]) {
        None => ctx.out.null(),
        Some(entry) => {
            // Its place in the table, with a share of what is free there.
            let share = size_of::<Entry>() + 4;
            ctx.out.int((entry.own_bytes() + entry.heap_bytes() + share) as i64);
        }
    }
    UNCHANGED
}

/// MEMORY STATS
fn stats(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    let clients: usize = ctx.server.sessions.iter().map(|(_, session)| session.heap_bytes()).sum();
    let store = ctx.db.store();
    let tables: Vec<(usize, usize)> = store
        .dbs
        .iter()
        .enumerate()
        .filter(|(_, db)| !db.entries.is_empty())
        .map(|(index, db)| (index, db.entries.overhead_bytes()))
        .collect();
    let keys = store.key_count();
    let process = &ctx.server.process;
    let used = process.used_memory as usize;
    let startup = process.used_memory_startup as usize;
    let overhead = startup + clients + tables.iter().map(|(_, bytes)| bytes).sum::<usize>();
    let dataset = used.saturating_sub(overhead);
    let beyond_start = used.saturating_sub(startup);
    let peak = (process.used_memory_peak as usize).max(used);
    let percent = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    let counts = [
        ("peak.allocated", peak),
        ("total.allocated", used),
        ("startup.allocated", startup),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", clients),
        ("cluster.links", 0),
        ("aof.buffer", ctx.server.persistence.aof_buffer_length as usize),
        ("lua.caches", 0),
        ("functions.caches", 0),
        ("overhead.total", overhead),
        ("keys.count", keys),
        ("keys.bytes-per-key", beyond_start / keys.max(1)),
        ("dataset.bytes", dataset),
        ("allocator.allocated", used),
        ("allocator.active", process.allocator_active as usize),
        ("allocator.resident", process.allocator_resident as usize),
    ];
    let shares = [
        ("dataset.percentage", percent(dataset, beyond_start)),
        ("peak.percentage", percent(used, peak)),
        ("fragmentation", process.rss as f64 / used.max(1) as f64),
    ];
    let out = &mut ctx.out;
    out.map(counts.len() + shares.len() + 1 + tables.len());
    for (name, bytes) in counts {
        out.bulk_str(name);
        out.int(bytes as i64);
    }
    for (name, share) in shares {
        out.bulk_str(name);
        out.double(share);
    }
    out.bulk_str("fragmentation.bytes");
    out.int(process.rss as i64 - used as i64);
    for (index, bytes) in tables {
        out.bulk_str(&format!("db.{index}"));
        out.map(3);
        out.bulk_str("overhead.hashtable.main");
        out.int(bytes as i64);
        out.bulk_str("overhead.hashtable.expires");
        out.int(0);
        out.bulk_str("overhead.hashtable.slot-to-keys");
        out.int(0);
    }
    UNCHANGED
}

/// MEMORY DOCTOR
fn doctor(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    let process = &ctx.server.process;
    let (used, rss, peak) = (process.used_memory, process.rss, process.used_memory_peak);
    let mut report = String::new();
    if used < 5 << 20 {
        report.push_str("This server is empty or nearly so: there is nothing to say about its memory.\n");
    } else {
        if peak > used / 2 * 3 {
            report.push_str(
                "* Peak: more than 1.5 times the present use of memory was once used. The allocator may keep what was freed; MEMORY PURGE gives it back.\n",
            );
        }
        if rss > used / 5 * 7 {
            report.push_str(
                "* Fragmentation: the process holds more than 1.4 times the memory that is in use.\n",
            );
        }
        if report.is_empty() {
            report.push_str("Nothing to complain about in this server's memory.\n");
        }
    }
    ctx.out.verbatim("txt", report.as_bytes());
    UNCHANGED
}

/// MEMORY MALLOC-STATS
fn malloc_stats(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    let process = &ctx.server.process;
    let text = format!(
        "allocator: {}\nallocated: {}\nresident: {}\n",
        process.allocator, process.used_memory, process.rss
    );
    ctx.out.verbatim("txt", text.as_bytes());
    UNCHANGED
}

/// MEMORY PURGE: the allocator gives memory back by itself.
fn purge(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.out.ok();
    UNCHANGED
}

const fn row(name: &'static str, arity: i32, flags: Flags, keys: Keys, run: super::Execute) -> Command {
    Command::new(name, arity, flags, keys, run).group(Group::Server)
}

const NONE: Flags = Flags::empty();
const KEY: Keys = Keys::Range { first: 2, last: 2, step: 1 };

pub const COMMANDS: &[Command] =
    &[row("memory", -2, NONE, Keys::None, help).doc("4.0.0", "Looks into memory.").subcommands(&[
        row("memory|doctor", 2, NONE, Keys::None, doctor).doc("4.0.0", "Says what is odd about memory."),
        row("memory|help", 2, Flags::LOADING.union(Flags::STALE), Keys::None, help)
            .doc("4.0.0", "Lists the subcommands."),
        row("memory|malloc-stats", 2, NONE, Keys::None, malloc_stats)
            .doc("4.0.0", "Describes the allocator."),
        row("memory|purge", 2, NONE, Keys::None, purge).doc("4.0.0", "Gives free memory back."),
        row("memory|stats", 2, NONE, Keys::None, stats).doc("4.0.0", "Says what memory is used for."),
        row("memory|usage", -3, Flags::READONLY, KEY, usage).doc("4.0.0", "Returns the bytes a key costs."),
    ])];

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn keys_cost_memory() {
        let mut bench = Bench::default();
        bench.check("MEMORY USAGE k", "$-1");
        bench.run("SET k v");
        let small: i64 = bench.run("MEMORY USAGE k")[1..].parse().unwrap();
        bench.run(&format!("SET k {}", "x".repeat(1000)));
        let large: i64 = bench.run("MEMORY USAGE k SAMPLES 0")[1..].parse().unwrap();
        assert!(small < 100 && large >= small + 950, "{small} {large}");
        bench.check("MEMORY USAGE k SAMPLES", "-ERR syntax error");
        bench.check("MEMORY USAGE k SAMPLES -1", "-ERR syntax error");
        assert!(bench.run("MEMORY STATS").starts_with("*44 $14 peak.allocated"));
        bench.check("MEMORY PURGE", "+OK");
    }
}

//! INFO as monitoring tools read it: every field that Redis gives is there, and its figure is true.

use crate::client::{Client, Value};
use crate::harness::{Launch, aof_files, bgsave, eventually, info, rewrite_aof, subject_is_ours};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

fn fields(c: &mut Client) -> BTreeSet<String> {
    let text = c.must(&["INFO", "everything"]).text();
    text.lines().filter_map(|line| Some(line.split_once(':')?.0.to_string())).collect()
}

fn number(c: &mut Client, field: &str) -> f64 {
    let text = info(c, field);
    text.parse().unwrap_or_else(|_| panic!("{field}: {text:?}"))
}

#[test]
fn every_field_of_stock_redis_is_there() {
    let directives = [("appendonly", "yes")];
    let Some(stock) = Launch::stock(&directives) else { return };
    let (stock, ours) = (stock.start(), Launch::ours(&directives).start());
    let (mut s, mut o) = (stock.connect(), ours.connect());
    for c in [&mut s, &mut o] {
        c.must(&["SET", "a", "1"]);
        c.must(&["HELLO", "2"]);
        assert!(matches!(c.cmd(&["GET"]), Value::Error(_)));
    }
    let lacking: Vec<String> = fields(&mut s).difference(&fields(&mut o)).cloned().collect();
    assert_eq!(lacking, Vec::<String>::new());
}

/// Bytes of the log's files.
fn on_disk(data: &Path, ending: &str) -> f64 {
    aof_files(data, ending).iter().map(|path| path.metadata().map_or(0, |meta| meta.len()) as f64).sum()
}

#[test]
fn sizes_of_the_log_are_those_of_its_files() {
    if !subject_is_ours() {
        return;
    }
    let mut server = Launch::ours(&[("appendonly", "yes")]).start();
    let mut c = server.connect();
    let check = |c: &mut Client, data: &Path| {
        eventually("aof_current_size is the size of all files", LIMIT, || {
            (number(c, "aof_current_size") == on_disk(data, ".rdb") + on_disk(data, ".aof")).then_some(())
        });
    };
    for i in 0..100 {
        c.must(&["SET", &format!("k{i}"), &"x".repeat(1000)]);
    }
    check(&mut c, server.data());
    rewrite_aof(&mut c);
    assert_eq!(number(&mut c, "aof_base_size"), on_disk(server.data(), ".base.rdb"));
    assert_eq!(number(&mut c, "aof_rewrites"), 1.0);
    c.must(&["SET", "more", &"x".repeat(5000)]);
    check(&mut c, server.data());
    server.kill();
    let whole = on_disk(server.data(), ".rdb") + on_disk(server.data(), ".aof");
    let server = server.restart();
    let mut c = server.connect();
    let base = number(&mut c, "aof_base_size");
    assert!((whole..whole + 1000.0).contains(&base), "{base}: what was there at the start is {whole}");
    check(&mut c, server.data());
}

#[test]
fn figures_of_the_process_move() {
    if !subject_is_ours() {
        return;
    }
    let server = Launch::ours(&[("appendonly", "yes")]).start();
    let mut c = server.connect();
    assert_eq!(info(&mut c, "mem_allocator"), "mimalloc");
    assert!(number(&mut c, "used_memory_startup") > 0.0);
    let (reads, writes) = (number(&mut c, "total_reads_processed"), number(&mut c, "total_writes_processed"));
    for _ in 0..10 {
        c.must(&["PING"]);
    }
    assert!(number(&mut c, "total_reads_processed") >= reads + 10.0);
    assert!(number(&mut c, "total_writes_processed") >= writes + 10.0);
    assert!(number(&mut c, "eventloop_cycles") > 10.0);

    for name in ["one", "two"] {
        c.must(&["SET", name, &"x".repeat(100_000)]);
        c.must(&["UNLINK", name]);
    }
    eventually("two values were freed on the other thread", LIMIT, || {
        (number(&mut c, "lazyfreed_objects") == 2.0 && number(&mut c, "lazyfree_pending_objects") == 0.0)
            .then_some(())
    });
    let taken = number(&mut c, "total_forks");
    assert_eq!(bgsave(&mut c), "ok");
    assert_eq!(number(&mut c, "total_forks"), taken + 1.0);
    assert_eq!(number(&mut c, "rdb_saves"), 1.0);
    eventually("the data thread's time is counted", LIMIT, || {
        for _ in 0..1000 {
            c.must(&["PING"]);
        }
        let main = number(&mut c, "used_cpu_user_main_thread") + number(&mut c, "used_cpu_sys_main_thread");
        let all = number(&mut c, "used_cpu_user") + number(&mut c, "used_cpu_sys");
        (main > 0.0 && main <= all).then_some(())
    });
    c.must(&["CONFIG", "RESETSTAT"]);
    for field in ["rdb_saves", "total_forks", "lazyfreed_objects", "aof_rewrites", "aof_delayed_fsync"] {
        assert_eq!(number(&mut c, field), 0.0, "{field}");
    }
}

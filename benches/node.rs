//! What a command costs in the node, without sockets and without the clock: parse, gates, execution, reply, stream.
//!
//! Each figure is for one command out of a pipeline of 16. The keys are 100,000, met in an order without pattern, so that
//! their entries come from memory as they do in a server, not from the processor's first cache.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringhold::config::Config;
use ringhold::engine::{Input, Node};
use ringhold::resp::parse::encode_command;
use ringhold::state::{History, Process, Server, Session, Slot};
use ringhold::store::Store;
use ringhold::units::ReplId;

const KEYS: usize = 100_000;
const PIPELINE: usize = 16;
/// Unix microseconds; the clock stands still.
const NOW: i64 = 1_700_000_000_000_000;

struct Bench {
    node: Node,
    slot: Slot,
    input: Input,
    out: Vec<u8>,
}

impl Bench {
    fn new() -> Bench {
        let history = History::new(ReplId::from_random([7; 20]));
        let server = Server::new(Config::default(), history, Process::default(), 1);
        let mut node = Node::new(Store::new(16), server, NOW / 1000);
        let id = node.server.sessions.next_id();
        let session = Session::new(id, "127.0.0.1:2".into(), "127.0.0.1:1".into(), NOW / 1000);
        let slot = node.handle_connect(session, NOW / 1000).expect("room for a client");
        Bench { node, slot, input: Input::default(), out: Vec::new() }
    }

    /// What the driver does with what one read brought.
    fn feed(&mut self, bytes: &[u8]) -> usize {
        self.input.push(bytes);
        self.node.handle_input(self.slot, &mut self.input, &mut NOW.clone());
        self.node.stream_taken();
        self.out.clear();
        self.node.poll_output(self.slot, &mut self.out);
        self.out.len()
    }
}

/// Pipelines that meet every key once, in an order without pattern.
fn pipelines(command: &[&[u8]], key: &str) -> Vec<Vec<u8>> {
    let mut at = 1;
    let batches = std::iter::repeat_with(|| {
        let mut batch = Vec::new();
        for _ in 0..PIPELINE {
            at = (at * 7 + 12_347) % KEYS;
            let key = format!("{key}:{at:012}");
            let words = [&command[..1], &[key.as_bytes()], &command[1..]].concat();
            encode_command(words.into_iter(), &mut batch);
        }
        batch
    });
    batches.take(KEYS / PIPELINE).collect()
}

fn execute(c: &mut Criterion) {
    let value = [b'x'; 100];
    let cases: [(&str, &[&[u8]]); 7] = [
        ("SET of 100 bytes", &[b"SET", &value]),
        ("GET of 100 bytes", &[b"GET"]),
        ("SET of 3 bytes", &[b"SET", b"xyz"]),
        ("INCR", &[b"INCR"]),
        ("LPUSH", &[b"LPUSH", b"element"]),
        ("HSET", &[b"HSET", b"field", b"value"]),
        ("ECHO", &[b"ECHO"]),
    ];
    let mut group = c.benchmark_group("node execute");
    group.throughput(Throughput::Elements(PIPELINE as u64));
    for (name, command) in cases {
        let mut bench = Bench::new();
        let fill: &[&[u8]] = if name.starts_with("GET") { &[b"SET", &value] } else { command };
        pipelines(fill, "key").iter().for_each(|batch| {
            bench.feed(batch);
        });
        let batches = pipelines(command, "key");
        let mut turn = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                turn += 1;
                bench.feed(&batches[turn % batches.len()])
            })
        });
    }
    group.finish();
}

criterion_group!(benches, execute);
criterion_main!(benches);

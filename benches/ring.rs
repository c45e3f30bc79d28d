//! What an append to the ring costs: a command alone, a batch of a pipeline, and large batches.
//!
//! The file is in the system's temporary directory; the ring is large enough that laps are rare and small enough that its pages
//! are there after the first one.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringhold::disk::OsDisk;
use ringhold::ring::{Begin, Ring};
use ringhold::units::{Offset, ReplId};
use std::hint::black_box;

const CAPACITY: u64 = 4 << 20;

fn append(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let begin =
        Begin { replid: ReplId::from_random([7; 20]), begun: Offset::ZERO, tag: 5, at: Offset::ZERO, db: 0 };
    let mut ring = Ring::create(&OsDisk::new(), &folder.path().join("backlog.ring"), CAPACITY, begin)
        .expect("room for a ring");
    let mut group = c.benchmark_group("ring append");
    for len in [40, 140, 1024, 65_536] {
        let bytes = vec![b'x'; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| ring.append(black_box(&bytes), 0))
        });
    }
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);

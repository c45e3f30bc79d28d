//! Speed of snapshots: a mixed dataset of 100,000 keys, written and read in memory.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringhold::store::list::End;
use ringhold::store::rdb::{LoadOptions, SaveOptions, load, save};
use ringhold::store::value::Kind;
use ringhold::store::{Expiry, Hash, Limits, List, Set, Snapshot, Store, Str, Zset};
use std::ops::ControlFlow;

const KEYS: usize = 100_000;

/// Seven in ten keys are strings of 8 to 200 bytes, the others small collections; every fifth has a deadline.
fn mixed() -> Snapshot {
    let limits = Limits::default();
    let mut store = Store::new(1);
    let mut db = store.db(0, 0, Expiry::Ignore, 0);
    for n in 0..KEYS {
        let texts: Vec<String> = (0..8).map(|i| format!("element:{n}:{i}")).collect();
        let value = match n % 10 {
            0 => {
                let mut list = List::new();
                list.push_all(End::Right, texts.iter().map(|t| t.as_bytes()), &limits);
                list.wrap()
            }
            1 => {
                let mut hash = Hash::new();
                for text in &texts {
                    hash.set(text.as_bytes(), n.to_string().as_bytes(), &limits);
                }
                hash.wrap()
            }
            2 if n % 20 == 2 => {
                let mut set = Set::for_load(texts.len(), &limits);
                for text in &texts {
                    set.insert(text.as_str(), &limits);
                }
                set.wrap()
            }
            2 => {
                let mut zset = Zset::for_members(8, 8, &limits);
                for (i, text) in texts.iter().enumerate() {
                    zset.insert(text.as_bytes(), i as f64 * 1.5, &limits);
                }
                zset.wrap()
            }
            3 => Str::Int(n as i64).wrap(),
            kind => Str::new(format!("{{\"id\":{n},\"name\":\"user\"}}").repeat(kind - 3).as_bytes()).wrap(),
        };
        let expires = if n % 5 == 0 { 4_000_000_000_000 } else { ringhold::store::NEVER };
        db.set_with_expiry(format!("key:{n:08}").as_bytes(), value, expires);
    }
    store.snapshot()
}

fn snapshots(c: &mut Criterion) {
    let data = mixed();
    let go_on = &mut |_| ControlFlow::Continue(());
    let mut group = c.benchmark_group("rdb");
    group.throughput(Throughput::Elements(KEYS as u64));
    for compress in [true, false] {
        let options = SaveOptions { compress, checksum: true, ..SaveOptions::default() };
        let mut bytes = Vec::new();
        let saved = save(&data, &options, &mut bytes, go_on);
        let form = if compress { "compressed" } else { "plain" };
        println!("{form}: {saved:?}");
        group.bench_function(format!("save, {form}"), |b| {
            let mut out = Vec::with_capacity(bytes.len());
            b.iter(|| {
                out.clear();
                save(&data, &options, &mut out, go_on)
            })
        });
        group.bench_function(format!("load, {form}"), |b| {
            b.iter_with_large_drop(|| {
                let mut into = Snapshot::empty(1);
                let loaded = load(&mut &bytes[..], &LoadOptions::default(), &mut into, go_on);
                (into, loaded)
            })
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(std::time::Duration::from_millis(500)).measurement_time(std::time::Duration::from_secs(3)).sample_size(10).without_plots();
    targets = snapshots
}
criterion_main!(benches);

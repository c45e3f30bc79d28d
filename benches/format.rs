//! Speed of the byte-level codecs: checksums at the sizes of a command, a ring block and a large value; LZF
//! beside the crate it replaces; a listpack at the sizes where a hash or a list is one.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringhold::format::crc::{RdbCrc, SealCrc};
use ringhold::format::lzf::{Table, compress, decompress};
use ringhold::format::packed::listpack::{Listpack, ListpackRef};
use std::hint::black_box;

/// Bytes without a pattern, the same in each run (a linear congruential generator).
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let step = |state: &mut u64| {
        *state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (*state >> 56) as u8
    };
    std::iter::repeat_with(|| step(&mut state)).take(len).collect()
}

/// Text as values often are: repeated keys, changing numbers.
fn json(len: usize) -> Vec<u8> {
    let rows = noise(len)
        .into_iter()
        .map(|n| format!(r#"{{"id":{n},"name":"user-{n}","score":{}}},"#, u32::from(n) * 7));
    rows.flat_map(String::into_bytes).take(len).collect()
}

fn checksums(c: &mut Criterion) {
    let mut group = c.benchmark_group("crc");
    for len in [8, 40, 256, 4096, 65_536] {
        let bytes = noise(len);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_with_input(BenchmarkId::new("rdb", len), &bytes, |b, bytes| {
            let mut crc = RdbCrc::new();
            b.iter(|| {
                crc.update(black_box(bytes));
                crc.value()
            })
        });
        group.bench_with_input(BenchmarkId::new("seal", len), &bytes, |b, bytes| {
            let mut crc = SealCrc::seeded(&[1, 2]);
            b.iter(|| {
                crc.update(black_box(bytes));
                crc.value()
            })
        });
    }
}

fn lzf_codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("lzf");
    for (name, input) in [
        ("json-100", json(100)),
        ("json-64K", json(65_536)),
        ("noise-64K", noise(65_536)),
        ("zero-64K", vec![0; 65_536]),
    ] {
        let (mut table, mut block, mut back) = (Table::new(), Vec::new(), Vec::new());
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_function(BenchmarkId::new("compress", name), |b| {
            b.iter(|| compress(black_box(&input), &mut block, &mut table))
        });
        group.bench_function(BenchmarkId::new("compress by the lzf crate", name), |b| {
            b.iter(|| ::lzf::compress(black_box(&input)).map(|block| block.len()))
        });
        if compress(&input, &mut block, &mut table) {
            println!(
                "{name}: {} to {} bytes; lzf crate: {:?}",
                input.len(),
                block.len(),
                ::lzf::compress(&input).map(|b| b.len())
            );
            group.bench_function(BenchmarkId::new("decompress", name), |b| {
                b.iter(|| decompress(black_box(&block), input.len(), &mut back))
            });
            group.bench_function(BenchmarkId::new("decompress by the lzf crate", name), |b| {
                b.iter(|| ::lzf::decompress(black_box(&block), input.len()).map(|bytes| bytes.len()))
            });
        }
    }
}

fn listpack(c: &mut Criterion) {
    let fields: Vec<Vec<u8>> = (0..128).map(|n| format!("field:{n:04}").into_bytes()).collect();
    let hash: Listpack = fields.iter().flat_map(|field| [&field[..], b"12345"]).collect();
    let mut group = c.benchmark_group("listpack");
    group.bench_function("find the last of 128 fields", |b| {
        b.iter(|| black_box(&hash).find(black_box(&fields[127]), 1))
    });
    group.bench_function("replace a value in the middle", |b| {
        let mut hash = hash.clone();
        let at = hash.seek(129);
        let mut n = 10_000i64;
        b.iter(|| {
            n = 10_000 + (n + 1) % 10_000;
            at.inspect(|at| hash.replace(*at, n));
        })
    });
    group.bench_function("push 128 strings", |b| b.iter(|| fields.iter().collect::<Listpack>().bytes_len()));
    group.bench_function("check 256 entries", |b| {
        b.iter(|| ListpackRef::new(black_box(hash.as_bytes())).map(|all| all.len()))
    });
    group.bench_function("read 256 entries", |b| {
        b.iter(|| black_box(&hash).iter().map(|entry| entry.to_i64().is_some() as usize).sum::<usize>())
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(std::time::Duration::from_millis(200)).measurement_time(std::time::Duration::from_secs(1)).sample_size(30).without_plots();
    targets = checksums, lzf_codec, listpack
}
criterion_main!(benches);

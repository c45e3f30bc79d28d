//! The wire protocol's cost per request: parsing pipelined commands and writing replies.
//!
//! Each figure is for a batch, as the server meets it: what a pipeline of 16 leaves in the buffer, and one command
//! cut into two reads.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringhold::resp::extended::Extended;
use ringhold::resp::parse::{Limits, Parsed, Parser, encode_command};
use ringhold::resp::reply::{Protocol, Reply};
use std::hint::black_box;

/// Parses all of `input` and returns the bytes of arguments seen.
fn parse_all(parser: &mut Parser, mut input: &[u8], limits: &Limits) -> usize {
    let mut total = 0;
    while let Ok(Parsed::Command { consumed, .. }) = parser.parse(input, limits) {
        total += parser.args(input).total_len();
        input = &input[consumed..];
    }
    total
}

fn pipeline(commands: usize, value: usize) -> Vec<u8> {
    let value = vec![b'x'; value];
    let mut input = Vec::new();
    for i in 0..commands {
        let key = format!("key:{i:012}");
        let args: &[&[u8]] =
            if i % 2 == 0 { &[b"SET", key.as_bytes(), &value] } else { &[b"GET", key.as_bytes()] };
        encode_command(args.iter().copied(), &mut input);
    }
    input
}

fn parsing(c: &mut Criterion) {
    let limits = Limits::default();
    let mut group = c.benchmark_group("resp parse");
    for (name, commands, value) in
        [("16 SET/GET of 16 bytes", 16, 16), ("16 SET/GET of 1 KiB", 16, 1024), ("1 GET, 1 SET", 2, 3)]
    {
        let input = pipeline(commands, value);
        group.throughput(Throughput::Elements(commands as u64));
        let mut parser = Parser::new();
        group.bench_function(name, |b| b.iter(|| parse_all(&mut parser, black_box(&input), &limits)));
    }
    let input = pipeline(1, 1024);
    group.throughput(Throughput::Elements(1));
    let mut parser = Parser::new();
    group.bench_function("1 SET of 1 KiB in two reads", |b| {
        b.iter(|| {
            let first = parser.parse(black_box(&input[..500]), &limits);
            (first, parse_all(&mut parser, black_box(&input), &limits))
        });
    });
    let inline = b"SET key:000000000001 \"some value\"\r\n".repeat(16);
    group.throughput(Throughput::Elements(16));
    group.bench_function("16 inline SET", |b| b.iter(|| parse_all(&mut parser, black_box(&inline), &limits)));
    group.finish();
}

fn replying(c: &mut Criterion) {
    let mut out = Vec::with_capacity(64 << 10);
    let mut group = c.benchmark_group("resp reply");
    let mut bench = |name: &str, count: u64, write: &dyn Fn(&mut Reply<'_>)| {
        group.throughput(Throughput::Elements(count));
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                write(&mut Reply::new(black_box(&mut out), Protocol::Resp2));
                out.len()
            });
        });
    };
    bench("16 OK", 16, &|reply| (0..16).for_each(|_| reply.ok()));
    bench("16 bulks of 16 bytes", 16, &|reply| (0..16).for_each(|_| reply.bulk(black_box(&[b'x'; 16]))));
    bench("16 integers", 16, &|reply| (0..16).for_each(|i| reply.int(black_box(i * 12345))));
    bench("100 bulks in a deferred array", 100, &|reply| {
        let open = reply.deferred_array();
        (0..100).for_each(|_| reply.bulk(black_box(b"element")));
        reply.close(open, 100);
    });
    bench("16 doubles", 16, &|reply| (0..16).for_each(|i| reply.double(black_box(f64::from(i) * 0.37))));
    group.finish();
    c.bench_function("INCRBYFLOAT's sum", |b| {
        b.iter(|| {
            out.clear();
            let sum = Extended::parse(black_box(b"10.5")).zip(Extended::parse(black_box(b"0.1")));
            sum.map_or(Extended::ZERO, |(a, b)| a + b).format_human(&mut out);
            out.len()
        });
    });
}

criterion_group!(benches, parsing, replying);
criterion_main!(benches);

//! How long things take: a histogram per command, and the latest slow events.
//!
//! A histogram has 64 buckets for every power of two, so a percentile is off by at most 1.6 %; it is made when a
//! command is first called. Durations are in microseconds, at most a second, as Redis keeps them.

use std::collections::{BTreeMap, VecDeque};

const BITS: u32 = 6;
const SUB: usize = 1 << BITS;
/// Longest duration told apart.
const MOST: u64 = 1_000_000;
const BUCKETS: usize = ((20 - BITS as usize) + 1) * SUB;

/// Counts of durations.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    pub total: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: Box::new([0; BUCKETS]), total: 0 }
    }
}

fn bucket(micros: u64) -> usize {
    let micros = micros.min(MOST);
    if micros < SUB as u64 {
        return micros as usize;
    }
    let shift = micros.ilog2() - BITS;
    (shift as usize) * SUB + (micros >> shift) as usize
}

/// The longest duration of a bucket.
fn longest(bucket: usize) -> u64 {
    let shift = (bucket / SUB).saturating_sub(1);
    let in_row = if bucket < SUB { bucket } else { bucket - shift * SUB };
    ((in_row as u64 + 1) << shift) - 1
}

impl Histogram {
    pub fn add(&mut self, micros: u64) {
        self.counts[bucket(micros)] += 1;
        self.total += 1;
    }

    /// The duration that `percent` of all do not exceed.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = ((percent / 100.0 * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return longest(bucket);
            }
        }
        0
    }

    /// For each power of two at which it grows: how many lasted no longer.
    pub fn cumulative(&self) -> Vec<(u64, u64)> {
        let mut found: Vec<(u64, u64)> = Vec::new();
        let (mut seen, mut limit) = (0, 1u64);
        for (bucket, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            seen += count;
            while limit < longest(bucket) {
                limit *= 2;
            }
            match found.last_mut() {
                Some(last) if last.0 == limit => last.1 = seen,
                _ => found.push((limit, seen)),
            }
        }
        found
    }
}

/// Samples kept of one event.
const SAMPLES: usize = 160;

/// What LATENCY knows of one event: the worst of each second, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// Unix seconds, milliseconds.
    pub samples: VecDeque<(i64, u64)>,
    pub max_ms: u64,
}

/// Events that took at least `latency-monitor-threshold`, by name.
#[derive(Clone, Debug, Default)]
pub struct Events(pub BTreeMap<&'static str, Event>);

impl Events {
    pub fn add(&mut self, name: &'static str, now_seconds: i64, ms: u64) {
        let event = self.0.entry(name).or_default();
        event.max_ms = event.max_ms.max(ms);
        match event.samples.back_mut() {
            Some((at, worst)) if *at == now_seconds => *worst = ms.max(*worst),
            _ => event.samples.push_back((now_seconds, ms)),
        }
        if event.samples.len() > SAMPLES {
            event.samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_dense_and_tight() {
        let mut last = 0;
        for micros in 0..=MOST {
            let at = bucket(micros);
            assert!(at == last || at == last + 1, "{micros}");
            assert!(longest(at) >= micros && longest(at) - micros <= micros / 32, "{micros} {}", longest(at));
            last = at;
        }
        assert!(last < BUCKETS);
        assert_eq!(bucket(u64::MAX), bucket(MOST));
    }

    #[test]
    fn percentiles_and_powers() {
        let mut histogram = Histogram::default();
        (1..=100).for_each(|micros| histogram.add(micros));
        assert_eq!([50.0, 99.0, 100.0].map(|p| histogram.percentile(p)), [50, 99, 100]);
        let powers = [(1, 1), (2, 2), (4, 4), (8, 8), (16, 16), (32, 32), (64, 64), (128, 100)];
        assert_eq!(histogram.cumulative(), powers);
    }

    #[test]
    fn events_keep_the_worst_of_a_second() {
        let mut events = Events::default();
        for (at, ms) in [(1, 5), (1, 9), (1, 7), (2, 3)] {
            events.add("command", at, ms);
        }
        (0..200).for_each(|at| events.add("fast-command", at, 1));
        assert_eq!(events.0["command"].samples, [(1, 9), (2, 3)]);
        assert_eq!((events.0["command"].max_ms, events.0["fast-command"].samples.len()), (9, SAMPLES));
    }
}

//! The settings with a shape of their own: lists, limits per class, flag letters.
//!
//! Each reads words and shows itself exactly as Redis 7.2 does; the awkward corners (an empty word means "none", `save`
//! lines add up, a client class that is not named keeps its limits) are theirs, not the loader's.

use std::fmt::Write as _;

use bitflags::bitflags;

use super::row::Spec;
use super::scalars::{How, Notation, Refusal, Setting, memory_size, not_one_of, only, with_unit};
use crate::resp::number::{parse_f64, parse_i64};

/// The words, where a single empty one counts as none.
fn given<'a, 'b>(words: &'a [&'b [u8]]) -> &'a [&'b [u8]] {
    if let [b""] = words { &[] } else { words }
}

/// A whole number as C's `strtoll` takes it (leading zeros allowed, an empty text is zero).
fn lenient_integer(word: &[u8]) -> Option<i64> {
    if word.is_empty() { Some(0) } else { std::str::from_utf8(word).ok()?.parse().ok() }
}

fn joined<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut text = String::new();
    for (i, item) in items.into_iter().enumerate() {
        let gap = if i == 0 { "" } else { " " };
        let _ = write!(text, "{gap}{item}");
    }
    text.into_bytes()
}

fn or_empty_quotes(text: Vec<u8>) -> Vec<u8> {
    if text.is_empty() { b"\"\"".to_vec() } else { text }
}

/// Save by itself when at least `changes` were made and `seconds` have passed since the last save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    pub seconds: u64,
    pub changes: u64,
}

impl SavePoint {
    pub const fn new(seconds: u64, changes: u64) -> SavePoint {
        SavePoint { seconds, changes }
    }
}

/// All save points; empty for never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavePoints(pub Vec<SavePoint>);

impl Setting for SavePoints {
    fn set(&mut self, words: &[&[u8]], how: How, _: &Spec) -> Result<(), Refusal> {
        const BAD: &str = "Invalid save parameters";
        let pairs = given(words);
        let mut points = Vec::new();
        for pair in pairs.chunks(2) {
            let [seconds, changes] = pair else { return Err(BAD.into()) };
            let seconds = lenient_integer(seconds).filter(|n| *n >= 1).ok_or(BAD)?;
            let changes = lenient_integer(changes).filter(|n| *n >= 0).ok_or(BAD)?;
            points.push(SavePoint::new(seconds as u64, changes as u64));
        }
        if how == How::Append && !words.is_empty() && !pairs.is_empty() {
            self.0.extend(points);
        } else {
            self.0 = points;
        }
        Ok(())
    }
    fn show(&self) -> Vec<u8> {
        joined(self.0.iter().flat_map(|point| [point.seconds, point.changes]))
    }
    fn lines(&self, _: &Spec) -> Vec<Vec<u8>> {
        if self.0.is_empty() {
            return vec![b"\"\"".to_vec()];
        }
        self.0.iter().map(|point| joined([point.seconds, point.changes])).collect()
    }
    fn adds_up(&self) -> bool {
        true
    }
}

impl Setting for Vec<String> {
    fn set(&mut self, words: &[&[u8]], _: How, _: &Spec) -> Result<(), Refusal> {
        if words.len() > 16 {
            return Err("Too many bind addresses specified.".into());
        }
        let texts: Result<Vec<String>, _> =
            given(words).iter().map(|word| String::from_utf8(word.to_vec())).collect();
        *self = texts.map_err(|_| "argument must be valid UTF-8")?;
        Ok(())
    }
    fn show(&self) -> Vec<u8> {
        joined(self)
    }
    fn lines(&self, _: &Spec) -> Vec<Vec<u8>> {
        vec![or_empty_quotes(self.show())]
    }
}

/// The primary to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaOf {
    pub host: String,
    pub port: u16,
}

impl Setting for Option<ReplicaOf> {
    fn set(&mut self, words: &[&[u8]], _: How, _: &Spec) -> Result<(), Refusal> {
        let [host, port] = match words {
            // CONFIG GET shows "none" as an empty text, so that is taken back too.
            [b""] => [b"no".as_slice(), b"one"],
            [host, port] => [*host, *port],
            _ => return Err("wrong number of arguments".into()),
        };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            *self = None;
            return Ok(());
        }
        let port = lenient_integer(port).and_then(|port| u16::try_from(port).ok());
        let port = port.ok_or("Invalid master port")?;
        let host = String::from_utf8(host.to_vec()).map_err(|_| "argument must be valid UTF-8")?;
        *self = Some(ReplicaOf { host, port });
        Ok(())
    }
    fn show(&self) -> Vec<u8> {
        match self {
            Some(primary) => format!("{} {}", primary.host, primary.port).into_bytes(),
            None => Vec::new(),
        }
    }
    fn lines(&self, _: &Spec) -> Vec<Vec<u8>> {
        self.iter().map(|_| self.show()).collect()
    }
}

/// Limits on the output that one client has not yet taken; of a replica, on the stream that it has yet to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes at which the client is closed at once; 0 for no limit.
    pub hard: u64,
    /// Bytes above which it is closed after `soft_seconds`; 0 for no limit.
    pub soft: u64,
    pub soft_seconds: u64,
}

impl OutputLimit {
    /// Whether a client with so many bytes is to be closed; `since_ms` remembers since when it is above the soft limit.
    pub fn is_passed(&self, bytes: u64, since_ms: &mut Option<i64>, now_ms: i64) -> bool {
        if self.soft == 0 || bytes <= self.soft {
            *since_ms = None;
        } else if now_ms - *since_ms.get_or_insert(now_ms) > self.soft_seconds as i64 * 1000 {
            return true;
        }
        self.hard > 0 && bytes > self.hard
    }
}

/// One limit per class of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientOutputBufferLimits {
    pub normal: OutputLimit,
    pub replica: OutputLimit,
    pub pubsub: OutputLimit,
}

impl ClientOutputBufferLimits {
    pub const DEFAULT: ClientOutputBufferLimits = ClientOutputBufferLimits {
        normal: OutputLimit { hard: 0, soft: 0, soft_seconds: 0 },
        replica: OutputLimit { hard: 0, soft: 0, soft_seconds: 0 },
        pubsub: OutputLimit { hard: 32 << 20, soft: 8 << 20, soft_seconds: 60 },
    };

    fn class(&mut self, name: &[u8]) -> Option<&mut OutputLimit> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Some(&mut self.normal),
            b"replica" | b"slave" => Some(&mut self.replica),
            b"pubsub" => Some(&mut self.pubsub),
            _ => None,
        }
    }
}

impl Setting for ClientOutputBufferLimits {
    fn set(&mut self, words: &[&[u8]], _: How, _: &Spec) -> Result<(), Refusal> {
        let mut new = *self;
        if !words.len().is_multiple_of(4) {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        }
        for group in words.chunks(4) {
            let [class, hard, soft, seconds] = group else { continue };
            let limit =
                new.class(class).ok_or("Invalid client class specified in buffer limit configuration.")?;
            let parsed = || {
                let soft_seconds = u64::try_from(lenient_integer(seconds)?).ok()?;
                Some(OutputLimit { hard: memory_size(hard)?, soft: memory_size(soft)?, soft_seconds })
            };
            *limit = parsed()
                .ok_or("Error in hard, soft or soft_seconds setting in buffer limit configuration.")?;
        }
        *self = new;
        Ok(())
    }
    fn show(&self) -> Vec<u8> {
        let classes = [("normal", self.normal), ("slave", self.replica), ("pubsub", self.pubsub)];
        joined(
            classes.map(|(class, limit)| {
                format!("{class} {} {} {}", limit.hard, limit.soft, limit.soft_seconds)
            }),
        )
    }
    fn lines(&self, _: &Spec) -> Vec<Vec<u8>> {
        let classes = [("normal", self.normal), ("replica", self.replica), ("pubsub", self.pubsub)];
        let line = |(class, limit): (&str, OutputLimit)| {
            let (hard, soft) = (with_unit(limit.hard), with_unit(limit.soft));
            format!("{class} {hard} {soft} {}", limit.soft_seconds).into_bytes()
        };
        classes.into_iter().map(line).collect()
    }
}

/// Out-of-memory scores: of a primary, a replica, a background process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomScores(pub [i32; 3]);

impl Setting for OomScores {
    fn set(&mut self, words: &[&[u8]], _: How, _: &Spec) -> Result<(), Refusal> {
        if words.len() != 3 {
            return Err("wrong number of arguments".into());
        }
        let mut scores = [0; 3];
        for (score, word) in scores.iter_mut().zip(words) {
            *score = lenient_integer(word)
                .filter(|value| (-2000..=2000).contains(value))
                .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?
                as i32;
        }
        self.0 = scores;
        Ok(())
    }
    fn show(&self) -> Vec<u8> {
        joined(self.0)
    }
}

/// Percentiles, each between 0 and 100.
#[derive(Clone, Debug, PartialEq)]
pub struct Percentiles(pub Vec<f64>);

impl Setting for Percentiles {
    fn set(&mut self, words: &[&[u8]], _: How, _: &Spec) -> Result<(), Refusal> {
        const NAME: &str = "latency-tracking-info-percentiles";
        let mut values = Vec::new();
        for word in given(words) {
            let value = parse_f64(word).filter(|value| !value.is_nan());
            let value = value.ok_or_else(|| format!("Invalid {NAME} parameters"))?;
            if !(0.0..=100.0).contains(&value) {
                return Err(format!("{NAME} parameters should sit between [0.0,100.0]").into());
            }
            values.push(value);
        }
        self.0 = values;
        Ok(())
    }
    fn show(&self) -> Vec<u8> {
        let text = |value: &f64| {
            let six = format!("{value:.6}");
            six.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        joined(self.0.iter().map(text))
    }
    fn lines(&self, _: &Spec) -> Vec<Vec<u8>> {
        vec![or_empty_quotes(self.show())]
    }
}

/// Permission bits, written in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl Setting for FileMode {
    fn set(&mut self, words: &[&[u8]], _: How, _: &Spec) -> Result<(), Refusal> {
        let text = std::str::from_utf8(only(words)?).unwrap_or("?");
        let mode =
            u64::from_str_radix(text, 8).map_err(|_| "argument couldn't be parsed as an octal number")?;
        if mode > 0o777 {
            return Err("argument must be between 0 and 777 inclusive".into());
        }
        self.0 = mode as u32;
        Ok(())
    }
    fn show(&self) -> Vec<u8> {
        format!("{:o}", self.0).into_bytes()
    }
}

/// Most memory for all clients together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMemory {
    /// 0 for no limit.
    Bytes(u64),
    /// Of `maxmemory`, 0 to 100.
    Percent(u8),
}

impl Setting for ClientMemory {
    fn set(&mut self, words: &[&[u8]], _: How, _: &Spec) -> Result<(), Refusal> {
        let word = only(words)?;
        if let Some(bytes) = memory_size(word) {
            if bytes > i64::MAX as u64 {
                return Err(format!("argument must be between -100 and {} inclusive", i64::MAX).into());
            }
            *self = ClientMemory::Bytes(bytes);
            return Ok(());
        }
        let percent = word.strip_suffix(b"%").and_then(parse_i64).filter(|n| *n >= 0);
        let percent = percent.ok_or("argument must be a memory or percent value")?;
        if percent > 100 {
            return Err("percentage argument must be less or equal to 100".into());
        }
        *self = if percent == 0 { ClientMemory::Bytes(0) } else { ClientMemory::Percent(percent as u8) };
        Ok(())
    }
    fn show(&self) -> Vec<u8> {
        match self {
            ClientMemory::Bytes(bytes) => bytes.to_string().into_bytes(),
            ClientMemory::Percent(percent) => format!("{percent}%").into_bytes(),
        }
    }
    fn lines(&self, _: &Spec) -> Vec<Vec<u8>> {
        vec![match self {
            ClientMemory::Bytes(bytes) => with_unit(*bytes).into_bytes(),
            ClientMemory::Percent(_) => self.show(),
        }]
    }
    fn notation(&self) -> Notation {
        if let ClientMemory::Bytes(_) = self { Notation::Number } else { Notation::Text }
    }
}

bitflags! {
    /// How a signal shuts the server down; empty for the default way.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ShutdownFlags: u8 {
        const SAVE = 1;
        const NOSAVE = 2;
        const NOW = 4;
        const FORCE = 8;
    }
}

const SHUTDOWN_WORDS: [(&str, ShutdownFlags); 5] = [
    ("default", ShutdownFlags::empty()),
    ("save", ShutdownFlags::SAVE),
    ("nosave", ShutdownFlags::NOSAVE),
    ("now", ShutdownFlags::NOW),
    ("force", ShutdownFlags::FORCE),
];

impl Setting for ShutdownFlags {
    fn set(&mut self, words: &[&[u8]], _: How, _: &Spec) -> Result<(), Refusal> {
        let unknown = || not_one_of(&SHUTDOWN_WORDS.map(|(word, _)| word));
        if words.is_empty() {
            return Err(unknown());
        }
        let mut flags = ShutdownFlags::empty();
        for word in words {
            let found = SHUTDOWN_WORDS.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(word));
            flags |= found.ok_or_else(unknown)?.1;
        }
        if flags.contains(ShutdownFlags::SAVE | ShutdownFlags::NOSAVE) {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        *self = flags;
        Ok(())
    }
    fn show(&self) -> Vec<u8> {
        if self.is_empty() {
            return b"default".to_vec();
        }
        let set = SHUTDOWN_WORDS.iter().filter(|(_, flag)| !flag.is_empty() && self.contains(*flag));
        joined(set.map(|(word, _)| word))
    }
}

bitflags! {
    /// Which key events are published, and on which channels.
    #[derive(Default, Clone, Copy, Debug, PartialEq, Eq)]
    pub struct KeyspaceEvents: u16 {
        const GENERIC = 1;
        const STRING = 1 << 1;
        const LIST = 1 << 2;
        const SET = 1 << 3;
        const HASH = 1 << 4;
        const ZSET = 1 << 5;
        const EXPIRED = 1 << 6;
        const EVICTED = 1 << 7;
        const STREAM = 1 << 8;
        const MODULE = 1 << 9;
        /// New keys; not part of `A`.
        const NEW = 1 << 10;
        /// On the channel named after the key.
        const KEYSPACE = 1 << 11;
        /// On the channel named after the event.
        const KEYEVENT = 1 << 12;
        /// Lookups that found nothing; not part of `A`.
        const KEY_MISS = 1 << 13;
        /// What the letter `A` stands for.
        const ALL = (1 << 10) - 1;
    }
}

/// In the order in which they are shown; `A` first, for all that it covers.
const EVENT_LETTERS: [(u8, KeyspaceEvents); 15] = [
    (b'A', KeyspaceEvents::ALL),
    (b'g', KeyspaceEvents::GENERIC),
    (b'$', KeyspaceEvents::STRING),
    (b'l', KeyspaceEvents::LIST),
    (b's', KeyspaceEvents::SET),
    (b'h', KeyspaceEvents::HASH),
    (b'z', KeyspaceEvents::ZSET),
    (b'x', KeyspaceEvents::EXPIRED),
    (b'e', KeyspaceEvents::EVICTED),
    (b't', KeyspaceEvents::STREAM),
    (b'd', KeyspaceEvents::MODULE),
    (b'n', KeyspaceEvents::NEW),
    (b'K', KeyspaceEvents::KEYSPACE),
    (b'E', KeyspaceEvents::KEYEVENT),
    (b'm', KeyspaceEvents::KEY_MISS),
];

impl Setting for KeyspaceEvents {
    fn set(&mut self, words: &[&[u8]], _: How, _: &Spec) -> Result<(), Refusal> {
        let mut events = KeyspaceEvents::empty();
        for letter in only(words)? {
            let found = EVENT_LETTERS.iter().find(|(known, _)| known == letter);
            events |= found.ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?.1;
        }
        *self = events;
        Ok(())
    }
    fn show(&self) -> Vec<u8> {
        let mut shown = KeyspaceEvents::empty();
        let mut text = Vec::new();
        for (letter, events) in EVENT_LETTERS {
            if self.contains(events) && !shown.contains(events) {
                text.push(letter);
                shown |= events;
            }
        }
        text
    }
    fn lines(&self, _: &Spec) -> Vec<Vec<u8>> {
        vec![super::conf::quoted(&self.show())]
    }
}

//! How one value is read and written: the [`Setting`] trait, and its simple implementors (switches, numbers, texts).
//!
//! A setting takes *words* (already split and unquoted) and gives back text in two forms: as CONFIG GET shows it, and
//! as the rest of a configuration line. `set` leaves the value untouched when it refuses; its error is the text that
//! Redis 7.2 shows, because clients and tests match on it.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use super::conf::quoted;
use super::row::Spec;
use crate::resp::number::{self, parse_i64};

/// Why a value is refused, without the name of the directive.
pub type Refusal = Cow<'static, str>;

/// Whether the words are the whole new value, or add to what the same load has set before (`save` lines do).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Replace,
    Append,
}

/// The notation of a value in TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    Switch,
    Number,
    Text,
}

pub trait Setting {
    /// Takes exactly one word, unless the row is `MULTI`.
    fn set(&mut self, words: &[&[u8]], how: How, spec: &Spec) -> Result<(), Refusal>;

    /// As CONFIG GET shows it.
    fn show(&self) -> Vec<u8>;

    /// What follows the name in a configuration file: one entry per line, at least one.
    fn lines(&self, _spec: &Spec) -> Vec<Vec<u8>> {
        vec![self.show()]
    }

    fn notation(&self) -> Notation {
        Notation::Text
    }

    /// Whether several lines of a file add up instead of the last one counting.
    fn adds_up(&self) -> bool {
        false
    }
}

/// The only word of a single-valued directive.
pub(super) fn only<'a>(words: &[&'a [u8]]) -> Result<&'a [u8], Refusal> {
    match words {
        [word] => Ok(word),
        _ => Err("wrong number of arguments".into()),
    }
}

fn only_text<'a>(words: &[&'a [u8]]) -> Result<&'a str, Refusal> {
    std::str::from_utf8(only(words)?).map_err(|_| "argument must be valid UTF-8".into())
}

impl Setting for bool {
    fn set(&mut self, words: &[&[u8]], _: How, spec: &Spec) -> Result<(), Refusal> {
        let word = only(words)?;
        let on = word.eq_ignore_ascii_case(b"yes");
        if !on && !word.eq_ignore_ascii_case(b"no") {
            return Err("argument must be 'yes' or 'no'".into());
        }
        match spec {
            Spec::Never(why) if on => Err((*why).into()),
            _ => {
                *self = on;
                Ok(())
            }
        }
    }
    fn show(&self) -> Vec<u8> {
        if *self { b"yes".to_vec() } else { b"no".to_vec() }
    }
    fn notation(&self) -> Notation {
        Notation::Switch
    }
}

macro_rules! numbers {
    ($($ty:ty)*) => {$(
        impl Setting for $ty {
            fn set(&mut self, words: &[&[u8]], _: How, spec: &Spec) -> Result<(), Refusal> {
                let value = in_range(only(words)?, spec)?;
                *self = <$ty>::try_from(value).map_err(|_| Refusal::from(NOT_INTEGER))?;
                Ok(())
            }
            fn show(&self) -> Vec<u8> {
                self.to_string().into_bytes()
            }
            fn lines(&self, spec: &Spec) -> Vec<Vec<u8>> {
                vec![match spec {
                    Spec::Bytes { .. } => with_unit(*self as u64).into_bytes(),
                    _ => self.show(),
                }]
            }
            fn notation(&self) -> Notation {
                Notation::Number
            }
        }
    )*};
}
numbers!(u16 u32 u64 usize i32 i64);

const NOT_INTEGER: &str = "argument couldn't be parsed into an integer";

fn in_range(word: &[u8], spec: &Spec) -> Result<i128, Refusal> {
    let (value, min, max) = match *spec {
        Spec::Bytes { min, max } => {
            let value = memory_size(word).ok_or("argument must be a memory value")?;
            (i128::from(value), min, max)
        }
        Spec::Count { min, max } => (i128::from(parse_i64(word).ok_or(NOT_INTEGER)?), min, max),
        _ => (i128::from(parse_i64(word).ok_or(NOT_INTEGER)?), i128::MIN, i128::MAX),
    };
    if value < min || value > max {
        return Err(format!("argument must be between {min} and {max} inclusive").into());
    }
    Ok(value)
}

/// Bytes, with an optional unit.
pub(super) fn memory_size(word: &[u8]) -> Option<u64> {
    number::memory_size(std::str::from_utf8(word).ok()?)
}

/// A size in the largest unit that divides it.
pub(super) fn with_unit(bytes: u64) -> String {
    for (unit, name) in [(1u64 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")] {
        if bytes != 0 && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}

impl Setting for String {
    fn set(&mut self, words: &[&[u8]], _: How, spec: &Spec) -> Result<(), Refusal> {
        let text = only_text(words)?;
        if let Spec::Check(test) = spec {
            test(text)?;
        }
        *self = text.to_owned();
        Ok(())
    }
    fn show(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
    fn lines(&self, _: &Spec) -> Vec<Vec<u8>> {
        vec![quoted(self.as_bytes())]
    }
}

impl Setting for PathBuf {
    fn set(&mut self, words: &[&[u8]], _: How, _: &Spec) -> Result<(), Refusal> {
        let text = only_text(words)?;
        if text.is_empty() {
            return Err("No such file or directory".into());
        }
        *self = PathBuf::from(text);
        Ok(())
    }
    fn show(&self) -> Vec<u8> {
        self.as_os_str().as_encoded_bytes().to_vec()
    }
    fn lines(&self, _: &Spec) -> Vec<Vec<u8>> {
        vec![quoted(self.as_os_str().as_encoded_bytes())]
    }
}

/// A password or the like: any bytes, empty for none, never printed by `Debug`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(pub Vec<u8>);

impl Secret {
    pub const NONE: Secret = Secret(Vec::new());

    /// The bytes, or `None` where nothing is set.
    pub fn get(&self) -> Option<&[u8]> {
        (!self.0.is_empty()).then_some(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret(none)" } else { "Secret(***)" })
    }
}

impl Setting for Secret {
    fn set(&mut self, words: &[&[u8]], _: How, _: &Spec) -> Result<(), Refusal> {
        self.0 = only(words)?.to_vec();
        Ok(())
    }
    fn show(&self) -> Vec<u8> {
        self.0.clone()
    }
    fn lines(&self, _: &Spec) -> Vec<Vec<u8>> {
        vec![quoted(&self.0)]
    }
}

/// One word of a fixed choice, for directives that have no enum of their own because nothing acts on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub &'static str);

impl Setting for Word {
    fn set(&mut self, words: &[&[u8]], _: How, spec: &Spec) -> Result<(), Refusal> {
        let choice: &[&'static str] = if let Spec::OneOf(choice) = spec { choice } else { &[] };
        let found = match words {
            [word] => choice.iter().find(|known| known.as_bytes().eq_ignore_ascii_case(word)),
            _ => None,
        };
        self.0 = found.ok_or_else(|| not_one_of(choice))?;
        Ok(())
    }
    fn show(&self) -> Vec<u8> {
        self.0.as_bytes().to_vec()
    }
}

pub(super) fn not_one_of(choice: &[&str]) -> Refusal {
    format!("argument(s) must be one of the following: {}", choice.join(", ")).into()
}

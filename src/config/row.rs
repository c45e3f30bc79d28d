//! What a row of the table is, and the macro that makes [`Settings`] and its rows out of one text.
//!
//! The macro exists so that field, default, name and limits stand in one line and cannot disagree; everything that
//! *acts* on a row is an ordinary function. A row reaches its field through two accessors that give it as a
//! [`Setting`], so no code here knows the type of any directive.

use std::fmt;

use bitflags::bitflags;

use super::scalars::{How, Setting};
use super::table::{ROWS, Settings};

bitflags! {
    /// What may be done with a directive.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u16 {
        /// Only at start, not by CONFIG SET.
        const IMMUTABLE = 1;
        /// By CONFIG SET only where `enable-protected-configs` allows it.
        const PROTECTED = 1 << 1;
        /// Its value must not appear in logs, SLOWLOG or MONITOR.
        const SENSITIVE = 1 << 2;
        /// Not found by patterns in CONFIG GET.
        const HIDDEN = 1 << 3;
        /// Not by CONFIG SET while a dataset is being loaded.
        const DENY_LOADING = 1 << 4;
        /// Takes several words (or none).
        const MULTI = 1 << 5;
        /// Kept and given back, but without effect.
        const INERT = 1 << 6;
        /// The same, until this server has what it is for (eviction, scripts, users).
        const LATER = 1 << 7;
    }
}

/// Which values a row allows, where its type alone does not say it.
#[derive(Debug)]
pub enum Spec {
    Any,
    /// A plain integer in this range.
    Count {
        min: i128,
        max: i128,
    },
    /// A size with an optional unit (`64mb`), in bytes, in this range.
    Bytes {
        min: i128,
        max: i128,
    },
    /// A text that passes this check, whose error is shown to the client.
    Check(fn(&str) -> Result<(), &'static str>),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A switch that cannot be turned on, and why.
    Never(&'static str),
}

pub(super) const fn count(min: i128, max: i128) -> Spec {
    Spec::Count { min, max }
}
pub(super) const fn bytes(min: i128, max: i128) -> Spec {
    Spec::Bytes { min, max }
}
pub(super) const fn check(test: fn(&str) -> Result<(), &'static str>) -> Spec {
    Spec::Check(test)
}
pub(super) const fn one_of(words: &'static [&'static str]) -> Spec {
    Spec::OneOf(words)
}

/// One directive.
pub struct Row {
    pub name: &'static str,
    /// The spelling of older versions, equally valid everywhere.
    pub alias: Option<&'static str>,
    pub flags: Flags,
    /// One line on what it does.
    pub doc: &'static str,
    pub(super) spec: Spec,
    pub(super) read: fn(&Settings) -> &dyn Setting,
    pub(super) write: fn(&mut Settings) -> &mut dyn Setting,
}

impl Row {
    /// The value as CONFIG GET shows it.
    pub fn show(&self, settings: &Settings) -> Vec<u8> {
        (self.read)(settings).show()
    }

    /// Gives `to` the value that `from` has.
    pub fn copy(&self, from: &Settings, to: &mut Settings) {
        let text = self.show(from);
        let words: Vec<&[u8]> = match self.flags.contains(Flags::MULTI) {
            true => text.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect(),
            false => vec![&text],
        };
        let _it_was_valid_there = (self.write)(to).set(&words, How::Replace, &self.spec);
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.alias)
    }
}

/// A row, by its place in the table.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DirectiveId(u16);

impl DirectiveId {
    /// The directive of this name or alias (any case), and the spelling that matched.
    pub fn find(name: &[u8]) -> Option<(DirectiveId, &'static str)> {
        DirectiveId::all().find_map(|id| {
            let spelling = id.row().names().find(|known| known.as_bytes().eq_ignore_ascii_case(name))?;
            Some((id, spelling))
        })
    }

    pub fn all() -> impl Iterator<Item = DirectiveId> {
        (0..ROWS.len() as u16).map(DirectiveId)
    }

    pub fn row(self) -> &'static Row {
        &ROWS[self.0 as usize]
    }

    /// Whether the two have different values of this directive.
    pub fn differs(self, a: &Settings, b: &Settings) -> bool {
        self.row().show(a) != self.row().show(b)
    }

    /// The directive's present name, e.g. `"maxmemory"`.
    pub fn name(self) -> &'static str {
        self.row().name
    }
}

impl fmt::Debug for DirectiveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `"name" | "alias" => field: Type = default, spec, FLAG…;` once per directive.
macro_rules! settings {
    ($(
        $(#[doc = $doc:literal])+
        $name:literal $(| $alias:literal)? => $field:ident: $ty:ty = $default:expr, $spec:expr $(, $flag:ident)*;
    )+) => {
        /// Every setting, typed. Cloning is how a change is tried: a rejected one leaves the original as it was.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Settings {
            $( $(#[doc = $doc])+ pub $field: $ty, )+
        }

        impl Default for Settings {
            fn default() -> Settings {
                Settings { $( $field: $default, )+ }
            }
        }

        /// The rows, in the order of the file.
        pub static ROWS: &[$crate::config::row::Row] = &[$(
            $crate::config::row::Row {
                name: $name,
                alias: [$(Some($alias),)? None][0],
                flags: $crate::config::row::Flags::empty()
                    $(.union($crate::config::row::Flags::$flag))*,
                doc: concat!($($doc),+).trim_ascii(),
                spec: $spec,
                read: |settings| &settings.$field,
                write: |settings| &mut settings.$field,
            },
        )+];
    };
}
pub(super) use settings;

//! `replication.toml`: which history this directory holds, under which names, on which base.
//!
//! Text, so that a person can read it in trouble; replaced whole, never edited in place. The first line seals the rest:
//!
//! ```toml
//! checksum = "0123456789abcdef"        # over everything below, without the newlines that pad the file
//! format = 1
//! replid = "…40 hex…"                  # in force now
//! begun = 70211                        # offset at which it came into force
//! told = true                          # a peer was told this id
//! born = "empty"                       # of an "empty" directory, as "copy" of such a history, or by "import" of other data
//! tag = "00f1…"                        # binds ring blocks to this history; constant over changes of the id
//! generation = 3                       # of the files (a full sync fills the next one beside this one)
//! role = "primary"                     # or "replica", with primary_host and primary_port
//! boot_id = "…"                        # of the run that wrote this: tells a crash of the machine (rule 5), never what to trust (rule 2)
//! offset_hint = 70500                  # what was known when this was written; never a position
//! db_hint = 0
//! sealed = { from = 70300, to = 70420 } # only after a failed fsync: what the log holds between may read well and yet
//!                                      # not be on the medium, and a base behind it is due before service (rule 23)
//! strays = true                        # only if a base holds what clients wrote on a writable replica: then the data are no
//!                                      # prefix of the stream, and a promotion ends the history (rule 18)
//! [[lineage]]                          # earlier names, newest first, and where each stopped being the name
//! replid = "…"
//! end = 70211
//! cause = "start"
//! told = true
//! [[base]]                             # snapshots on which log and ring may be replayed (rule 15)
//! cut = 60000
//! db = 0
//! placed = true                        # false: announced, perhaps not there yet
//! files = [{ name = "appendonlydir/appendonly.aof.2.base.rdb", len = 175, checksum = "…" }]
//! [clean]                              # only after a clean shutdown; gone at the next start
//! end = 70500
//! db = 0
//! segments = [{ name = "appendonly.aof.2.incr.aof", len = 11021 }]
//! ```
//!
//! More than one base is normal for a moment: the next one is named *before* its rename, the old one goes after it. A
//! base of several files is another server's multi-part AOF, taken over as it is: together they are the state at
//! `cut`. The clean mark's segment lengths tell later bytes of another server from a torn tail (rule 14).
//!
//! A replica's or an operator's own keys do not belong here: unknown keys are an error, as the seal says that we wrote it.

use std::fmt::Write;

use serde::Deserialize;

use super::crc::seal;
use crate::error::Corrupt;
use crate::planted::{Bug, planted};
use crate::units::{Offset, ReplId};

/// Reserved length of the file (rule 24).
pub const RESERVE: usize = 16 * 1024;
/// Lineage entries kept. Names without a byte of their own, of idle starts, go before all others.
pub const MAX_LINEAGE: usize = 100;

const FORMAT: i64 = 1;
const SEED: u64 = 0x5248_6869_7374_6f72;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    pub replid: ReplId,
    pub begun: Offset,
    pub told: bool,
    pub born: Born,
    pub tag: u64,
    pub generation: u64,
    pub role: Role,
    pub boot_id: String,
    pub offset_hint: Offset,
    pub db_hint: u32,
    /// An fsync of the log failed, and no base has replaced what it was to save.
    pub sealed: Option<Sealed>,
    /// A base holds what clients wrote on a writable replica.
    pub strays: bool,
    /// Newest first.
    pub lineage: Vec<Ancestor>,
    pub bases: Vec<Base>,
    pub clean: Option<Clean>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Born {
    /// On an empty directory: its stream from 0 on is all there is.
    Empty,
    /// By a full sync from a server of ours whose history was born empty.
    Copy,
    /// With data that came from elsewhere.
    Import,
}

impl Born {
    /// The history began with nothing, here or where it was copied from: whoever holds bytes of an unknown history
    /// has something that this one never had (P6).
    pub fn from_nothing(self) -> bool {
        self != Born::Import
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Primary,
    Replica { host: String, port: u16 },
}

/// An earlier name of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ancestor {
    pub replid: ReplId,
    /// The prefix up to here has this name. At a replica this may lie beyond what it has: its primary told it.
    pub end: Offset,
    pub cause: Cause,
    /// A peer was told this id (rule 20).
    pub told: bool,
}

/// Why a name ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    Start,
    Promotion,
    Continue,
    Sync,
    Debug,
}

impl Cause {
    pub fn word(self) -> &'static str {
        match self {
            Cause::Start => "start",
            Cause::Promotion => "promotion",
            Cause::Continue => "continue",
            Cause::Sync => "sync",
            Cause::Debug => "debug",
        }
    }
}

/// A snapshot of this history.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    #[serde(deserialize_with = "read::offset")]
    pub cut: Offset,
    pub db: u32,
    /// The files are known to have had their names. An announced base that never came is no sign that an operator
    /// removed one.
    pub placed: bool,
    pub files: Vec<BaseFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseFile {
    /// Relative to the data directory.
    pub name: String,
    pub len: u64,
    /// RDB files: the trailer's CRC; log files taken over: the seal of all bytes.
    #[serde(deserialize_with = "read::hex")]
    pub checksum: u64,
}

/// Bytes of the log that were written and are not known to be on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    #[serde(deserialize_with = "read::offset")]
    pub from: Offset,
    #[serde(deserialize_with = "read::offset")]
    pub to: Offset,
}

/// The state after a clean shutdown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clean {
    #[serde(deserialize_with = "read::offset")]
    pub end: Offset,
    pub db: u32,
    pub segments: Vec<SegmentLen>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentLen {
    /// Without directories.
    pub name: String,
    pub len: u64,
}

impl History {
    /// A history that begins now, of this name.
    pub fn new(replid: ReplId, begun: Offset, born: Born, tag: u64) -> History {
        History {
            replid,
            begun,
            told: false,
            born,
            tag,
            generation: 1,
            role: Role::Primary,
            boot_id: String::new(),
            offset_hint: begun,
            db_hint: 0,
            sealed: None,
            strays: false,
            lineage: Vec::new(),
            bases: Vec::new(),
            clean: None,
        }
    }

    /// Up to where `name` stands for this history; the name in force has no end. `None`: it is not of it.
    pub fn end_of(&self, name: ReplId) -> Option<Offset> {
        if self.replid == name {
            return Some(Offset(u64::MAX));
        }
        self.lineage.iter().find(|past| past.replid == name).map(|past| past.end)
    }

    /// The same history under a new name from `at` on: the old name joins the lineage, the clean mark goes. A name may
    /// come into force again, when a server goes back to the primary that it had left: its latest entry counts then.
    /// What a primary told of names beyond `at` is of its history, and no longer of this one.
    pub fn rename(&mut self, replid: ReplId, at: Offset, cause: Cause) {
        for past in self.lineage.iter_mut().filter(|past| past.end > at && !planted(Bug::EndsKept)) {
            (past.end, past.cause) = (at, cause);
        }
        let past = Ancestor { replid: self.replid, end: at, cause, told: self.told };
        if !planted(Bug::LineageLost) {
            self.lineage.insert(0, past);
        }
        self.forget_most(self.replid);
        (self.replid, self.begun, self.told, self.clean) = (replid, at, false, None);
        self.offset_hint = at;
    }

    /// A primary lets this history go on under `replid` from `at` on, which is a prefix of its own. `told` are the earlier
    /// names of that: they hold here too, with ends and causes as told, even where an end lies beyond what is held so far.
    pub fn go_on(&mut self, replid: ReplId, at: Offset, told: &[Ancestor]) {
        let former = self.replid;
        self.rename(replid, at, Cause::Continue);
        let mine = std::mem::replace(&mut self.lineage, told.to_vec());
        for past in mine {
            match self.lineage[..told.len()].iter_mut().find(|told| told.replid == past.replid) {
                Some(told) => (told.end, told.told) = (told.end.max(past.end), told.told || past.told),
                None => self.lineage.push(past),
            }
        }
        self.lineage.sort_by_key(|past| std::cmp::Reverse(past.end));
        self.forget_most(former);
    }

    /// Names without a byte of their own go first, then the oldest; never that of before (`former`), which ring and log state
    /// until the new one is in band.
    fn forget_most(&mut self, former: ReplId) {
        while self.lineage.len() > MAX_LINEAGE {
            let mut pairs = self.lineage.windows(2);
            let idle = pairs.rposition(|pair| pair[0].end == pair[1].end && pair[0].replid != former);
            let oldest = self.lineage.iter().rposition(|past| past.replid != former);
            self.lineage.remove(idle.or(oldest).unwrap_or(MAX_LINEAGE));
        }
    }

    pub fn emit(&self) -> String {
        let mut body = String::new();
        self.emit_head(&mut body);
        for past in &self.lineage {
            let Ancestor { replid, end, cause, told } = past;
            let cause = cause.word();
            let _infallible = write!(
                body,
                "\n[[lineage]]\nreplid = \"{replid}\"\nend = {end}\ncause = \"{cause}\"\ntold = {told}\n"
            );
        }
        for base in &self.bases {
            let files = base.files.iter().map(|f| {
                format!(
                    "{{ name = {}, len = {}, checksum = \"{:016x}\" }}",
                    string(&f.name),
                    f.len,
                    f.checksum
                )
            });
            let files = files.collect::<Vec<_>>().join(", ");
            let Base { cut, db, placed, .. } = base;
            let _infallible =
                write!(body, "\n[[base]]\ncut = {cut}\ndb = {db}\nplaced = {placed}\nfiles = [{files}]\n");
        }
        if let Some(Clean { end, db, segments }) = &self.clean {
            let segments =
                segments.iter().map(|s| format!("{{ name = {}, len = {} }}", string(&s.name), s.len));
            let segments = segments.collect::<Vec<_>>().join(", ");
            let _infallible = write!(body, "\n[clean]\nend = {end}\ndb = {db}\nsegments = [{segments}]\n");
        }
        format!("checksum = \"{:016x}\"\n{body}", seal(&[SEED], body.trim_end_matches('\n').as_bytes()))
    }

    fn emit_head(&self, body: &mut String) {
        let born = match self.born {
            Born::Empty => "empty",
            Born::Copy => "copy",
            Born::Import => "import",
        };
        let role = match &self.role {
            Role::Primary => "role = \"primary\"".to_string(),
            Role::Replica { host, port } => {
                format!("role = \"replica\"\nprimary_host = {}\nprimary_port = {port}", string(host))
            }
        };
        let _infallible = write!(
            body,
            "# Written by ringhold; any change makes it unreadable.\nformat = {FORMAT}\nreplid = \"{}\"\nbegun = {}\n\
             told = {}\nborn = \"{born}\"\ntag = \"{:016x}\"\ngeneration = {}\n{role}\nboot_id = {}\n\
             offset_hint = {}\ndb_hint = {}\n",
            self.replid,
            self.begun,
            self.told,
            self.tag,
            self.generation,
            string(&self.boot_id),
            self.offset_hint,
            self.db_hint,
        );
        if let Some(Sealed { from, to }) = self.sealed {
            let _infallible = writeln!(body, "sealed = {{ from = {from}, to = {to} }}");
        }
        if self.strays {
            body.push_str("strays = true\n");
        }
    }

    /// Errors name line and byte position.
    pub fn parse(bytes: &[u8]) -> Result<History, Corrupt> {
        let text = std::str::from_utf8(bytes)
            .map_err(|e| Corrupt::new(e.valid_up_to() as u64, "line 1: not UTF-8 text"))?;
        let (first, body) =
            text.split_once('\n').ok_or_else(|| Corrupt::new(0, "line 1: no checksum line"))?;
        let stated = first
            .strip_prefix("checksum = \"")
            .and_then(|rest| rest.strip_suffix('"'))
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .ok_or_else(|| Corrupt::new(0, "line 1: no checksum line"))?;
        let body = body.trim_end_matches('\n'); // what lies behind is reserved space
        if seal(&[SEED], body.as_bytes()) != stated {
            return Err(Corrupt::new(0, "line 1: the checksum does not match the file"));
        }
        let raw: read::Raw = toml::from_str(body).map_err(|e| {
            let at = e.span().map_or(0, |span| span.start);
            let line = 2 + body[..at.min(body.len())].matches('\n').count();
            Corrupt::new((first.len() + 1 + at) as u64, format!("line {line}: {}", e.message()))
        })?;
        raw.checked()
    }
}

/// A TOML basic string.
fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _infallible = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The shape that serde sees, before it is checked.
mod read {
    use super::*;
    use serde::Deserializer;
    use serde::de::Error;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Raw {
        format: i64,
        #[serde(deserialize_with = "replid")]
        replid: ReplId,
        #[serde(deserialize_with = "offset")]
        begun: Offset,
        told: bool,
        born: Born,
        #[serde(deserialize_with = "hex")]
        tag: u64,
        generation: u64,
        role: String,
        primary_host: Option<String>,
        primary_port: Option<u16>,
        boot_id: String,
        #[serde(deserialize_with = "offset")]
        offset_hint: Offset,
        db_hint: u32,
        sealed: Option<Sealed>,
        #[serde(default)]
        strays: bool,
        #[serde(default)]
        lineage: Vec<RawAncestor>,
        #[serde(default, rename = "base")]
        bases: Vec<Base>,
        clean: Option<Clean>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct RawAncestor {
        #[serde(deserialize_with = "replid")]
        replid: ReplId,
        #[serde(deserialize_with = "offset")]
        end: Offset,
        cause: Cause,
        told: bool,
    }

    impl Raw {
        pub fn checked(self) -> Result<History, Corrupt> {
            if self.format != FORMAT {
                let what = format!("line 2: format {} is newer than this program knows", self.format);
                return Err(Corrupt::new(0, what));
            }
            let role = match (self.role.as_str(), self.primary_host, self.primary_port) {
                ("primary", None, None) => Role::Primary,
                ("replica", Some(host), Some(port)) => Role::Replica { host, port },
                _ => {
                    return Err(Corrupt::new(
                        0,
                        "line 2: the role is neither primary nor a complete replica",
                    ));
                }
            };
            let lineage = self.lineage.into_iter().map(|a| Ancestor {
                replid: a.replid,
                end: a.end,
                cause: a.cause,
                told: a.told,
            });
            Ok(History {
                replid: self.replid,
                begun: self.begun,
                told: self.told,
                born: self.born,
                tag: self.tag,
                generation: self.generation,
                role,
                boot_id: self.boot_id,
                offset_hint: self.offset_hint,
                db_hint: self.db_hint,
                sealed: self.sealed,
                strays: self.strays,
                lineage: lineage.collect(),
                bases: self.bases,
                clean: self.clean,
            })
        }
    }

    pub fn replid<'de, D: Deserializer<'de>>(from: D) -> Result<ReplId, D::Error> {
        let text = String::deserialize(from)?;
        ReplId::parse(text.as_bytes()).ok_or_else(|| D::Error::custom("not a replid of 40 hex digits"))
    }
    pub fn offset<'de, D: Deserializer<'de>>(from: D) -> Result<Offset, D::Error> {
        u64::deserialize(from).map(Offset)
    }
    pub fn hex<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = String::deserialize(from)?;
        u64::from_str_radix(&text, 16).map_err(|_| D::Error::custom("not a hexadecimal number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> History {
        let mut history = History::new(ReplId::from_random([1; 20]), Offset(7), Born::Import, 0xf1);
        history.told = true;
        history.rename(ReplId::from_random([2; 20]), Offset(70_211), Cause::Start);
        history.role = Role::Replica { host: "pri\"mary\n\u{7f}é".into(), port: 6379 };
        let file = BaseFile { name: "dump.rdb".into(), len: 175, checksum: u64::MAX };
        history.bases = vec![Base { cut: Offset(9), db: 3, placed: true, files: vec![file.clone(), file] }];
        let segments = vec![SegmentLen { name: " a\n.incr".into(), len: 9 }];
        history.clean = Some(Clean { end: Offset(70_500), db: 1, segments });
        history.sealed = Some(Sealed { from: Offset(70_300), to: Offset(70_420) });
        history.strays = true;
        history
    }

    #[test]
    fn what_is_written_is_read_back() {
        let history = sample();
        assert_eq!(History::parse(history.emit().as_bytes()), Ok(history.clone()));
        let padded = format!("{}\n\n\n", history.emit());
        assert_eq!(History::parse(padded.as_bytes()), Ok(history));
    }

    #[test]
    fn a_new_name_pushes_the_old_one() {
        let history = sample();
        let old = &history.lineage[0];
        assert_eq!((old.end, old.cause, old.told), (Offset(70_211), Cause::Start, true));
        assert_eq!((history.begun, history.told), (Offset(70_211), false));
        let mut long = history;
        for n in 0..300 {
            long.rename(ReplId::from_random([n as u8; 20]), Offset(n), Cause::Promotion);
        }
        assert_eq!(long.lineage.len(), MAX_LINEAGE);
        assert!(long.emit().len() < RESERVE, "the reserve holds the longest lineage");
    }

    /// A replica takes over what its primary tells of the names, as far as that is of its own history.
    #[test]
    fn what_a_primary_tells_is_kept() {
        let id = |n: u8| ReplId::from_random([n; 20]);
        let past = |n: u8, end: u64, cause| Ancestor { replid: id(n), end: Offset(end), cause, told: true };
        let ends = |history: &History| -> Vec<(ReplId, u64, Cause)> {
            history.lineage.iter().map(|past| (past.replid, past.end.0, past.cause)).collect()
        };
        // Its primary was started twice while it was away at 50.
        let mut history = History::new(id(1), Offset(0), Born::Copy, 1);
        history.rename(id(9), Offset(40), Cause::Promotion);
        history.go_on(id(3), Offset(50), &[past(2, 630, Cause::Start), past(1, 330, Cause::Start)]);
        let told = [(id(2), 630, Cause::Start), (id(1), 330, Cause::Start), (id(9), 50, Cause::Continue)];
        assert_eq!(ends(&history), told);
        assert_eq!((history.replid, history.begun), (id(3), Offset(50)));
        // Promoted at 400, it does not have all of them.
        history.rename(id(4), Offset(400), Cause::Promotion);
        let own = [
            (id(3), 400, Cause::Promotion),
            (id(2), 400, Cause::Promotion),
            (id(1), 330, Cause::Start),
            (id(9), 50, Cause::Continue),
        ];
        assert_eq!(ends(&history), own);
        // Another primary knows less of a name than is held here; one that tells nothing is believed nothing.
        history.go_on(id(5), Offset(400), &[past(1, 80, Cause::Start)]);
        assert_eq!(ends(&history)[3..], [(id(1), 330, Cause::Start), (id(9), 50, Cause::Continue)]);
        assert_eq!(ends(&history)[0], (id(4), 400, Cause::Continue));
        let many: Vec<Ancestor> = (0..MAX_LINEAGE as u8).map(|n| past(n, 1000, Cause::Start)).collect();
        history.go_on(id(200), Offset(400), &many);
        assert_eq!(history.lineage.len(), MAX_LINEAGE);
    }

    /// A hundred restarts without a write leave the names that hold bytes where they are.
    #[test]
    fn idle_names_are_forgotten_first() {
        let id = |n: u8| ReplId::from_random([n; 20]);
        let mut history = History::new(id(1), Offset(0), Born::Empty, 1);
        history.rename(id(2), Offset(10), Cause::Start);
        for n in 3..200 {
            history.rename(id(n), Offset(20), Cause::Start);
        }
        assert_eq!(history.lineage.len(), MAX_LINEAGE);
        let oldest: Vec<(ReplId, Offset)> =
            history.lineage.iter().rev().take(2).map(|past| (past.replid, past.end)).collect();
        assert_eq!(oldest, [(id(1), Offset(10)), (id(2), Offset(20))]);
        assert_eq!(
            history.lineage[0].replid,
            id(198),
            "the newest is kept: what ring and log state if the start dies now"
        );
        // Nor is it where a primary tells of names that hold more.
        let told: Vec<Ancestor> = (0..100)
            .map(|n| Ancestor {
                replid: ReplId::from_random([0xff, n, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                end: Offset(1000 - u64::from(n)),
                cause: Cause::Start,
                told: true,
            })
            .collect();
        let former = history.replid;
        history.go_on(id(200), Offset(20), &told);
        assert_eq!((history.lineage.len(), history.end_of(former)), (MAX_LINEAGE, Some(Offset(20))));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let text = sample().emit();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let damage = History::parse(&bytes).unwrap_err();
            assert!(damage.what.starts_with("line "), "{at}: {damage}");
        }
        for cut in 0..text.len() - 1 {
            assert!(History::parse(&text.as_bytes()[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_wrong_value_names_its_line() {
        let sealed = |body: &str| {
            let seal = seal(&[SEED], body.trim_end_matches('\n').as_bytes());
            History::parse(format!("checksum = \"{seal:016x}\"\n{body}").as_bytes()).unwrap_err().to_string()
        };
        let text = sample().emit();
        let body = text.split_once('\n').unwrap().1;
        let check = |from: &str, to: &str, expected: &str| {
            let error = sealed(&body.replacen(from, to, 1));
            assert!(error.contains(expected), "{error}");
        };
        check("format = 1", "format = 9", "format 9 is newer");
        check("replid = \"0", "replid = \"x", "line 4: ");
        check("begun = ", "begun = -", "line 5: ");
        check("role = \"replica\"", "role = \"primary\"", "neither primary nor");
        check("told = true", "colour = 1", "line 23: unknown field");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text: String) {
            let _any = History::parse(&bytes);
            let seal = seal(&[SEED], text.trim_end_matches('\n').as_bytes());
            let _any = History::parse(format!("checksum = \"{seal:016x}\"\n{text}").as_bytes());
        }

        #[test]
        fn any_history_survives(replid: [u8; 20], begun in 0..i64::MAX as u64, tag: u64, boot_id: String, db: u32,
                                told: bool, ends in prop::collection::vec(0..i64::MAX as u64, 0..5)) {
            let mut history = History::new(ReplId::from_random(replid), Offset(begun), Born::Empty, tag);
            (history.boot_id, history.db_hint, history.told) = (boot_id, db, told);
            for end in ends {
                history.rename(ReplId::from_random([end as u8; 20]), Offset(end), Cause::Continue);
            }
            prop_assert_eq!(History::parse(history.emit().as_bytes()), Ok(history));
        }
    }
}

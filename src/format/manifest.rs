//! The multi-part AOF manifest of Redis ≥ 7.0: which files make up the log, in which order.
//!
//! One line a file, key–value pairs in any order, keys in any case:
//!
//! ```text
//! file appendonly.aof.2.base.rdb seq 2 type b startoffset 70211 crc 0123456789abcdef
//! file appendonly.aof.2.incr.aof seq 2 type i startoffset 70211
//! ```
//!
//! | type | meaning |
//! |---|---|
//! | `b` | base: at most one |
//! | `h` | history: replaced, may be deleted |
//! | `i` | increment, in order; `seq` grows strictly |
//!
//! `#` begins a comment line; a line is at most 1024 bytes; names with special characters are quoted as in
//! redis.conf and hold no `/`. Pairs that are unknown here are dropped, as stock servers do with ours. `startoffset` (Redis 8's
//! word) is a hint for people and tools: what a segment really begins with stands under a checksum in its own first
//! line.
//!
//! `crc`, the last pair of the first line, seals the file: all its bytes but this pair. One flipped bit could turn a
//! segment into history, and that would be deleted. A comment line would do, but Redis' own tests count lines. Without
//! the pair a manifest is another server's, who drops it when it writes its own. Error texts are those of Redis 7.2, which its tests look for.

use std::fmt::Write;

use super::crc::seal;
use crate::error::Corrupt;
use crate::units::Offset;

const SEED: u64 = 0x5248_6d61_6e69_6665;
const SEAL_KEY: &[u8] = b" crc ";
/// The pair with its 16 digits.
const SEAL_LEN: usize = SEAL_KEY.len() + 16;
const BROKEN_SEAL: &str =
    "The AOF manifest does not match its checksum; if it was edited by hand, remove the crc pair";

/// Bytes of a line, with its line end.
const MAX_LINE: usize = 1024;
/// Characters of a bad line that are repeated in the error.
const SHOWN: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    Base,
    History,
    Incr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// A file name, without directories.
    pub name: String,
    pub seq: u64,
    pub file_type: FileType,
    pub start_offset: Option<Offset>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub base: Option<Entry>,
    pub history: Vec<Entry>,
    pub incrs: Vec<Entry>,
}

/// What is wrong with a manifest, as Redis says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// One of Redis' texts.
    pub what: &'static str,
    /// Line number from one and the trimmed line, where a line is to blame.
    pub line: Option<(usize, String)>,
    /// Byte position of that line.
    pub at: u64,
}

impl From<ManifestError> for Corrupt {
    fn from(error: ManifestError) -> Corrupt {
        let what = match error.line {
            Some((number, text)) => {
                let shown: String = text.chars().take(SHOWN).collect();
                format!("line {number}: {}: '{shown}'", error.what)
            }
            None => error.what.to_string(),
        };
        Corrupt::new(error.at, what)
    }
}

impl Manifest {
    pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let mut manifest = Manifest::default();
        let mut at = 0;
        let bare = |what, at| ManifestError { what, line: None, at };
        if bytes.is_empty() {
            return Err(bare("Found an empty AOF manifest", 0));
        }
        if !seal_holds(bytes) {
            return Err(bare(BROKEN_SEAL, 0));
        }
        for (i, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
            let start = at;
            at += line.len() as u64;
            if line.starts_with(b"#") {
                continue;
            }
            if line.len() > MAX_LINE || !line.ends_with(b"\n") {
                return Err(bare("The AOF manifest file contains too long line", start));
            }
            let text = String::from_utf8_lossy(line);
            let text = text.trim_matches([' ', '\t', '\r', '\n']);
            let blame = |what| ManifestError { what, line: Some((i + 1, text.to_string())), at: start };
            let entry = parse_entry(text).map_err(blame)?;
            manifest.add(entry).map_err(blame)?;
        }
        Ok(manifest)
    }

    fn add(&mut self, entry: Entry) -> Result<(), &'static str> {
        match entry.file_type {
            FileType::Base if self.base.is_some() => return Err("Found duplicate base file information"),
            FileType::Base => self.base = Some(entry),
            FileType::History => self.history.push(entry),
            FileType::Incr if self.incrs.last().is_some_and(|last| entry.seq <= last.seq) => {
                return Err("Found a non-monotonic sequence number");
            }
            FileType::Incr => self.incrs.push(entry),
        }
        Ok(())
    }

    /// Base, history, increments: the order in which Redis writes them.
    pub fn emit(&self) -> String {
        let mut text = String::new();
        for entry in self.base.iter().chain(&self.history).chain(&self.incrs) {
            let kind = match entry.file_type {
                FileType::Base => 'b',
                FileType::History => 'h',
                FileType::Incr => 'i',
            };
            let _infallible = write!(text, "file {} seq {} type {kind}", quoted(&entry.name), entry.seq);
            if let Some(offset) = entry.start_offset {
                let _infallible = write!(text, " startoffset {offset}");
            }
            text.push('\n');
        }
        if let Some(first_line) = text.find('\n') {
            let pair = format!(" crc {:016x}", seal(&[SEED], text.as_bytes()));
            text.insert_str(first_line, &pair);
        }
        text
    }

    /// Base and increments in the order in which they are loaded.
    pub fn loaded(&self) -> impl Iterator<Item = &Entry> {
        self.base.iter().chain(&self.incrs)
    }

    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.incrs.is_empty()
    }

    pub fn next_base_seq(&self) -> u64 {
        self.highest(self.base.iter().chain(&self.history))
    }
    pub fn next_incr_seq(&self) -> u64 {
        self.highest(self.incrs.iter().chain(&self.history))
    }
    fn highest<'a>(&self, entries: impl Iterator<Item = &'a Entry>) -> u64 {
        entries.map(|e| e.seq).max().unwrap_or(0).saturating_add(1)
    }
}

/// The seal of the first line, if there is one, is that of all other bytes.
fn seal_holds(bytes: &[u8]) -> bool {
    let first_line = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    let Some(at) = first_line.checked_sub(SEAL_LEN).filter(|at| bytes[*at..].starts_with(SEAL_KEY)) else {
        return true;
    };
    let digits = std::str::from_utf8(&bytes[at + SEAL_KEY.len()..first_line]);
    let stated = digits.ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    stated == Some(seal(&[SEED], &[&bytes[..at], &bytes[first_line..]].concat()))
}

fn parse_entry(line: &str) -> Result<Entry, &'static str> {
    const FORMAT: &str = "Invalid AOF manifest file format";
    let words = split_words(line).ok_or(FORMAT)?;
    if words.len() < 6 || !words.len().is_multiple_of(2) {
        return Err(FORMAT);
    }
    let (mut name, mut seq, mut kind, mut start_offset) = (None, 0, None, None);
    for pair in words.chunks_exact(2) {
        let value = &pair[1];
        match pair[0].to_ascii_lowercase().as_str() {
            "file" => {
                if value.contains(['/', '\\']) {
                    return Err("File can't be a path, just a filename");
                }
                name = Some(value.clone());
            }
            "seq" => seq = value.parse().unwrap_or(0),
            "type" => kind = value.bytes().next(),
            "startoffset" => start_offset = value.parse().ok().map(Offset),
            _ => {}
        }
    }
    let (Some(name), Some(kind), 1..) = (name.filter(|n| !n.is_empty()), kind, seq) else {
        return Err(FORMAT);
    };
    let file_type = match kind {
        b'b' => FileType::Base,
        b'h' => FileType::History,
        b'i' => FileType::Incr,
        _ => return Err("Unknown AOF file type"),
    };
    Ok(Entry { name, seq, file_type, start_offset })
}

/// Words as in redis.conf: bare, `"…"` with `\n \r \t \b \a \xHH \"`, `'…'` with `\'`. `None`: unbalanced.
fn split_words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let bytes = line.as_bytes();
    let mut i = 0;
    loop {
        while bytes.get(i).is_some_and(u8::is_ascii_whitespace) {
            i += 1;
        }
        let Some(&first) = bytes.get(i) else { return Some(words) };
        let mut word = Vec::new();
        if first == b'"' || first == b'\'' {
            i = quoted_word(bytes, i, &mut word)?;
            if bytes.get(i).is_some_and(|b| !b.is_ascii_whitespace()) {
                return None; // closing quote must end the word
            }
        } else {
            while let Some(&byte) = bytes.get(i).filter(|b| !b.is_ascii_whitespace()) {
                word.push(byte);
                i += 1;
            }
        }
        words.push(String::from_utf8(word).ok()?);
    }
}

/// Reads a quoted word that starts at `i`; returns the position after its closing quote.
fn quoted_word(bytes: &[u8], mut i: usize, word: &mut Vec<u8>) -> Option<usize> {
    let quote = bytes[i];
    i += 1;
    loop {
        let byte = *bytes.get(i)?;
        i += 1;
        if byte == quote {
            return Some(i);
        }
        if byte != b'\\' {
            word.push(byte);
            continue;
        }
        let escaped = *bytes.get(i)?;
        if quote == b'\'' {
            if escaped == b'\'' {
                i += 1;
                word.push(b'\'');
            } else {
                word.push(b'\\');
            }
            continue;
        }
        i += 1;
        let hex = bytes.get(i..i + 2).and_then(|h| std::str::from_utf8(h).ok());
        match (escaped, hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'x', Some(byte)) => {
                word.push(byte);
                i += 2;
            }
            (b'n', _) => word.push(b'\n'),
            (b'r', _) => word.push(b'\r'),
            (b't', _) => word.push(b'\t'),
            (b'b', _) => word.push(8),
            (b'a', _) => word.push(7),
            (other, _) => word.push(other),
        }
    }
}

/// The name as it stands in the file: quoted if it holds anything that would break a bare word.
fn quoted(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\'' && b != b'\\';
    if name.bytes().all(plain) {
        return name.to_string();
    }
    let mut out = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            c if c.is_ascii_graphic() || c == ' ' => out.push(c),
            c => {
                for byte in c.to_string().bytes() {
                    let _infallible = write!(out, "\\x{byte:02x}");
                }
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn errors_are_those_of_redis() {
        let check = |text: &str, what: &str| {
            assert_eq!(Manifest::parse(text.as_bytes()).unwrap_err().what, what, "{text:?}");
        };
        const FORMAT: &str = "Invalid AOF manifest file format";
        check("", "Found an empty AOF manifest");
        check("file a seq 2 type i\nfile b seq 1 type i\n", "Found a non-monotonic sequence number");
        check("file a seq 1 type i\n\nfile b seq 3 type i\n", FORMAT);
        check("file a seq 1 type b\nfile b seq 2 type b\n", "Found duplicate base file information");
        check("file a seq 1 type x\n", "Unknown AOF file type");
        check("filx a seq 1 type b\n", FORMAT);
        check("file a type i\n", FORMAT);
        check("file a seq 1 type i newkey\n", FORMAT);
        check("file a seq zero type i\n", FORMAT);
        check("file ../a seq 1 type i\n", "File can't be a path, just a filename");
        check("file a seq 1 type i", "The AOF manifest file contains too long line");
        check(&format!("{}\n", "file a ".repeat(200)), "The AOF manifest file contains too long line");
        check("file \"a seq 1 type i\n", FORMAT);
    }

    #[test]
    fn the_line_to_blame_is_named() {
        let error = Manifest::parse(b"# hello\nfile a seq 1 type i\nfilx b seq 2 type i \n").unwrap_err();
        assert_eq!(error.line, Some((3, "filx b seq 2 type i".into())));
        let damage = Corrupt::from(error);
        assert_eq!(damage.at, 28);
        assert_eq!(damage.what, "line 3: Invalid AOF manifest file format: 'filx b seq 2 type i'");
    }

    #[test]
    fn other_servers_pairs_and_orders_are_read() {
        let text = "# by hand\nfile a.1.base.rdb seq 1 type b newkey \"new value\" startoffset 5\n\
                    SEQ 1 FILE a.1.incr.aof Type incr\nfile a.3.incr.aof seq 3 type i endoffset 9\n\
                    file old seq 9 type h\n";
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.base.as_ref().and_then(|b| b.start_offset), Some(Offset(5)));
        let names: Vec<&str> = manifest.loaded().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["a.1.base.rdb", "a.1.incr.aof", "a.3.incr.aof"]);
        assert_eq!((manifest.next_incr_seq(), manifest.next_base_seq()), (10, 10));
    }

    #[test]
    fn names_are_quoted_as_redis_does() {
        let mut manifest = Manifest::default();
        let name = " file seq \n\n.aof .2.base.rdb".to_string();
        manifest.base = Some(Entry { name, seq: 2, file_type: FileType::Base, start_offset: None });
        let text = manifest.emit();
        assert!(text.starts_with("file \" file seq \\n\\n.aof .2.base.rdb\" seq 2 type b crc "), "{text}");
        assert_eq!(Manifest::parse(manifest.emit().as_bytes()).unwrap(), manifest);
    }

    /// No single bit makes another manifest of one; nor does a lost line.
    #[test]
    fn damage_is_noticed() {
        let entry = |name: &str, seq, file_type| Entry {
            name: name.into(),
            seq,
            file_type,
            start_offset: Some(Offset(70_211)),
        };
        let manifest = Manifest {
            base: Some(entry("a.2.base.rdb", 2, FileType::Base)),
            history: vec![entry("a.1.incr.aof", 1, FileType::History)],
            incrs: vec![entry("a.2.incr.aof", 2, FileType::Incr), entry("a.3.incr.aof", 3, FileType::Incr)],
        };
        let text = manifest.emit().into_bytes();
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = Manifest::parse(&bytes);
            assert!(read.is_err() || read == Ok(manifest.clone()), "bit {bit}");
        }
        for cut in 1..text.len() {
            assert!(Manifest::parse(&text[..cut]).is_err(), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(names in prop::collection::vec("[^/\\\\\0]{1,20}", 1..5), offset: u64) {
            let incrs = names.into_iter().zip(1..).map(|(name, seq)| Entry {
                name, seq, file_type: FileType::Incr, start_offset: (seq % 2 == 0).then_some(Offset(offset)),
            });
            let manifest = Manifest { incrs: incrs.collect(), ..Manifest::default() };
            prop_assert_eq!(Manifest::parse(manifest.emit().as_bytes()).unwrap(), manifest);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _any = Manifest::parse(&bytes);
        }
    }
}

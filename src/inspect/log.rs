//! The stream as it stands in a log: its commands around a place, with file position and stream offset.
//!
//! ```text
//! log files in order ─► Framer ─► each command's first bytes ─► a line; the last `before` of them wait for the place
//! ```
//!
//! Followed, a log does not end: when its writer rests, the caller is asked to wait; when the manifest names a next file, it is
//! gone on with there. Polled and not told by the system (inotify), so that it works on any file system.
//!
//! Of a command at most [`HEAD`] bytes are held. Stream offsets are those that the annotations of the file give; in another
//! server's log there are none.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::check::{self, files_of, layout};
use super::input::{self, Found, Input, Kind};
use super::snapshot::Snapshot;
use super::text::{Json, message, shortened, shown};
use super::{Failure, Result, live};
use crate::disk::OsDisk;
use crate::error::Corrupt;
use crate::format::framing::{Command, Framer, Sink};
use crate::format::rdb::Item;
use crate::log::segments::{ManifestFound, read_manifest};

/// Bytes of a command that are looked at.
const HEAD: usize = 4096;
const PIECE: usize = 256 << 10;
/// Characters of an argument, and arguments of a command, that are shown.
const ARGUMENT: usize = 60;
const ARGUMENTS: usize = 20;

/// Where to look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around {
    /// The stream offset.
    pub offset: Option<u64>,
    /// The position in the file; the last file's end if neither is given.
    pub at: Option<u64>,
    /// Commands to show before the place, and from it on.
    pub before: usize,
    pub after: usize,
    /// Annotation lines as well.
    pub marks: bool,
    pub json: bool,
}

/// Shows the stream around a place. `false`: the place is in none of the files.
pub fn show(path: &Path, options: &check::Options, around: &Around, out: &mut dyn Write) -> Result<bool> {
    Show::new(around, out).all(path, options)
}

/// The same, and then all that is written, as it is written. `wait` is called where there is nothing more for now;
/// with `false` it ends this.
pub fn follow(
    path: &Path,
    options: &check::Options,
    around: &Around,
    wait: &mut dyn FnMut() -> bool,
    out: &mut dyn Write,
) -> Result<bool> {
    if input::comes_once(path) {
        let name = live::name_of(path);
        return Err(Failure::Usage(format!(
            "{}: only files and directories can be followed",
            name.display()
        )));
    }
    let follow = Follow { wait, directory: None, shown: Vec::new(), next: None, is_last: true };
    Show { follow: Some(follow), ..Show::new(around, out) }.all(path, options)
}

struct Show<'o> {
    around: Around,
    /// What stands before the place.
    waiting: VecDeque<Vec<u8>>,
    /// Behind the place: lines still to be shown.
    left: Option<usize>,
    out: &'o mut dyn Write,
    failed: Option<std::io::Error>,
    follow: Option<Follow<'o>>,
}

/// How a log that is still written is followed.
struct Follow<'o> {
    wait: &'o mut dyn FnMut() -> bool,
    /// Where a manifest tells the next file.
    directory: Option<(PathBuf, check::Options)>,
    shown: Vec<PathBuf>,
    next: Option<PathBuf>,
    /// The file that is read now is the last one that is known.
    is_last: bool,
}

impl Follow<'_> {
    /// At the end of what is written until now: whether to look into the same file again.
    fn again(&mut self) -> bool {
        if !self.is_last || self.next.is_some() {
            return false;
        }
        if let Some((directory, options)) = &self.directory {
            // Between two versions there may be no manifest for a moment.
            self.next = next_of(&log_files(directory, options).unwrap_or_default(), &self.shown);
        }
        // What came into this file before the next one was named is read first.
        self.next.is_some() || (self.wait)()
    }
}

/// The files of a directory's log, in their order.
fn log_files(directory: &Path, options: &check::Options) -> Result<Vec<PathBuf>> {
    let disk = OsDisk::new();
    let paths = layout(&disk, directory, &options.names)?;
    Ok(match read_manifest(&disk, &paths)? {
        ManifestFound::Good(manifest) => manifest.loaded().map(|entry| paths.log_file(&entry.name)).collect(),
        _ => Vec::new(),
    })
}

/// Behind the last file that was shown; where a rewrite has taken that one away, the first segment that is new.
fn next_of(files: &[PathBuf], shown: &[PathBuf]) -> Option<PathBuf> {
    let is_segment = |file: &&PathBuf| file.as_os_str().as_encoded_bytes().ends_with(b".incr.aof");
    match files.iter().position(|file| Some(file) == shown.last()) {
        Some(at) => files.get(at + 1).cloned(),
        None => files.iter().filter(is_segment).find(|file| !shown.contains(file)).cloned(),
    }
}

impl<'o> Show<'o> {
    fn new(around: &Around, out: &'o mut dyn Write) -> Show<'o> {
        Show { around: *around, waiting: VecDeque::new(), left: None, out, failed: None, follow: None }
    }

    fn all(mut self, path: &Path, options: &check::Options) -> Result<bool> {
        match input::open(path, &options.watch)? {
            Found::Directory(directory) => self.directory(&directory, options)?,
            Found::File(input) if matches!(input.kind, Kind::Log | Kind::Rdb) => self.file(input)?,
            Found::File(input) => {
                let what = format!("{} is a {}, not a log", input.file.display(), input.kind.word());
                return Err(Failure::Usage(what));
            }
        }
        self.finish()
    }

    fn directory(&mut self, directory: &Path, options: &check::Options) -> Result<()> {
        let mut logs = VecDeque::new();
        for file in files_of(directory, options)? {
            if let Found::File(input) = input::open(&file, &None)?
                && input.kind == Kind::Log
            {
                logs.push_back(file);
            }
        }
        if logs.is_empty() {
            return Err(Failure::Usage(format!("{}: no log in this directory", directory.display())));
        }
        if let Some(follow) = &mut self.follow {
            follow.directory = Some((directory.to_path_buf(), options.clone()));
        }
        while let Some(file) = logs.pop_front() {
            if let Some(follow) = &mut self.follow {
                follow.shown.push(file.clone());
                follow.is_last = logs.is_empty();
            }
            if let Found::File(input) = input::open(&file, &options.watch)? {
                self.file(input)?;
            }
            logs.extend(self.follow.as_mut().and_then(|follow| follow.next.take()));
        }
        Ok(())
    }

    fn file(&mut self, mut input: Input) -> Result<()> {
        let name = input.file.clone();
        let mut start = 0;
        let mut head = Vec::new();
        if input.kind == Kind::Rdb {
            let mut snapshot = Snapshot::open(&mut input, &name)?;
            loop {
                match snapshot.next_item()? {
                    Item::Key(kind, _) => snapshot.skip(kind)?,
                    Item::End(_) => break,
                    _ => {}
                }
            }
            start = snapshot.offset();
            head = snapshot.behind()?;
        }
        let mut walk = Walk {
            show: self,
            file: shown(name.file_name().unwrap_or_default().as_encoded_bytes()),
            at: start,
            began: start,
            offset: None,
            begun_at: None,
            skip: 0,
            head: Vec::new(),
        };
        let mut framer = Framer::new(start);
        let mut rest = std::io::Cursor::new(head).chain(input);
        let mut piece = vec![0; PIECE];
        while walk.show.left != Some(0) && walk.show.failed.is_none() {
            let got = rest.read(&mut piece);
            let got = got.map_err(|error| Failure::reading(&name, error))?;
            if got == 0 && !walk.show.rest()? {
                break;
            }
            let walked = framer.feed(&piece[..got], &mut walk);
            walked.map_err(|damage| Failure::Corrupt(damage.in_file(&name)))?;
        }
        if walk.at == start && start > 0 && walk.show.follow.is_none() {
            let what = format!("{} is a snapshot with no commands behind it", name.display());
            return Err(Failure::Usage(what));
        }
        match self.failed.take() {
            Some(error) => Err(Failure::Output(error)),
            None => Ok(()),
        }
    }

    /// At the end of what a file has now: whether it is looked into again.
    fn rest(&mut self) -> Result<bool> {
        let is_tail = self.is_tail();
        match &self.follow {
            Some(follow) if follow.is_last && is_tail && self.left.is_none() => {
                self.write_waiting();
                self.left = Some(usize::MAX);
            }
            Some(_) => {}
            None => return Ok(false),
        }
        self.out.flush().map_err(Failure::Output)?;
        Ok(self.follow.as_mut().is_some_and(Follow::again))
    }

    fn finish(mut self) -> Result<bool> {
        let asked = self.around.offset.is_some() || self.around.at.is_some();
        if self.left.is_none() && !asked {
            self.write_waiting();
        }
        match self.failed {
            Some(error) => Err(Failure::Output(error)),
            None => Ok(self.left.is_some() || !asked),
        }
    }

    fn line(&mut self, line: Vec<u8>, is_place: bool) {
        if is_place && self.left.is_none() {
            self.write_waiting();
            self.left = Some(if self.follow.is_some() { usize::MAX } else { self.around.after.max(1) });
        }
        match &mut self.left {
            Some(0) => {}
            Some(left) => {
                *left -= 1;
                self.write(&line);
            }
            None => {
                self.waiting.push_back(line);
                let most = if self.is_tail() {
                    self.around.before.max(self.around.after)
                } else {
                    self.around.before
                };
                while self.waiting.len() > most {
                    self.waiting.pop_front();
                }
            }
        }
    }

    fn is_tail(&self) -> bool {
        self.around.offset.is_none() && self.around.at.is_none()
    }

    fn write_waiting(&mut self) {
        for line in std::mem::take(&mut self.waiting) {
            self.write(&line);
        }
    }

    fn write(&mut self, line: &[u8]) {
        if self.failed.is_none()
            && let Err(error) = self.out.write_all(line)
        {
            self.failed = Some(error);
        }
    }
}

struct Walk<'s, 'o> {
    show: &'s mut Show<'o>,
    file: String,
    at: u64,
    /// The command's first byte.
    began: u64,
    /// Of the stream, where the annotations told it.
    offset: Option<u64>,
    begun_at: Option<u64>,
    /// Bytes that are no part of the stream.
    skip: u64,
    head: Vec<u8>,
}

impl Walk<'_, '_> {
    fn is_place(&self, end: u64) -> bool {
        match (self.show.around.offset, self.show.around.at) {
            (Some(wanted), _) => {
                self.offset.is_some_and(|offset| wanted < offset)
                    && self.begun_at.is_some_and(|begun| begun <= wanted)
            }
            (None, Some(wanted)) => wanted < end,
            (None, None) => false,
        }
    }

    fn tell(&mut self, end: u64, text: &[u8], arguments: &[Vec<u8>], left_out: bool) {
        let is_place = self.is_place(end);
        let line = if self.show.around.json {
            let mut json = Json::new();
            json.object(|j| {
                j.key("file").text(self.file.as_bytes());
                j.key("at").plain(self.began);
                j.key("offset").maybe(self.begun_at);
                j.key("bytes").plain(end - self.began);
                if arguments.is_empty() {
                    j.key("line").text(text);
                } else {
                    j.key("command").array(|j| arguments.iter().for_each(|argument| j.text(argument)));
                    j.key("whole").plain(!left_out);
                }
            });
            json.into_bytes()
        } else {
            let offset = self.begun_at.map_or("-".to_string(), |offset| offset.to_string());
            let shown_arguments = arguments.iter().take(ARGUMENTS).map(|a| shortened(a, ARGUMENT));
            let mut words = shown_arguments.collect::<Vec<_>>().join(" ");
            if arguments.is_empty() {
                words = message(&String::from_utf8_lossy(text).trim_end());
            }
            let more = if left_out || arguments.len() > ARGUMENTS { " …" } else { "" };
            format!("{}:{:<10} {offset:>12}  {words}{more}", self.file, self.began).into_bytes()
        };
        self.show.line([line, b"\n".to_vec()].concat(), is_place);
    }
}

impl Sink for Walk<'_, '_> {
    fn stream(&mut self, bytes: &[u8]) {
        if self.head.is_empty() {
            self.began = self.at;
            self.begun_at = self.offset.filter(|_| self.skip == 0);
        }
        self.at += bytes.len() as u64;
        let skipped = self.skip.min(bytes.len() as u64);
        self.skip -= skipped;
        if let Some(offset) = &mut self.offset {
            *offset += bytes.len() as u64 - skipped;
        }
        let room = HEAD - self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn line(&mut self, line: &[u8], at: u64) -> std::result::Result<(), Corrupt> {
        (self.began, self.at) = (at, at + line.len() as u64);
        if let Some((offset, skip)) = opening(line) {
            (self.offset, self.skip) = (Some(offset), skip);
        }
        self.begun_at = self.offset;
        if self.show.around.marks {
            self.tell(self.at, line, &[], false);
        }
        Ok(())
    }

    fn command_end(&mut self, _: Command, at: u64) {
        let head = std::mem::take(&mut self.head);
        let (arguments, whole) = arguments(&head);
        if head != b"\n" {
            self.tell(at, b"", &arguments, !whole);
        }
        self.head = head;
        self.head.clear();
    }
}

/// Offset and skipped bytes that a segment's opening tells. Whether it is sound is `check`'s question.
fn opening(line: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix("#RH:1 open ")?;
    let field = |name: &str| text.split(' ').find_map(|word| word.strip_prefix(name)?.trim().parse().ok());
    Some((field("off=")?, field("skip=")?))
}

/// The arguments of a command that begins with these bytes; whether they are all.
fn arguments(head: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut found = Vec::new();
    let mut rest = head;
    let mut line = || {
        let end = memchr::memchr(b'\n', rest)?;
        let number = std::str::from_utf8(rest.get(1..end)?.strip_suffix(b"\r")?).ok()?.parse::<usize>().ok();
        rest = &rest[end + 1..];
        number
    };
    let Some(count) = line() else { return (found, false) };
    for _ in 0..count {
        let Some(end) = memchr::memchr(b'\n', rest) else { return (found, false) };
        let digits = rest.get(1..end).and_then(|line| line.strip_suffix(b"\r"));
        let len = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
        let Some(len) = len else { return (found, false) };
        rest = &rest[end + 1..];
        found.push(rest[..rest.len().min(len)].to_vec());
        let Some(after) = rest.get(len.saturating_add(2)..) else { return (found, rest.len() >= len) };
        rest = after;
    }
    (found, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::aof::{Chain, Place};
    use crate::units::{Offset, ReplId};

    fn shown_of(file: &[u8], around: Around) -> (String, bool) {
        let mut out = Vec::new();
        let raw = Box::new(std::io::Cursor::new(file.to_vec()));
        let input = input::of_reader(raw, Path::new("/d/a.aof"), None).unwrap();
        let mut show = Show::new(&around, &mut out);
        show.file(input).unwrap();
        let found = show.finish().unwrap();
        (String::from_utf8(out).unwrap(), found)
    }

    fn segment() -> Vec<u8> {
        let place = |offset| Place { replid: ReplId::from_random([7; 20]), offset: Offset(offset), db: 3 };
        let mut file = Vec::new();
        let mut chain = Chain::open(place(100), &mut file);
        let mut offset = 100;
        for key in ["a", "b", "c\x1b", "d"] {
            let unit = format!("*2\r\n$3\r\nDEL\r\n${}\r\n{key}\r\n", key.len());
            file.extend_from_slice(unit.as_bytes());
            chain.cover(unit.as_bytes());
            offset += unit.len() as u64;
            chain.mark(place(offset), Offset(100), &mut file);
        }
        file
    }

    #[test]
    fn around_an_offset() {
        let check = |around: Around, expected: &[&str], found: bool| {
            let (text, is_found) = shown_of(&segment(), around);
            let tails: Vec<String> = text
                .lines()
                .map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>().join(" "))
                .collect();
            assert_eq!(
                (tails, is_found),
                (expected.iter().map(|s| s.to_string()).collect(), found),
                "{around:?}"
            );
        };
        let around = Around { before: 1, after: 2, ..Around::default() };
        check(Around { offset: Some(120), ..around }, &["100 DEL a", "120 DEL b", "140 DEL c\\x1b"], true);
        check(Around { offset: Some(139), ..around }, &["100 DEL a", "120 DEL b", "140 DEL c\\x1b"], true);
        check(Around { offset: Some(100), ..around }, &["- SELECT 3", "100 DEL a", "120 DEL b"], true);
        check(Around { offset: Some(99), ..around }, &[], false);
        check(Around { offset: Some(1000), ..around }, &[], false);
        check(Around { at: Some(0), ..around }, &["- SELECT 3", "100 DEL a"], true);
        check(around, &["140 DEL c\\x1b", "161 DEL d"], true);
        let (text, _) = shown_of(&segment(), Around { marks: true, ..around });
        assert!(text.lines().last().unwrap().contains("#RH:1 mark"), "{text}");
        let (text, _) = shown_of(&segment(), Around { json: true, after: 1, before: 0, ..Around::default() });
        assert!(
            text.ends_with("\"offset\":161,\"bytes\":20,\"command\":[\"DEL\",\"d\"],\"whole\":true}\n"),
            "{text}"
        );
    }

    /// The log grows, a command in two steps; a rewrite names the next segment, then takes this one away.
    #[test]
    fn a_log_is_followed_from_file_to_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let line = |n: u32, kind: &str| format!("file a.aof.{n}.incr.aof seq {n} type {kind}\n");
        let append = |name: &str, text: &str| {
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        let del = |key: &str| format!("*2\r\n$3\r\nDEL\r\n$1\r\n{key}\r\n");
        let manifest = |lines: &str| std::fs::write(file("a.aof.manifest"), lines).unwrap();
        manifest(&line(1, "i"));
        append("a.aof.1.incr.aof", &[del("a"), del("b"), del("c")].concat());
        let mut step = 0;
        let mut wait = || {
            step += 1;
            match step {
                1 => append("a.aof.1.incr.aof", &del("d")[..10]),
                2 => append("a.aof.1.incr.aof", &[&del("d")[10..], &del("e")].concat()),
                3 => {
                    append("a.aof.2.incr.aof", &del("g"));
                    append("a.aof.1.incr.aof", &del("f"));
                    manifest(&[line(1, "i"), line(2, "i")].concat());
                }
                4 => {
                    append("a.aof.3.incr.aof", &del("h"));
                    std::fs::remove_file(file("a.aof.2.incr.aof")).unwrap();
                    manifest(&line(3, "i"));
                }
                _ => return false,
            }
            true
        };
        let around = Around { before: 2, after: 1, ..Around::default() };
        let mut out = Vec::new();
        follow(directory.path(), &check::Options::default(), &around, &mut wait, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let keys: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().last()).collect();
        assert_eq!(keys, ["b", "c", "d", "e", "f", "g", "h"], "{text}");
        assert_eq!(step, 5);
    }

    #[test]
    fn long_commands_are_shown_in_part() {
        let file = format!("*2\r\n$3\r\nGET\r\n$9000\r\n{}\r\n", "x".repeat(9000));
        let (text, _) = shown_of(file.as_bytes(), Around { after: 1, ..Around::default() });
        assert!(text.len() < 120 && text.trim_end().ends_with("… …"), "{text}");
    }
}

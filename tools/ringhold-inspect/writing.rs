//! The commands that write files: where their output goes, what they say about it.
//!
//! What was done is told on standard error if the file itself goes to standard output.

use std::io::Write;
use std::path::{Path, PathBuf};

use ringhold::inspect::Failure;
use ringhold::inspect::at::{self, Moment, State};
use ringhold::inspect::check::Options;
use ringhold::inspect::convert::{self, Request};
use ringhold::inspect::salvage::{self, Salvaged};
use ringhold::inspect::spool::NewFile;
use ringhold::inspect::text::{Json, counted, grouped, message, size};
use ringhold::units::Offset;

use crate::args::WriteCommand;
use crate::{Out, line, now, progress};

/// `-` as an output.
pub fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

pub fn run(command: &WriteCommand, json: bool, options: &Options, out: &mut Out<'_>) -> Result<i32, Failure> {
    match command {
        WriteCommand::Convert { paths, output, rdb_version, slots, split, wanted, measured } => {
            let mut filter = wanted.filter()?;
            measured.narrow(&mut filter);
            let request = Request { inputs: paths, filter: &filter, slots: *slots, version: *rdb_version };
            let names = match split {
                Some(_) if is_standard(output) => {
                    return Err(Failure::Usage("several files do not go to standard output".into()));
                }
                Some(count) => (0..*count).map(|n| numbered(output, n)).collect(),
                None => vec![output.clone()],
            };
            let done = to_files(&names, out, |outputs| convert::convert(&request, options, now(), outputs))?;
            progress::clear(&options.watch);
            tell(&converted(&done, &names, json), is_standard(output), out)?;
            Ok(0)
        }
        WriteCommand::At { path, offset, time, output } => {
            let moment = match (offset, time) {
                (Some(offset), _) => Moment::Offset(Offset(*offset)),
                (None, Some(seconds)) => Moment::Time(*seconds),
                (None, None) => Moment::End,
            };
            let names = [output.clone()];
            let done = to_files(&names, out, |outputs| at::write(path, moment, options, now(), outputs[0]))?;
            progress::clear(&options.watch);
            tell(&state(&done, json), is_standard(output), out)?;
            Ok(0)
        }
        WriteCommand::Salvage { path, output } => {
            let names = [output.clone()];
            let done = to_files(&names, out, |outputs| salvage::salvage(path, options, now(), outputs[0]))?;
            progress::clear(&options.watch);
            tell(&salvaged(&done, json), is_standard(output), out)?;
            Ok(i32::from(!done.is_whole()))
        }
    }
}

/// Lets `write` write files that have their names only if all of it succeeded.
fn to_files<T>(
    names: &[PathBuf],
    out: &mut Out<'_>,
    write: impl FnOnce(&mut [&mut dyn Write]) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if names.iter().any(|name| is_standard(name)) {
        return write(&mut [out as &mut dyn Write]);
    }
    let mut files = names.iter().map(|name| NewFile::create(name)).collect::<Result<Vec<_>, _>>()?;
    let mut outputs: Vec<&mut dyn Write> = files.iter_mut().map(|file| file as &mut dyn Write).collect();
    let done = write(&mut outputs)?;
    files.into_iter().try_for_each(NewFile::finish)?;
    Ok(done)
}

fn tell(text: &str, aside: bool, out: &mut Out<'_>) -> Result<(), Failure> {
    if aside {
        eprint!("{text}");
        return Ok(());
    }
    text.lines().try_for_each(|one| line(out, one.as_bytes()))
}

/// `dump.rdb` as `dump.3.rdb`.
fn numbered(path: &Path, number: u16) -> PathBuf {
    match path.extension() {
        Some(ending) => path.with_extension(format!("{number}.{}", ending.to_string_lossy())),
        None => path.with_extension(number.to_string()),
    }
}

fn converted(done: &convert::Done, names: &[PathBuf], json: bool) -> String {
    if json {
        let mut out = Json::new();
        out.object(|j| {
            j.key("version").plain(done.version);
            j.key("files").array(|j| {
                for (name, keys) in names.iter().zip(&done.keys) {
                    j.object(|j| {
                        j.key("file").text(name.as_os_str().as_encoded_bytes());
                        j.key("keys").plain(*keys);
                    });
                }
            });
            j.key("replaced").plain(done.replaced);
            j.key("left_out").plain(done.left_out);
            j.key("notes").array(|j| done.notes.iter().for_each(|note| j.text(note.as_bytes())));
        });
        return String::from_utf8_lossy(&out.into_bytes()).into_owned() + "\n";
    }
    let mut text = String::new();
    for (name, keys) in names.iter().zip(&done.keys) {
        let name = message(&name.display());
        text += &format!("{name}: RDB version {}, {}\n", done.version, counted(*keys, "key", "keys"));
    }
    if done.replaced > 0 {
        let count = counted(done.replaced, "key", "keys");
        text += &format!("  {count} came again later: the last one of each stands\n");
    }
    if done.left_out > 0 {
        let count = counted(done.left_out, "key or function library", "keys or function libraries");
        text += &format!("  {count} left out, which this version cannot express\n");
    }
    done.notes.iter().for_each(|note| text += &format!("  note: {}\n", message(note)));
    text
}

fn state(done: &State, json: bool) -> String {
    if json {
        let mut out = Json::new();
        out.object(|j| {
            j.key("replid").text(done.replid.as_bytes());
            j.key("offset").maybe(done.offset.map(|offset| offset.0));
            j.key("keys").plain(done.keys);
            j.key("replayed_bytes").plain(done.replayed);
        });
        return String::from_utf8_lossy(&out.into_bytes()).into_owned() + "\n";
    }
    let (keys, replayed) = (counted(done.keys, "key", "keys"), size(done.replayed));
    let place = done.offset.map_or(String::new(), |offset| format!(" at {}:{offset}", done.replid));
    format!("{keys}{place}, {replayed} of commands replayed\n")
}

fn salvaged(done: &Salvaged, json: bool) -> String {
    if json {
        return String::from_utf8_lossy(&done.to_json()).into_owned() + "\n";
    }
    let mut text = String::new();
    for loss in &done.losses {
        let bytes = loss.to - loss.from;
        text +=
            &format!("lost: bytes {} to {} ({}): {}\n", loss.from, loss.to, size(bytes), message(&loss.why));
    }
    if done.more > 0 {
        text += &format!("lost: {} more places\n", grouped(done.more));
    }
    let (kept, lost) = (grouped(done.kept), size(done.lost));
    let what = done.what();
    text += &format!("{kept} {what} written; {lost} lost of {}\n", size(done.bytes));
    done.notes.iter().for_each(|note| text += &format!("  note: {}\n", message(note)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_before_the_ending() {
        assert_eq!(numbered(Path::new("a/dump.rdb"), 3), Path::new("a/dump.3.rdb"));
        assert_eq!(numbered(Path::new("a/dump"), 0), Path::new("a/dump.0"));
    }
}

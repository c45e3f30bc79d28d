//! `ringhold-inspect`: looks into snapshots, logs, rings and data directories.
//!
//! The binary half: arguments, terminal, exit codes. All that is known about files is in `ringhold::inspect`, which any
//! program can use the same way. Output goes to standard output through one buffer; progress and errors go to standard
//! error, progress only if that is a terminal. A reader that goes away (`| head`) ends the program without a word.

mod args;
mod diffing;
mod progress;
mod writing;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use args::{Args, Command, DumpFormat, KeysCommand, StreamCommand};
use clap::{CommandFactory, Parser};
use ringhold::format::rdb::stream;
use ringhold::inspect::check::{self, FileReport, Report, Verdict};
use ringhold::inspect::dump::{Commands, Form, JsonLines, Sink, Table};
use ringhold::inspect::get::Show;
use ringhold::inspect::keys::{self, Column, Filter, Row, Take};
use ringhold::inspect::memory::Memory;
use ringhold::inspect::spool::NewFile;
use ringhold::inspect::text::{Json, grouped, message, shown, size};
use ringhold::inspect::value::Visitor;
use ringhold::inspect::{Failure, diff, lineage, live, log, ring, summary};
use ringhold::units::UnixMillis;
use writing::is_standard;

/// What was asked could not be done: usage, input or output.
const EXIT_FAILED: i32 = 3;

fn main() {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let code = if error.use_stderr() { EXIT_FAILED } else { 0 };
            // Nothing can be told to anybody if this fails.
            let _nobody = error.print();
            std::process::exit(code);
        }
    };
    let mut out = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let done = run(&args, &mut out).and_then(|code| out.flush().map(|()| code).map_err(Failure::Output));
    let code = match done {
        Ok(code) => code,
        Err(failure) => {
            // What was found before it belongs in front of the message.
            let _gone = out.flush();
            failed(&failure)
        }
    };
    drop(out);
    std::process::exit(code);
}

fn failed(failure: &Failure) -> i32 {
    match failure {
        Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return 0,
        _ => eprintln!("ringhold-inspect: {}", message(failure)),
    }
    match failure {
        Failure::Corrupt(_) => Verdict::Corrupt.exit_code(),
        _ => EXIT_FAILED,
    }
}

type Out<'a> = io::BufWriter<io::StdoutLock<'a>>;

fn run(args: &Args, out: &mut Out<'_>) -> Result<i32, Failure> {
    let options = check::Options {
        watch: progress::watch(),
        names: [&args.names.appenddirname, &args.names.appendfilename, &args.names.dbfilename]
            .map(String::clone),
    };
    match &args.command {
        Command::Summary { paths } => summaries(paths, args.json, &options, out),
        Command::Check { paths, fix, truncate_to_timestamp } => {
            each(paths, out, |path, out| match truncate_to_timestamp {
                Some(seconds) => truncate(path, *seconds, args.json, out),
                None => check(path, *fix, args.json, &options, out),
            })
        }
        Command::Keys(command) => keys_command(command, args.json, &options, out),
        Command::Write(command) => writing::run(command, args.json, &options, out),
        Command::Stream(command) => stream_command(command, args.json, &options, out),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Args::command(), NAME, out);
            Ok(0)
        }
        Command::Man { directory } => man(directory.as_deref(), out),
    }
}

/// Does it to each path. Where there are several, one that cannot be read does not keep the others from it; the worst exit code.
fn each(
    paths: &[PathBuf],
    out: &mut Out<'_>,
    mut one: impl FnMut(&Path, &mut Out<'_>) -> Result<i32, Failure>,
) -> Result<i32, Failure> {
    let mut worst = 0;
    for path in paths {
        let code = match one(path, out) {
            Err(failure) if paths.len() > 1 && !matches!(failure, Failure::Output(_)) => {
                out.flush().map_err(Failure::Output)?;
                failed(&failure)
            }
            code => code?,
        };
        worst = worst.max(code);
    }
    Ok(worst)
}

fn summaries(
    paths: &[PathBuf],
    json: bool,
    options: &check::Options,
    out: &mut Out<'_>,
) -> Result<i32, Failure> {
    let mut before = false;
    if json {
        write(out, b"[")?;
    }
    let worst = each(paths, out, |path, out| {
        let found = summary::summarize(path, options, now())?;
        progress::clear(&options.watch);
        for one in &found {
            let between: &[u8] = if json { b"," } else { b"\n" };
            write(out, if before { between } else { b"" })?;
            before = true;
            if json {
                let mut text = Json::new();
                one.write_json(&mut text);
                write(out, &text.into_bytes())?;
            } else {
                write(out, one.to_text().as_bytes())?;
            }
        }
        let verdicts = found.iter().map(summary::Summary::verdict);
        Ok(verdicts.max().unwrap_or(Verdict::Sound).exit_code())
    });
    if json {
        line(out, b"]")?;
    }
    worst
}

fn check(
    path: &Path,
    fix: bool,
    json: bool,
    options: &check::Options,
    out: &mut Out<'_>,
) -> Result<i32, Failure> {
    let report = check::check(path, options)?;
    progress::clear(&options.watch);
    if json {
        line(out, &report.to_json())?;
    } else {
        print_report(&report, out)?;
    }
    if fix && report.verdict() == Verdict::Torn {
        print_all_fixed(&check::fix(&report)?, json, out)?;
        return Ok(0);
    }
    Ok(report.verdict().exit_code())
}

/// Walks the keys of `path`, saying on standard error what is left out.
fn walk(
    path: &Path,
    replay: bool,
    options: &check::Options,
    filter: &Filter,
    take: &mut impl Take,
) -> Result<(), Failure> {
    let source = if replay { keys::replayed(path, options, now()) } else { keys::open(path, options) };
    let mut source = source?;
    if let Some(note) = &source.note {
        eprintln!("ringhold-inspect: {}", message(note));
    }
    let walked = keys::walk(&mut source, filter, now(), take);
    progress::clear(&options.watch);
    walked
}

/// `\\xHH` stands for a byte, a doubled backslash for one.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.strip_prefix(b"x").and_then(|hex| std::str::from_utf8(hex.get(..2)?).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| first == b'\\');
        rest = match byte {
            Some(byte) => {
                bytes.push(byte);
                &after[3..]
            }
            None if first == b'\\' && after.first() == Some(&b'\\') => {
                bytes.push(first);
                &after[1..]
            }
            None => {
                bytes.push(first);
                after
            }
        };
    }
    bytes
}

/// Writes a line for each key.
struct List<'l, 'o> {
    out: &'l mut Out<'o>,
    columns: Vec<Column>,
    format: keys::Format,
    now: UnixMillis,
    line: Vec<u8>,
}

impl stream::Visit for List<'_, '_> {}
impl Visitor for List<'_, '_> {}
impl Take for List<'_, '_> {
    fn row(&mut self, row: &Row<'_>) -> Result<bool, Failure> {
        self.line.clear();
        keys::line(row, &self.columns, self.format, self.now, &mut self.line);
        write(self.out, &self.line)?;
        Ok(true)
    }
}

/// What looks at the keys of a snapshot.
fn keys_command(
    command: &KeysCommand,
    json: bool,
    options: &check::Options,
    out: &mut Out<'_>,
) -> Result<i32, Failure> {
    match command {
        KeysCommand::Keys { path, replay, wanted, measured, columns, csv } => {
            let mut filter = wanted.filter()?;
            measured.narrow(&mut filter);
            let columns = if columns.is_empty() { Column::USUAL.to_vec() } else { columns.clone() };
            let format = match (json, csv) {
                (true, _) => keys::Format::Json,
                (false, true) => keys::Format::Csv,
                (false, false) => keys::Format::Table,
            };
            write(out, keys::heading(&columns, format).as_bytes())?;
            walk(
                path,
                *replay,
                options,
                &filter,
                &mut List { out, columns, format, now: now(), line: Vec::new() },
            )?;
            Ok(0)
        }
        KeysCommand::Get { path, replay, key, db, raw } => {
            let name = Some(unescaped(key));
            let filter = Filter { dbs: db.iter().copied().collect(), name, ..Filter::default() };
            let found = if json {
                let mut lines = JsonLines::first(Sink::new(out));
                walk(path, *replay, options, &filter, &mut lines)?;
                lines.finish()? > 0
            } else {
                let mut show = Show::new(*raw, Sink::new(out));
                walk(path, *replay, options, &filter, &mut show)?;
                show.finish()?
            };
            if !found {
                let place = db.map_or("any database".to_string(), |db| format!("db {db}"));
                let name = message(&live::name_of(path).display());
                eprintln!("ringhold-inspect: {name}: no key '{}' in {place}", shown(&unescaped(key)));
            }
            Ok(i32::from(!found))
        }
        KeysCommand::Dump { path, replay, wanted, format } => {
            let filter = wanted.filter()?;
            let form = match format {
                DumpFormat::Json => {
                    let mut lines = JsonLines::new(Sink::new(out));
                    walk(path, *replay, options, &filter, &mut lines)?;
                    return lines.finish().map(|_| 0);
                }
                DumpFormat::Csv | DumpFormat::Parquet => {
                    let mut table = match format {
                        DumpFormat::Csv => Table::csv(Sink::new(out)),
                        _ => Table::parquet(out)?,
                    };
                    walk(path, *replay, options, &filter, &mut table)?;
                    return table.finish().map(|()| 0);
                }
                DumpFormat::Resp => Form::Resp,
                DumpFormat::Commands => Form::Lines,
            };
            let mut commands = Commands::new(Sink::new(out), form);
            walk(path, *replay, options, &filter, &mut commands)?;
            match commands.finish()? {
                0 => {}
                left_out => eprintln!(
                    "ringhold-inspect: {left_out} values of modules or with deadlines of fields were left out"
                ),
            }
            Ok(0)
        }
        KeysCommand::Diff { left, right, elements, wanted } => {
            let wanted = diff::Wanted { filter: &wanted.filter()?, now: now(), elements: *elements };
            diffing::run([left, right], &wanted, json, options, out)
        }
        KeysCommand::Memory { path, replay, wanted, measured, top, separator, least, html } => {
            let mut filter = wanted.filter()?;
            measured.narrow(&mut filter);
            let is_page = html.is_some();
            let top = top.unwrap_or(if is_page { 500 } else { 20 });
            let share = least.unwrap_or(if is_page { 0.05 } else { 1.0 }) / 100.0;
            // Said before the work, not after it.
            let mut file =
                html.as_deref().filter(|file| !is_standard(file)).map(NewFile::create).transpose()?;
            let mut memory = Memory::new(top, *separator, now());
            walk(path, *replay, options, &filter, &mut memory)?;
            if is_page {
                let page = memory.to_html(live::name_of(path).as_os_str().as_encoded_bytes(), share);
                match &mut file {
                    Some(file) => write(file, &page)?,
                    None => write(out, &page)?,
                }
                file.map_or(Ok(()), NewFile::finish)?;
            } else if json {
                line(out, &memory.to_json(share))?;
            } else {
                write(out, memory.to_text(share).as_bytes())?;
            }
            Ok(0)
        }
    }
}

/// What looks at the stream and its history.
fn stream_command(
    command: &StreamCommand,
    json: bool,
    options: &check::Options,
    out: &mut Out<'_>,
) -> Result<i32, Failure> {
    match command {
        StreamCommand::Log { path, offset, at, before, after, marks, follow } => {
            let around =
                log::Around { offset: *offset, at: *at, before: *before, after: *after, marks: *marks, json };
            let found = if *follow {
                let quiet = check::Options { watch: None, ..options.clone() };
                let mut wait = || {
                    std::thread::sleep(POLL);
                    true
                };
                log::follow(path, &quiet, &around, &mut wait, out)?
            } else {
                log::show(path, options, &around, out)?
            };
            progress::clear(&options.watch);
            if !found {
                return Err(Failure::Usage(format!("{}: the place is not in this log", path.display())));
            }
            Ok(0)
        }
        StreamCommand::Ring { path } => {
            let view = ring::view(path, options)?;
            progress::clear(&options.watch);
            if json {
                line(out, &view.to_json())?
            } else {
                write(out, view.to_text().as_bytes())?
            }
            Ok(view.report.verdict.exit_code())
        }
        StreamCommand::Lineage { path } => {
            let found = lineage::lineage(path, options)?;
            if json {
                line(out, &found.to_json())?
            } else {
                write(out, found.to_text().as_bytes())?
            }
            Ok(0)
        }
    }
}

/// Between two looks at a log that is followed.
const POLL: Duration = Duration::from_millis(100);
const NAME: &str = "ringhold-inspect";

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn write(out: &mut impl Write, bytes: &[u8]) -> Result<(), Failure> {
    out.write_all(bytes).map_err(Failure::Output)
}

fn line(out: &mut impl Write, bytes: &[u8]) -> Result<(), Failure> {
    write(out, bytes)?;
    write(out, b"\n")
}

fn print_report(report: &Report, out: &mut impl Write) -> Result<(), Failure> {
    report.parts().try_for_each(|file| print_file(file, out))?;
    if report.parts().count() > 1 {
        line(out, format!("together: {}", report.verdict().word()).as_bytes())?;
    }
    Ok(())
}

fn print_file(file: &FileReport, out: &mut impl Write) -> Result<(), Failure> {
    let name = shown(file.file.as_os_str().as_encoded_bytes());
    let bytes = if file.bytes > 0 { format!(" of {}", size(file.bytes)) } else { String::new() };
    line(out, format!("{name}: {}{bytes}: {}", file.kind, file.verdict.word()).as_bytes())?;
    if let Some(problem) = &file.problem {
        let more = match file.more {
            0 => String::new(),
            more => format!(" ({} more)", grouped(more)),
        };
        line(out, format!("  {}{more}", message(problem)).as_bytes())?;
    }
    for (name, value) in &file.facts {
        line(out, format!("  {name:<17} {}", message(value)).as_bytes())?;
    }
    for note in &file.notes {
        line(out, format!("  note: {}", message(note)).as_bytes())?;
    }
    Ok(())
}

fn print_all_fixed(all: &[check::Fixed], json: bool, out: &mut impl Write) -> Result<(), Failure> {
    if json {
        let mut text = Json::new();
        text.object(|j| j.key("fixed").array(|j| all.iter().for_each(|fixed| fixed.write_json(j))));
        return line(out, &text.into_bytes());
    }
    all.iter().try_for_each(|fixed| print_fixed(fixed, out))
}

fn print_fixed(fixed: &check::Fixed, out: &mut impl Write) -> Result<(), Failure> {
    let [file, aside] = [&fixed.file, &fixed.aside].map(|path| shown(path.as_os_str().as_encoded_bytes()));
    let (cut, keep) = (grouped(fixed.cut), grouped(fixed.keep));
    line(out, format!("{file}: cut to {keep} bytes; the last {cut} are kept in {aside}").as_bytes())?;
    for name in fixed.withdrawn.iter().map(|path| shown(path.as_os_str().as_encoded_bytes())) {
        line(out, format!("set aside as {name}, because it tells of what was cut").as_bytes())?;
    }
    Ok(())
}

fn truncate(path: &Path, seconds: i64, json: bool, out: &mut impl Write) -> Result<i32, Failure> {
    let fixed = check::truncate_to_timestamp(path, seconds)?;
    if fixed.is_none() && !json {
        line(out, b"nothing in it is later")?;
        return Ok(0);
    }
    print_all_fixed(fixed.as_slice(), json, out)?;
    Ok(0)
}

fn man(directory: Option<&Path>, out: &mut impl Write) -> Result<i32, Failure> {
    match directory {
        Some(directory) => clap_mangen::generate_to(Args::command(), directory).map_err(Failure::Output)?,
        None => clap_mangen::Man::new(Args::command()).render(out).map_err(Failure::Output)?,
    }
    Ok(0)
}

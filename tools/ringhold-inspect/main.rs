//! `ringhold-inspect`: looks into snapshots, logs, rings and data directories.
//!
//! The binary half: arguments, terminal, exit codes. All that is known about files is in `ringhold::inspect`, which any
//! program can use the same way. Output goes to standard output through one buffer; progress and errors go to standard
//! error, progress only if that is a terminal. A reader that goes away (`| head`) ends the program without a word.

mod args;
mod progress;

use std::io::{self, IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use args::{Args, Command};
use clap::{CommandFactory, Parser};
use ringhold::inspect::check::{self, FileReport, Report, Verdict};
use ringhold::inspect::text::{Json, grouped, message, shown, size};
use ringhold::inspect::{Failure, summary};
use ringhold::units::UnixMillis;

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
        watch: io::stderr().is_terminal().then(progress::watch).flatten(),
        names: [&args.names.appenddirname, &args.names.appendfilename, &args.names.dbfilename]
            .map(String::clone),
    };
    match &args.command {
        Command::Summary { path } => {
            let found = summary::summarize(path, &options, now())?;
            progress::clear(&options.watch);
            if args.json {
                let mut json = Json::new();
                json.array(|j| found.iter().for_each(|one| one.write_json(j)));
                line(out, &json.into_bytes())?;
            } else {
                let texts: Vec<String> = found.iter().map(summary::Summary::to_text).collect();
                write(out, texts.join("\n").as_bytes())?;
            }
            let worst = found.iter().map(summary::Summary::verdict).max();
            Ok(worst.unwrap_or(Verdict::Sound).exit_code())
        }
        Command::Check { path, fix, truncate_to_timestamp } => {
            if let Some(seconds) = truncate_to_timestamp {
                return truncate(path, *seconds, out);
            }
            let report = check::check(path, &options)?;
            progress::clear(&options.watch);
            if args.json {
                line(out, &report.to_json())?;
            } else {
                print_report(&report, out)?;
            }
            if *fix && report.verdict() == Verdict::Torn {
                for fixed in check::fix(&report)? {
                    print_fixed(&fixed, out)?;
                }
                return Ok(0);
            }
            Ok(report.verdict().exit_code())
        }
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Args::command(), NAME, out);
            Ok(0)
        }
        Command::Man { directory } => man(directory.as_deref(), out),
    }
}

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

fn print_fixed(fixed: &check::Fixed, out: &mut impl Write) -> Result<(), Failure> {
    let [file, aside] = [&fixed.file, &fixed.aside].map(|path| shown(path.as_os_str().as_encoded_bytes()));
    let (cut, keep) = (grouped(fixed.cut), grouped(fixed.keep));
    line(out, format!("{file}: cut to {keep} bytes; the last {cut} are kept in {aside}").as_bytes())
}

fn truncate(path: &std::path::Path, seconds: i64, out: &mut impl Write) -> Result<i32, Failure> {
    match check::truncate_to_timestamp(path, seconds)? {
        Some(fixed) => print_fixed(&fixed, out)?,
        None => line(out, b"nothing in it is later")?,
    }
    Ok(0)
}

fn man(directory: Option<&std::path::Path>, out: &mut impl Write) -> Result<i32, Failure> {
    match directory {
        Some(directory) => clap_mangen::generate_to(Args::command(), directory).map_err(Failure::Output)?,
        None => clap_mangen::Man::new(Args::command()).render(out).map_err(Failure::Output)?,
    }
    Ok(0)
}

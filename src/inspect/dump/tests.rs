//! What is written reads back: JSON by its shape, commands by the server's own vocabulary of values.

use std::path::Path;

use super::*;
use crate::inspect::input;
use crate::inspect::keys::{Filter, Source, walk};
use crate::units::UnixMillis;

fn source(bytes: &[u8]) -> Source {
    let raw = Box::new(std::io::Cursor::new(bytes.to_vec()));
    Source { input: input::of_reader(raw, Path::new("x"), None).unwrap(), note: None }
}

fn json(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    let mut lines = JsonLines::new(Sink::new(&mut out));
    walk(&mut source(bytes), &Filter::default(), UnixMillis(0), &mut lines).unwrap();
    lines.finish().unwrap();
    String::from_utf8(out).unwrap()
}

fn commands(bytes: &[u8], form: Form) -> (String, u64) {
    let mut out = Vec::new();
    let mut commands = Commands::new(Sink::new(&mut out), form);
    walk(&mut source(bytes), &Filter::default(), UnixMillis(0), &mut commands).unwrap();
    let left_out = commands.finish().unwrap();
    (String::from_utf8(out).unwrap(), left_out)
}

const FILE: &[u8] = b"REDIS0004\xfe\x02\xfc\x05\0\0\0\0\0\0\0\0\x01k\x03v\"\xff\x02\x01s\x02\x01x\xc0\x07\
    \x04\x01h\x02\x01f\x01v\x01g\0\x03\x01z\x02\x01m\x031.5\x01n\xfe\xfe\x03\x01\x01l\x02\x01a\x01b\xff";

#[test]
fn a_line_a_key() {
    assert_eq!(
        json(FILE),
        "{\"db\":2,\"key\":\"k\",\"type\":\"string\",\"expires\":5,\"value\":\"v\\\"\\udcff\"}\n\
         {\"db\":2,\"key\":\"s\",\"type\":\"set\",\"value\":[\"x\",\"7\"]}\n\
         {\"db\":2,\"key\":\"h\",\"type\":\"hash\",\"value\":{\"f\":\"v\",\"g\":\"\"}}\n\
         {\"db\":2,\"key\":\"z\",\"type\":\"zset\",\"value\":[[\"m\",1.5],[\"n\",\"inf\"]]}\n\
         {\"db\":3,\"key\":\"l\",\"type\":\"list\",\"value\":[\"a\",\"b\"]}\n"
    );
}

#[test]
fn a_line_a_command() {
    assert_eq!(
        commands(FILE, Form::Lines).0,
        "\"SELECT\" \"2\"\n\"SET\" \"k\" \"v\\\"\\xff\"\n\"PEXPIREAT\" \"k\" \"5\"\n\"SADD\" \"s\" \"x\" \"7\"\n\
         \"HSET\" \"h\" \"f\" \"v\" \"g\" \"\"\n\"ZADD\" \"z\" \"1.5\" \"m\" \"inf\" \"n\"\n\
         \"SELECT\" \"3\"\n\"RPUSH\" \"l\" \"a\" \"b\"\n"
    );
}

#[test]
fn resp_is_what_the_framer_reads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/samples");
    for name in ["types.rdb", "tables.rdb", "streams.rdb", "databases.rdb"] {
        let (text, left_out) = {
            let bytes = std::fs::read(root.join(name)).unwrap();
            let mut out = Vec::new();
            let mut commands = Commands::new(Sink::new(&mut out), Form::Resp);
            walk(&mut source(&bytes), &Filter::default(), UnixMillis(0), &mut commands).unwrap();
            let left_out = commands.finish().unwrap();
            (out, left_out)
        };
        assert_eq!(left_out, 0, "{name}");
        let raw = Box::new(std::io::Cursor::new(text));
        let input = input::of_reader(raw, Path::new("x.aof"), None).unwrap();
        let report = crate::inspect::check::check_input(input).unwrap();
        assert!(report.problem.is_none(), "{name}: {:?}", report.problem);
    }
}

#[test]
fn long_strings_are_written_around() {
    let long = |text: &mut Vec<u8>, byte: u8, len: u32| {
        text.push(0x80);
        text.extend_from_slice(&len.to_be_bytes());
        text.extend(std::iter::repeat_n(byte, len as usize));
    };
    let mut file = b"REDIS0004\x04\x01h\x05\x01a\x01b\x01f".to_vec();
    long(&mut file, b'v', 300_000);
    file.extend_from_slice(b"\x01c\x01d");
    long(&mut file, b'F', 300_000);
    file.extend_from_slice(b"\x01x");
    long(&mut file, b'G', 300_000);
    long(&mut file, b'v', 300_000);
    file.extend_from_slice(b"\x05\x01z\x01");
    long(&mut file, b'm', 300_000);
    file.extend_from_slice(&2.0f64.to_le_bytes());
    file.push(0xff);
    let (text, _) = commands(&file, Form::Lines);
    let lines: Vec<&str> = text.lines().collect();
    let (v, m) = ("v".repeat(300_000), "m".repeat(300_000));
    assert_eq!(lines[1], "\"HSET\" \"h\" \"a\" \"b\"");
    assert!(lines[2] == format!("\"HSET\" \"h\" \"f\" \"{v}\""));
    assert_eq!(lines[3], "\"HSET\" \"h\" \"c\" \"d\"");
    let (f, g) = ("F".repeat(300_000), "G".repeat(300_000));
    assert!(lines[4] == format!("\"HSET\" \"h\" \"{f}\" \"x\""));
    assert!(lines[5] == format!("\"HSET\" \"h\" \"{g}\" \"{v}\""));
    assert!(lines[6] == format!("\"ZADD\" \"z\" \"2\" \"{m}\"") && lines.len() == 7);
}

/// Who wants some keys does not get the libraries of functions with them.
#[test]
fn functions_come_with_all_keys_only() {
    let file = b"REDIS0010\xf5\x13#!lua name=x\nreturn\xfe\0\0\x01k\x01v\xff\0\0\0\0\0\0\0\0";
    let said = |filter: &Filter| {
        let mut out = Vec::new();
        let mut commands = Commands::new(Sink::new(&mut out), Form::Lines);
        walk(&mut source(file), filter, UnixMillis(0), &mut commands).unwrap();
        commands.finish().unwrap();
        String::from_utf8(out).unwrap()
    };
    assert!(said(&Filter::default()).starts_with("\"FUNCTION\" \"LOAD\""));
    let some = Filter { glob: Some(b"k*".to_vec()), ..Filter::default() };
    assert_eq!(said(&some), "\"SELECT\" \"0\"\n\"SET\" \"k\" \"v\"\n");
}

#[test]
fn streams_with_groups() {
    let bytes =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/samples/streams.rdb")).unwrap();
    let text = json(&bytes);
    for line in text.lines().filter(|line| line.contains("\"type\":\"stream\"")) {
        let depth =
            |open: char, close: char| line.matches(open).count() as i64 - line.matches(close).count() as i64;
        assert_eq!((depth('{', '}'), depth('[', ']')), (0, 0), "{line}");
        assert!(!line.contains(",]") && !line.contains("[,") && !line.contains("}{"), "{line}");
    }
}

/// Whatever the damage, a walk ends with an error that names a place, or goes on.
#[test]
fn damage_never_panics_however_values_are_looked_at() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for directory in ["data/samples", "../shared/rdb"] {
        let Ok(entries) = std::fs::read_dir(root.join(directory)) else { continue };
        let paths = entries.map(|entry| entry.unwrap().path());
        for path in paths.filter(|path| path.extension().is_some_and(|e| e == "rdb")) {
            let bytes = std::fs::read(&path).unwrap();
            for at in (9..bytes.len()).step_by(1 + bytes.len() / 300) {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << (at % 8);
                look_every_way(&damaged);
                look_every_way(&bytes[..at]);
            }
        }
    }
}

fn look_every_way(bytes: &[u8]) {
    let look =
        |take: &mut dyn FnMut(&mut Source) -> crate::inspect::Result<()>| match take(&mut source(bytes)) {
            Err(Failure::Corrupt(damage)) => {
                assert!(damage.file.is_some() && damage.at <= bytes.len() as u64)
            }
            Err(Failure::TooLong(_)) | Ok(()) => {}
            Err(failure) => panic!("{failure}"),
        };
    let (all, now) = (Filter::default(), UnixMillis(0));
    look(&mut |source| walk(source, &all, now, &mut JsonLines::new(Sink::new(&mut Vec::new()))));
    for form in [Form::Resp, Form::Lines] {
        look(&mut |source| walk(source, &all, now, &mut Commands::new(Sink::new(&mut Vec::new()), form)));
    }
    look(&mut |source| {
        walk(source, &all, now, &mut crate::inspect::get::Show::new(false, Sink::new(&mut Vec::new())))
    });
    look(&mut |source| {
        let mut memory = crate::inspect::memory::Memory::new(5, b':', now);
        let walked = walk(source, &all, now, &mut memory);
        assert!(!memory.to_html(b"x", 0.0).is_empty());
        walked
    });
    look(&mut |source| walk(source, &all, now, &mut Table::csv(Sink::new(&mut Vec::new()))));
    look(&mut |source| {
        let mut out = Vec::new();
        let mut table = Table::parquet(&mut out)?;
        walk(source, &all, now, &mut table)?;
        table.finish()
    });
}

#[test]
fn a_row_an_element() {
    let mut out = Vec::new();
    let mut table = Table::csv(Sink::new(&mut out));
    let file = [&FILE[..FILE.len() - 1], b"\0\x03a,\"\x03\n\\\xff\xff"].concat();
    walk(&mut source(&file), &Filter::default(), UnixMillis(0), &mut table).unwrap();
    table.finish().unwrap();
    let lines = [
        "db,key,type,expires,position,element,score,length,value",
        r#"2,k,string,5,0,,,3,"v""\xff""#,
        "2,s,set,,0,x,,,",
        "2,s,set,,1,7,,,",
        "2,h,hash,,0,f,,1,v",
        "2,h,hash,,1,g,,0,",
        "2,z,zset,,0,m,1.5,,",
        "2,z,zset,,1,n,inf,,",
        "3,l,list,,0,,,1,a",
        "3,l,list,,1,,,1,b",
        r#"3,"a,""",string,,0,,,3,\n\\\xff"#,
    ];
    assert_eq!(String::from_utf8(out).unwrap(), lines.join("\r\n") + "\r\n");
}

/// These bytes, as pyarrow 26.0.1 read them on 2026-11-23: each cell what the CSV has, times as times, empty cells as null.
#[test]
fn the_same_rows_as_parquet() {
    let mut out = Vec::new();
    let mut table = Table::parquet(&mut out).unwrap();
    walk(&mut source(FILE), &Filter::default(), UnixMillis(0), &mut table).unwrap();
    table.finish().unwrap();
    assert!(out.starts_with(b"PAR1") && out.ends_with(b"PAR1"));
    assert_eq!((out.len(), crate::format::crc::seal(&[], &out)), (1062, 0x7a15_9279_b336_55a6));
}

//! CONFIG as clients and start-up see it, against the behaviour of Redis 7.2 (its `unit/introspection` cases).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::*;

/// Files in memory.
#[derive(Default)]
pub(super) struct Files(pub BTreeMap<PathBuf, String>, pub String);

impl Reader for Files {
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let text = self.0.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(text.clone().into_bytes())
    }
    fn list(&mut self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.0.keys().filter(|path| path.parent() == Some(directory)).cloned().collect())
    }
    fn stdin(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.1.clone().into_bytes())
    }
}

pub(super) fn files(files: &[(&str, &str)]) -> Files {
    Files(files.iter().map(|(path, text)| (path.into(), text.to_string())).collect(), String::new())
}

pub(super) fn start(args: &[&str], files: &mut Files) -> Result<(Config, Vec<Notice>), ConfigError> {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    match parse_start_args(&args, "/srv".into()) {
        Start::Run(args) => Config::load(&args, files),
        other => panic!("{other:?}"),
    }
}

pub(super) fn get(config: &Config, name: &str) -> String {
    let found = config.get([name.as_bytes()]);
    assert_eq!(found.len(), 1, "{name}");
    String::from_utf8(found[0].1.clone()).expect("UTF-8")
}

fn set(config: &mut Config, pairs: &[(&str, &str)]) -> Result<Vec<&'static str>, String> {
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
    let context = SetContext { local: true, loading: false };
    let change = config.set(&pairs, context).map_err(|error| error.text().into_owned())?;
    Ok(change.changed.iter().map(|id| id.name()).collect())
}

#[test]
fn every_default_may_be_set_again() {
    let mut config = Config { settings: Settings::default(), ..Config::default() };
    load::settle(&mut config.settings, Path::new("/srv"));
    for row in ROWS {
        for name in row.names() {
            let value = get(&config, name);
            let mut words: Vec<&[u8]> = value.as_bytes().split(|b| *b == b' ').collect();
            if !row.flags.contains(Flags::MULTI) {
                words = vec![value.as_bytes()];
            } else if value.is_empty() {
                words.clear();
            }
            let before = config.settings.clone();
            let result = (row.write)(&mut config.settings).set(&words, How::Replace, &row.spec);
            assert_eq!(
                result,
                if name.ends_with("of") { Err("wrong number of arguments".into()) } else { Ok(()) }
            );
            assert_eq!(config.settings, before, "{name}");
        }
    }
}

#[test]
fn names_are_unique_and_documented() {
    let mut names: Vec<&str> = ROWS.iter().flat_map(Row::names).collect();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    for row in ROWS {
        assert!(!row.doc.is_empty() && !row.doc.contains('\n'), "{}", row.name);
    }
}

#[test]
fn get_takes_globs_and_knows_old_names() {
    let config = Config::default();
    let names = |patterns: &[&str]| -> Vec<String> {
        let found = config.get(patterns.iter().map(|pattern| pattern.as_bytes()));
        found.into_iter().map(|(name, _)| String::from_utf8(name).expect("ASCII")).collect()
    };
    assert_eq!(names(&["*of"]), ["replicaof", "slaveof"]);
    assert_eq!(
        names(&["maxmemory", "maxmemory*", "PORT", "port"]),
        [
            "maxmemory",
            "maxmemory-policy",
            "maxmemory-samples",
            "maxmemory-eviction-tenacity",
            "maxmemory-clients",
            "PORT"
        ]
    );
    assert_eq!(names(&["hash-max-*-entries"]), ["hash-max-listpack-entries", "hash-max-ziplist-entries"]);
    assert!(!names(&["*"]).contains(&"key-load-delay".to_owned()));
    assert_eq!(names(&["key-load-delay"]), ["key-load-delay"]);
    assert_eq!(names(&["nonsense"]), [""; 0]);
}

#[test]
fn set_answers_as_redis_does() {
    let check = |pairs: &[(&str, &str)], expected: Result<&[&str], &str>| {
        let mut config = Config::default();
        config.settings.dir = "/data".into();
        let before = config.settings.clone();
        let got = set(&mut config, pairs);
        assert_eq!(got.as_deref().map_err(String::as_str), expected, "{pairs:?}");
        if expected.is_err() {
            assert_eq!(config.settings, before, "{pairs:?}");
        }
    };
    check(&[("maxmemory", "10mb"), ("save", "")], Ok(&["save", "maxmemory"]));
    check(&[("timeout", "0")], Ok(&[]));
    check(&[("maxmemory", ""), ("maxmemory-clients", "")], Ok(&[]));
    check(&[("maxmemory", "99999999999999999999")], Ok(&["maxmemory"]));
    check(&[("SLAVE-read-only", "no")], Ok(&["replica-read-only"]));
    check(&[("nope", "1")], Err("ERR Unknown option or number of arguments for CONFIG SET - 'nope'"));
    for (name, value, why) in [
        ("daemonize", "yes", "can't set immutable config"),
        ("dir", "/srv", "can't set protected config"),
        ("appendonly", "on", "argument must be 'yes' or 'no'"),
        ("port", "x", "argument couldn't be parsed into an integer"),
        ("port", "65536", "argument must be between 0 and 65535 inclusive"),
        ("maxmemory", "-1", "argument must be a memory value"),
        (
            "repl-backlog-size",
            "99999999999999999999",
            "argument must be between 1 and 9223372036854775807 inclusive",
        ),
        ("repl-backlog-size", "", "argument must be between 1 and 9223372036854775807 inclusive"),
        ("proto-max-bulk-len", "1", "argument must be between 1048576 and 9223372036854775807 inclusive"),
        ("maxmemory-clients", "200%", "percentage argument must be less or equal to 100"),
        ("maxmemory-clients", "x", "argument must be a memory or percent value"),
        ("appendfsync", "x", "argument(s) must be one of the following: everysec, always, no"),
        ("oom-score-adj", "x", "argument(s) must be one of the following: no, yes, relative, absolute"),
        ("save", "1", "Invalid save parameters"),
        ("save", "0 1", "Invalid save parameters"),
        ("notify-keyspace-events", "q", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
        (
            "client-output-buffer-limit",
            "normal 1",
            "Wrong number of arguments in buffer limit configuration.",
        ),
        (
            "client-output-buffer-limit",
            "x 0 0 0",
            "Invalid client class specified in buffer limit configuration.",
        ),
        (
            "client-output-buffer-limit",
            "normal 0 0 x",
            "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
        ),
        (
            "shutdown-on-sigint",
            "save nosave",
            "shutdown options SAVE and NOSAVE can't be used simultaneously",
        ),
        ("proc-title-template", "{x}", "template format is invalid or contains unknown variables"),
    ] {
        let text = format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}");
        check(&[("timeout", "7"), (name, value)], Err(&text));
    }
    check(
        &[("maxmemory", "1"), ("maxmemory", "2")],
        Err("ERR CONFIG SET failed (possibly related to argument 'maxmemory') - duplicate parameter"),
    );
}

#[test]
fn snapshot_and_log_have_names_of_their_own() {
    let check = |args: &[&str], expected: Result<(), &str>| {
        let (config, _) = start(args, &mut files(&[])).unwrap();
        assert_eq!(names_differ(&config.settings), expected.map_err(String::from), "{args:?}");
    };
    check(&[], Ok(()));
    let both = "dbfilename and appendfilename are both dump.rdb: each needs a name of its own";
    check(&["--appendfilename", "dump.rdb"], Err(both));
    let both = "appendfilename and appenddirname are both aof: each needs a name of its own";
    check(&["--appendfilename", "aof", "--appenddirname", "aof"], Err(both));
}

#[test]
fn set_depends_on_who_and_when() {
    let mut config = Config::default();
    config.settings.dir = "/data".into();
    config.settings.enable_protected_configs = Allow::Local;
    let pairs: [(&[u8], &[u8]); 1] = [(b"dir", b"./sub/./x")];
    let mut try_set = |local, loading| config.set(&pairs, SetContext { local, loading });
    assert_eq!(
        try_set(false, false).unwrap_err().text(),
        "ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config"
    );
    assert_eq!(try_set(true, true).unwrap_err().text(), "LOADING Redis is loading the dataset in memory");
    let change = try_set(true, false).expect("allowed");
    assert_eq!(config.settings.dir, Path::new("/data/sub/x"));
    config.undo(&change);
    assert_eq!(config.settings.dir, Path::new("/data"));
}

#[test]
fn values_are_shown_as_redis_shows_them() {
    let check = |name: &str, value: &str, shown: &str| {
        let mut config = Config::default();
        set(&mut config, &[(name, value)]).expect(name);
        assert_eq!(get(&config, name), shown, "{name} {value}");
    };
    check("maxmemory", "1GB", "1073741824");
    check("maxmemory", "1k", "1000");
    check("maxmemory-clients", "0%", "0");
    check("maxmemory-clients", "12%", "12%");
    check("save", "900 1 300 010", "900 1 300 10");
    check(
        "client-output-buffer-limit",
        "replica 1mb 2k 3",
        "normal 0 0 0 slave 1048576 2000 3 pubsub 33554432 8388608 60",
    );
    check("client-output-buffer-limit", "", "normal 0 0 0 slave 0 0 0 pubsub 33554432 8388608 60");
    check("oom-score-adj", "relative", "yes");
    check("oom-score-adj-values", "1 1 1", "1 1 1");
    check("shutdown-on-sigterm", "force nosave now", "nosave now force");
    check("latency-tracking-info-percentiles", "50.0 99.950", "50 99.95");
    check("latency-tracking-info-percentiles", "", "");
    check("notify-keyspace-events", "KEg$lshzxetd", "AKE");
    check("notify-keyspace-events", "EKg", "gKE");
    check("bind", "* -::*", "* -::*");
    check("bind", "", "");
    check("hz", "10000", "500");
    check("loglevel", "DEBUG", "debug");
    check("hash-max-ziplist-entries", "7", "7");
}

#[test]
fn starts_read_file_then_stdin_then_options() {
    let base = "port 7000\nsave 900 1\nappendonly no # no comment\n";
    assert!(start(&["/x.conf"], &mut files(&[("/x.conf", base)])).is_err());
    let base = "port 7000\n  SAVE 900 1 \n\n# note\nslave-read-only \"no\"\ninclude /more/*.conf\n";
    let more = "hash-max-ziplist-entries 20\nhash-max-listpack-entries 21\n";
    let mut disk = files(&[("/srv/x.conf", base), ("/more/a.conf", more), ("/more/b.txt", "junk")]);
    disk.1 = "port 7001\nrename-command flushdb badger\nuser alice on ~* +@all\n".into();
    let (config, notices) =
        start(&["x.conf", "--save", "100 100", "--maxmemory 700mb", "-"], &mut disk).expect("starts");
    assert_eq!(config.settings.port, 7001);
    assert_eq!(get(&config, "save"), "900 1 100 100");
    assert_eq!(get(&config, "hash-max-ziplist-entries"), "21");
    assert_eq!(config.settings.maxmemory, 700 << 20);
    assert!(!config.settings.replica_read_only);
    assert_eq!(config.settings.dir, Path::new("/srv/data"));
    assert_eq!(config.renamed, [(b"flushdb".to_vec(), b"badger".to_vec())]);
    assert_eq!(config.users.len(), 1);
    assert!(notices.is_empty(), "{notices:?}");
}

#[test]
fn options_are_read_as_redis_server_reads_them() {
    let check = |args: &[&str], expected: &[(&str, &str)]| {
        let (config, _) = start(args, &mut files(&[])).expect("starts");
        for (name, value) in expected {
            assert_eq!(get(&config, name), *value, "{args:?}");
        }
    };
    check(&[], &[("port", "6379"), ("save", "3600 1 300 100 60 10000")]);
    check(&["--port", "1", "--port", "2"], &[("port", "2")]);
    check(&["--save", "--loglevel", "verbose"], &[("save", ""), ("loglevel", "verbose")]);
    check(&["--loglevel", "verbose", "--save"], &[("save", ""), ("loglevel", "verbose")]);
    check(&["--save", "", "--loglevel", "verbose"], &[("save", ""), ("loglevel", "verbose")]);
    check(
        &["--proc-title-template", "--my--title", "--loglevel", "debug"],
        &[("proc-title-template", "--my--title"), ("loglevel", "debug")],
    );
    check(
        &["--proc-title-template --my--title", "--loglevel debug"],
        &[("proc-title-template", "--my--title"), ("loglevel", "debug")],
    );
    check(
        &["--proc-title-template", "--save", "--save", "", "--port", "5"],
        &[("proc-title-template", "--save"), ("save", ""), ("port", "5")],
    );
    check(
        &["--shutdown-on-sigint", "nosave", "force", "now", "--shutdown-on-sigterm", "nosave force"],
        &[("shutdown-on-sigint", "nosave now force"), ("shutdown-on-sigterm", "nosave force")],
    );
    check(&["--replicaof", "127.0.0.1", "6380"], &[("replicaof", "127.0.0.1 6380")]);
    check(&["--replicaof", "127.0.0.1 6380"], &[("slaveof", "127.0.0.1 6380")]);
    check(&["--replicaof", "no", "one"], &[("replicaof", "")]);
}

#[test]
fn a_start_stops_at_a_bad_line_and_says_why() {
    let check = |args: &[&str], expected: &[&str]| {
        let mut disk = files(&[
            ("/bad.conf", "# top\nport 1\nprot 2\n"),
            ("/outer.conf", "include /bad.conf\n"),
            ("/loop.conf", "include /loop.conf\n"),
            ("/quotes.conf", "logfile \"x\n"),
            ("/module.conf", "loadmodule /x.so\n"),
        ]);
        let text = start(args, &mut disk).expect_err("stops").to_string();
        let mut rest = text.as_str();
        for part in expected {
            let Some((_, after)) = rest.split_once(part) else { panic!("{args:?}: no {part} in {text}") };
            rest = after;
        }
    };
    check(&["/bad.conf"], &["/bad.conf, at line 3", "'prot 2'", "Bad directive", "did you mean 'port'?"]);
    check(&["/outer.conf"], &["/bad.conf, at line 3"]);
    check(&["/loop.conf"], &["too deeply"]);
    check(&["/quotes.conf"], &["Unbalanced quotes in configuration line"]);
    check(&["/module.conf"], &["Ringhold loads no modules"]);
    check(&["/none.conf"], &["can't open config file '/none.conf'"]);
    check(&["--invalid"], &["Bad directive or wrong number of arguments"]);
    check(
        &["--dbfilename", "backlog.ring.new"],
        &["dbfilename can't be the name of a file that the server keeps"],
    );
    check(
        &["--appendfilename", "replication.toml"],
        &["appendfilename can't be the name of a file that the"],
    );
    check(&["--port"], &["'port'", "wrong number of arguments"]);
    check(&["--port", "6380", "--loglevel"], &["'loglevel'", "wrong number of arguments"]);
    check(&["--port", "6379", "6380"], &["'port \"6379\" \"6380\"'", "wrong number of arguments"]);
    check(&["--port", "--loglevel", "verbose"], &["'port \"--loglevel\" \"verbose\"'", "wrong number"]);
    check(&["--port", "--bla", "--loglevel", "verbose"], &["'port \"--bla\"'", "parsed into an integer"]);
    check(&["--shutdown-on-sigint"], &["'shutdown-on-sigint'", "argument(s) must be one of the following"]);
    check(
        &["--replicaof", "127.0.0.1", "abc"],
        &["'replicaof \"127.0.0.1\" \"abc\"'", "Invalid master port"],
    );
    check(
        &["--replicaof", "--127.0.0.1", "--abc"],
        &["'replicaof \"--127.0.0.1\"'", "wrong number of arguments"],
    );
}

#[test]
fn what_has_no_effect_is_noted_once() {
    let replication = "repl-disable-tcp-nodelay yes\nrepl-diskless-load swapdb\nreplica-lazy-flush yes\n\
        replica-ignore-maxmemory no\nreplica-ignore-disk-write-errors yes\n";
    let (_, notices) = start(&["/x"], &mut files(&[("/x", replication)])).expect("starts");
    let texts: Vec<String> = notices.iter().map(Notice::to_string).collect();
    let inert = "repl-diskless-load, replica-lazy-flush, replica-ignore-disk-write-errors";
    assert_eq!(texts, [format!("Accepted, but without effect in Ringhold: {inert}")]);
    let conf = "tls-port 0\ntls-port 1\nlist-max-ziplist-value 3\nport 1\nio-threads 2\nmaxmemory-policy allkeys-lru\n";
    let (_, notices) = start(&["/x"], &mut files(&[("/x", conf)])).expect("starts");
    let texts: Vec<String> = notices.iter().map(Notice::to_string).collect();
    let expected = [
        "'list-max-ziplist-value' is accepted, but has had no effect for several versions of Redis",
        "Accepted, but without effect in Ringhold: io-threads, tls-port",
        "Accepted, but without effect until Ringhold has what they are for: maxmemory-policy",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn version_and_help_come_first() {
    let parse = |arg: &str| parse_start_args(&[arg.into()], PathBuf::new());
    assert_eq!(parse("-v"), Start::Version);
    assert_eq!(parse("--version"), Start::Version);
    assert_eq!(parse("--help"), Start::Help);
    assert_eq!(parse("-"), Start::Run(StartArgs { stdin: true, ..StartArgs::default() }));
}

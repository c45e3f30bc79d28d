//! Transcripts: what a primary says, in any pieces, and what the link does then.

use super::*;
use proptest::prelude::*;

const ID: &str = "0123456789abcdef0123456789abcdef01234567";
const NEW: &str = "fedcba9876543210fedcba9876543210fedcba98";
const MARKED: &str = "0000000000111111111122222222223333333333";
const UNKNOWN: &str = "-ERR Unrecognized REPLCONF option: ";

fn hello() -> Hello {
    Hello {
        user: None,
        password: None,
        port: 6380,
        ip: None,
        version: "7.2.4",
        lineage: Some(format!("{ID}:99:current")),
        ask: Ask { replid: ReplId::parse(ID.as_bytes()), at: Offset(99) },
        failover: false,
        allow_sync: false,
        payload_only: false,
    }
}

/// Everything the link does while `input` comes in pieces of these sizes: first all that it sent, the words of each
/// command after a `>`; then the events, what was handed out as payload and stream joined; at last the state.
fn run(hello: &Hello, input: &[u8], sizes: &[usize]) -> Vec<String> {
    let mut link = Link::new(hello.clone(), 0);
    let mut sent = Vec::new();
    let (mut did, mut payload, mut stream) = (vec![String::new()], Vec::new(), Vec::new());
    let mut rest = input;
    let mut sizes = sizes.iter().cycle();
    loop {
        link.poll_send(&mut sent);
        let (mut piece, after) = rest.split_at(sizes.next().copied().unwrap_or(usize::MAX).min(rest.len()));
        while let Some(event) = link.handle_input(&mut piece, 0) {
            match event {
                Event::Payload(bytes) => payload.extend_from_slice(&bytes),
                Event::Stream(bytes) => stream.extend_from_slice(bytes),
                Event::PayloadDone => did.push(format!("payload {}", payload.escape_ascii())),
                other => did.push(format!("{other:?}")),
            }
        }
        assert!(link.line.len() <= MAX_LINE);
        if matches!(link.state, State::Loading) {
            link.loaded(Offset(7), None, 0);
            rest = &rest[rest.len() - after.len() - piece.len()..];
            continue;
        }
        assert!(piece.is_empty(), "{link:?}");
        if rest.is_empty() {
            break;
        }
        rest = after;
    }
    link.poll_send(&mut sent);
    did[0] = words(&sent);
    if !stream.is_empty() {
        did.push(format!("stream {}", stream.escape_ascii()));
    }
    did.push(link.state_name().into());
    did
}

fn words(sent: &[u8]) -> String {
    let text = String::from_utf8_lossy(sent);
    let words = text.split("\r\n").filter(|word| !word.is_empty() && !word.starts_with('$'));
    words.map(|word| if word.starts_with('*') { ">" } else { word }).collect::<Vec<_>>().join(" ")
}

/// `input` with `|` for a line's end; `sent` in parts.
#[track_caller]
fn check(hello: &Hello, input: &str, sent: &[&str], events: &[&str]) {
    let sent = sent.join(" ");
    let expected = [&[sent.as_str()], events].concat();
    let input = input.replace('|', "\r\n").into_bytes();
    let did = run(hello, &input, &[]);
    assert_eq!(did, expected, "{}", input.escape_ascii());
    for size in [1, 2, 3, 7, 39, 40, 41] {
        assert_eq!(run(hello, &input, &[size]), expected, "in pieces of {size}");
    }
}

const PING: &str = "> PING";

fn handshake() -> String {
    let conf = ["listening-port 6380", "capa eof capa psync2", "version 7.2.4", "ringhold-lineage"];
    format!("> REPLCONF {} {ID}:99:current", conf.join(" > REPLCONF "))
}

fn psync() -> String {
    format!("> PSYNC {ID} 100")
}

#[test]
fn stock_7_0_goes_on_with_a_new_id() {
    let input =
        format!("+PONG|+OK|+OK|{UNKNOWN}version|{UNKNOWN}ringhold-lineage|+CONTINUE {NEW}|*1|$4|PING|");
    let note =
        format!("Note(\"(Non critical) Master does not understand REPLCONF version: {UNKNOWN}version\")");
    let going = format!("Continue {{ replid: Some(ReplId({NEW})) }}");
    let stream = "stream *1\\r\\n$4\\r\\nPING\\r\\n";
    check(&hello(), &input, &[PING, &handshake(), &psync()], &[&note, &going, stream, "connected"]);
}

#[test]
fn stock_before_psync2_names_no_id() {
    let input = "+PONG|+OK|+OK|+OK|-ERR|+CONTINUE|";
    check(&hello(), input, &[PING, &handshake(), &psync()], &["Continue { replid: None }", "connected"]);
}

#[test]
fn stock_sends_a_file() {
    let input = format!("+PONG|+OK|+OK|+OK|-ERR|||+FULLRESYNC {NEW} 700||\n$5|REDIS*1|$4|PING|");
    let full = format!("Full {{ replid: ReplId({NEW}), cut: Offset(700) }}");
    check(
        &hello(),
        &input,
        &[PING, &handshake(), &psync(), "> REPLCONF ACK 7"],
        &[&full, "PayloadSize(Some(5))", "payload REDIS", "stream *1\\r\\n$4\\r\\nPING\\r\\n", "connected"],
    );
    let empty = format!("+PONG|+OK|+OK|+OK|-ERR|+FULLRESYNC {NEW} 0|$0|");
    let did = run(&hello(), &empty.replace('|', "\r\n").into_bytes(), &[]);
    assert_eq!(did[2..], ["PayloadSize(Some(0))", "payload ", "connected"]);
}

#[test]
fn stock_streams_with_a_mark() {
    let part = &MARKED[..39];
    let input =
        format!("+PONG|+OK|+OK|+OK|-ERR|+FULLRESYNC {NEW} 700|\n$EOF:{MARKED}|REDIS{part}{MARKED}*1|");
    let full = format!("Full {{ replid: ReplId({NEW}), cut: Offset(700) }}");
    check(
        &hello(),
        &input,
        &[PING, &handshake(), &psync(), "> REPLCONF ACK 7"],
        &[&full, "PayloadSize(None)", &format!("payload REDIS{part}"), "stream *1\\r\\n", "connected"],
    );
}

#[test]
fn one_of_ours_tells_its_lineage() {
    let told = format!("{NEW}:120:current,{ID}:99:start:told");
    let lineage = format!("{:?}", Event::Lineage(Lineage::parse(told.as_bytes()).unwrap()));
    let going = format!("Continue {{ replid: Some(ReplId({NEW})) }}");
    let (sent, steps) = ([PING, &handshake(), &psync()], [lineage.as_str(), &going, "connected"]);
    check(&hello(), &format!("+PONG|+OK|+OK|+OK|${}|{told}|+CONTINUE {NEW}|", told.len()), &sent, &steps);
    check(&hello(), &format!("+PONG|+OK|+OK|+OK|+{told}|+CONTINUE {NEW}|"), &sent, &steps);
    let odd = "Note(\"The MASTER's lineage is not understood (a replid is not 40 hex digits): OK\")";
    check(&hello(), "+PONG|+OK|+OK|+OK|+OK|", &sent, &[odd, "handshake"]);
    let empty = "Note(\"The MASTER's lineage is not understood (a replid is not 40 hex digits): \")";
    check(&hello(), "+PONG|+OK|+OK|+OK|$0|||", &sent, &[empty, "handshake"]);
}

#[test]
fn the_question_may_change_after_the_lineage() {
    let mut link = Link::new(hello(), 0);
    let told = format!("+PONG\r\n+OK\r\n+OK\r\n+OK\r\n+{NEW}:120:current\r\n");
    let mut input = told.as_bytes();
    assert!(matches!(link.handle_input(&mut input, 0), Some(Event::Lineage(_))));
    link.set_ask(Ask { replid: ReplId::parse(NEW.as_bytes()), at: Offset(120) });
    let mut sent = Vec::new();
    link.poll_send(&mut sent);
    assert!(words(&sent).ends_with(&format!("> PSYNC {NEW} 121")), "{sent:?}");
}

#[test]
fn who_we_are() {
    let mut all = hello();
    (all.user, all.password) = (Some(b"bob".to_vec()), Some(b"secret".to_vec()));
    (all.ip, all.lineage, all.failover) = (Some("10.0.0.1".into()), None, true);
    let greeting = "> AUTH bob secret > REPLCONF listening-port 6380 > REPLCONF ip-address 10.0.0.1 > REPLCONF capa eof capa psync2 > REPLCONF version 7.2.4";
    let going = format!("> PSYNC {ID} 100 FAILOVER");
    check(
        &all,
        "-NOAUTH Authentication required.|+OK|+OK|+OK|+OK|+OK|",
        &[PING, greeting, &going],
        &["handshake"],
    );
    check(
        &all,
        "+PONG|-WRONGPASS no|+OK|",
        &[PING, greeting],
        &["Failed(\"Unable to AUTH to MASTER: -WRONGPASS no\")", "connect"],
    );
    (all.user, all.ip) = (None, None);
    all.ask = Ask { replid: None, at: Offset(5) };
    all.failover = false;
    let greeting = "> AUTH secret > REPLCONF listening-port 6380 > REPLCONF capa eof capa psync2 > REPLCONF version 7.2.4";
    for pong in ["-NOPERM x", "-MISCONF its disk fails"] {
        let input = format!("{pong}|+OK|+OK|+OK|+OK|");
        check(&all, &input, &[PING, greeting, "> PSYNC ? -1"], &["handshake"]);
    }
    let nothing = format!("+PONG|+OK|+OK|+OK|+OK|+CONTINUE {NEW}|");
    let failed = format!("Failed(\"Master replied with an unexpected '+CONTINUE {NEW}'\")");
    check(&all, &nothing, &[PING, greeting, "> PSYNC ? -1"], &[&failed, "connect"]);
}

#[test]
fn verdicts_that_end_the_link() {
    let check_verdict = |verdict: &str, expected: &str| {
        let input = format!("+PONG|+OK|+OK|+OK|-ERR|{verdict}|*1|$4|PING|");
        check(&hello(), &input, &[PING, &handshake(), &psync()], &[expected, "connect"]);
    };
    check_verdict("-LOADING later", "Refused { why: \"LOADING later\" }");
    check_verdict("|-NOMASTERLINK you hold more", "Refused { why: \"NOMASTERLINK you hold more\" }");
    for line in ["-ERR unknown command", "-NOAUTH x", "-MASTERDOWN x", "+WAT", "hello", ":1"] {
        check_verdict(line, &format!("Failed(\"Unexpected reply to PSYNC from master: {line}\")"));
    }
    for line in [
        "+FULLRESYNC",
        "+FULLRESYNC ",
        "+FULLRESYNC x 1",
        &format!("+FULLRESYNC {ID}"),
        &format!("+FULLRESYNC {ID} -1"),
        &format!("+FULLRESYNC {ID} 9223372036854775807"),
    ] {
        check_verdict(line, &format!("Failed(\"Master replied with wrong +FULLRESYNC syntax: '{line}'\")"));
    }
    for line in ["+CONTINUE x".to_string(), format!("+CONTINUE {ID} 4000"), format!("+CONTINUED {ID}")] {
        check_verdict(&line, &format!("Failed(\"Master replied with an unexpected '{line}'\")"));
    }
}

#[test]
fn other_answers_that_end_the_link() {
    check(
        &hello(),
        "-DENIED go away|",
        &[PING],
        &["Failed(\"Error reply to PING from master: '-DENIED go away'\")", "connect"],
    );
    let steps = handshake();
    let check_lineage = |answer: &str, expected: &str| {
        let input = format!("+PONG|+OK|+OK|+OK|{answer}|+OK|");
        check(&hello(), &input, &[PING, &steps], &[&format!("Failed(\"{expected}\")"), "connect"]);
    };
    check_lineage("$-1", "Bad length of the MASTER's lineage: '$-1'");
    check_lineage("$99999999", "Bad length of the MASTER's lineage: '$99999999'");
    check_lineage("$3|ab", "The MASTER's lineage has not the length it says");
    let check_header = |header: &str, expected: &str| {
        let input = format!("+PONG|+OK|+OK|+OK|-ERR|+FULLRESYNC {ID} 1|{header}|*1|");
        let did = run(&hello(), input.replace('|', "\r\n").as_bytes(), &[3]);
        assert_eq!(did[2..], [format!("Failed(\"{expected}\")"), "connect".into()], "{header}");
    };
    check_header("-ERR no disk", "MASTER aborted replication with an error: ERR no disk");
    check_header("$-5", "Bad length of the payload from MASTER: '$-5'");
    check_header("$EOF:123", "Bad end mark of the payload from MASTER: '$EOF:123'");
    check_header(
        "REDIS0011",
        "Bad protocol from MASTER, the first byte is not '$' (we received 'REDIS0011'), are you sure the host and port are right?",
    );
}

#[test]
fn sync_only_if_allowed() {
    let mut hello = hello();
    hello.allow_sync = true;
    let input = "+PONG|+OK|+OK|+OK|-ERR|-ERR unknown command|\n$2|ab";
    let why = "Sync { why: \"Unexpected reply to PSYNC from master: -ERR unknown command\" }";
    let did = run(&hello, input.replace('|', "\r\n").as_bytes(), &[1]);
    assert!(did[0].ends_with("100 SYNC > REPLCONF ACK 7"), "an inline command: {did:?}");
    assert_eq!(did[1..], [why, "PayloadSize(Some(2))", "payload ab", "connected"]);
}

#[test]
fn a_line_without_end_is_bounded() {
    for start in ["", "+PONG|", "+PONG|+OK|+OK|+OK|-ERR|", "+PONG|+OK|+OK|+OK|-ERR|+FULLRESYNC ID 1|"] {
        let mut input = start.replace('|', "\r\n").replace("ID", ID).into_bytes();
        input.resize(input.len() + MAX_LINE + 1, b'x');
        for size in [1000, usize::MAX] {
            let did = run(&hello(), &input, &[size]);
            let last = &did[did.len() - 2..];
            assert_eq!(last, ["Failed(\"The MASTER's answer is a line that does not end\")", "connect"]);
        }
    }
}

#[test]
fn acks_and_signs_of_life() {
    let mut link = Link::new(hello(), 1000);
    let mut sent = Vec::new();
    link.poll_send(&mut sent);
    link.ack(Offset(1), None);
    link.keep_alive();
    assert!(link.out.is_empty(), "nothing before it is due");
    assert_eq!(link.timed_out(61_000, 60_000), None);
    assert_eq!(link.timed_out(61_001, 60_000), Some("Timeout connecting to the MASTER..."));
    let text = format!("+PONG\r\n+OK\r\n+OK\r\n+OK\r\n-ERR\r\n+FULLRESYNC {ID} 9\r\n$1\r\nx");
    let mut input = text.as_bytes();
    while link.handle_input(&mut input, 5000).is_some() {}
    assert_eq!((link.last_io_ms(), link.state_name()), (5000, "sync"));
    sent.clear();
    link.poll_send(&mut sent);
    link.keep_alive();
    assert_eq!(link.out, b"\n");
    assert_eq!(link.timed_out(i64::MAX, 1), None, "while it loads nothing can come");
    let mut rest = b"*1\r\n".as_slice();
    assert_eq!(link.handle_input(&mut rest, 6000), None);
    assert_eq!(rest.len(), 4, "what follows the payload stays with the caller");
    link.loaded(Offset(9), Some(Offset(8)), 0);
    sent.clear();
    link.poll_send(&mut sent);
    assert_eq!(sent[0], b'\n');
    assert_eq!(words(&sent[1..]), "> REPLCONF ACK 9 FACK 8");
    assert!(link.is_online() && !link.is_ended());
    assert_eq!(link.timed_out(70_000, 60_000), Some("MASTER timeout: no data nor PING received..."));
}

proptest! {
    /// Any bytes, preferring words that mean something, in any pieces: no panic, the same events.
    #[test]
    fn any_input_in_any_pieces(words in prop::collection::vec(prop_oneof![
            Just("+OK\r\n".to_string()), Just("+PONG\r\n".into()), Just("-ERR x\r\n".into()), Just("\n".into()),
            Just(format!("+FULLRESYNC {ID} 5\r\n")), Just(format!("+CONTINUE {NEW}\r\n")), Just("$3\r\n".into()),
            Just(format!("$EOF:{MARKED}\r\n")), Just(MARKED.to_string()), Just(MARKED[..25].to_string()),
            Just("-LOADING\r\n".into()), "[ -~\r\n$]{0,12}",
        ], 0..16), healthy: bool, sizes in prop::collection::vec(1usize..50, 1..8)) {
        let start = if healthy { "+PONG\r\n+OK\r\n+OK\r\n+OK\r\n-ERR\r\n" } else { "" };
        let input = format!("{start}{}", words.concat()).into_bytes();
        prop_assert_eq!(run(&hello(), &input, &[]), run(&hello(), &input, &sizes));
    }
}

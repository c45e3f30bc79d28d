//! A bench for command tests: a store, a server and one client, without the node around them.
//!
//! `run("SET k v")` splits at blanks, executes the row and returns the reply's RESP text with `\r\n` shown as a
//! blank; effects are kept in `effects`. Time stands still until `now` is moved.

use super::{Ctx, Effect, Outcome, find};
use crate::config::SetContext;
use crate::error::ReplyError;
use crate::resp::args::OwnedArgs;
use crate::resp::reply::{Protocol, Reply};
use crate::state::session::Slot;
use crate::state::{Server, Session};
use crate::store::{Expiry, Limits, Store};

pub struct Bench {
    pub store: Store,
    pub server: Server,
    pub slot: Slot,
    pub now: i64,
    pub proto: Protocol,
    /// What entered the stream, as text, in order.
    pub effects: Vec<String>,
    pub last: Option<Outcome>,
}

impl Default for Bench {
    fn default() -> Bench {
        let mut server = Server::for_tests();
        let id = server.sessions.next_id();
        let slot = server.sessions.add(Session::new(id, "127.0.0.1:1".into(), "127.0.0.1:2".into(), 0));
        Bench {
            store: Store::new(16),
            server,
            slot,
            now: 1_700_000_000_000,
            proto: Protocol::Resp2,
            effects: Vec::new(),
            last: None,
        }
    }
}

impl Bench {
    /// Runs one command given as words; the reply with CRLF shown as blanks.
    pub fn run(&mut self, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').filter(|w| !w.is_empty()).map(str::as_bytes).collect();
        let reply = self.run_args(&words);
        String::from_utf8_lossy(&reply).replace("\r\n", " ").trim_end().to_string()
    }

    /// Runs one command given as exact arguments; the raw reply.
    pub fn run_args(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let owned = OwnedArgs::from_slices(words);
        let args = owned.as_args();
        let mut out = Vec::new();
        self.server.redacted.clear();
        self.server.now_micros = self.now * 1000;
        let proto = self.session().proto.max(self.proto);
        let command = match find(words[0]) {
            Some(row) => words.get(1).and_then(|sub| row.subcommand(sub)).unwrap_or(row),
            None => panic!("no such command: {}", String::from_utf8_lossy(words[0])),
        };
        let result = if command.arity_fits(args.len()) {
            let db = self.server.sessions.get(self.slot).map_or(0, |session| session.db);
            let mut ctx = Ctx {
                db: self.store.db(db, self.now, Expiry::Delete, 0),
                out: Reply::new(&mut out, proto),
                server: &mut self.server,
                slot: self.slot,
                now: self.now,
                command,
                deny_blocking: false,
            };
            (command.run)(&mut ctx, args)
        } else {
            Err(ReplyError::wrong_arity(command.name))
        };
        for (_, key) in std::mem::take(&mut self.store.changes.expired) {
            self.effects.push(format!("DEL {}", String::from_utf8_lossy(&key)));
        }
        match &result {
            Err(error) => {
                assert!(out.is_empty(), "{}: wrote a reply and failed", command.name);
                Reply::new(&mut out, proto).error(error);
            }
            Ok(Outcome::Done(Effect::Verbatim) | Outcome::Both(Effect::Verbatim, _)) => {
                self.effects.push(text_of(&owned))
            }
            Ok(Outcome::Done(Effect::Rewrite(commands))) => self.effects.extend(commands.iter().map(text_of)),
            Ok(_) => {}
        }
        self.last = result.ok();
        out
    }

    /// The client that the next command comes from.
    pub fn session(&mut self) -> &mut Session {
        self.server.sessions.get_mut(self.slot).expect("connected")
    }

    /// One more client; the old one stays the one that speaks.
    pub fn connect(&mut self) -> Slot {
        let id = self.server.sessions.next_id();
        let addr = format!("127.0.0.1:{}", id.0);
        self.server.sessions.add(Session::new(id, addr, "127.0.0.1:2".into(), self.now))
    }

    /// CONFIG SET, as the node does it.
    pub fn set(&mut self, name: &str, value: &str) {
        let context = SetContext { local: true, loading: false };
        self.server.config.set(&[(name.as_bytes(), value.as_bytes())], context).expect("a good value");
        self.server.limits = Limits::from_settings(&self.server.config.settings);
        self.store.changes.notify = self.server.config.settings.notify_keyspace_events;
    }

    /// Asserts the reply.
    #[track_caller]
    pub fn check(&mut self, line: &str, expected: &str) {
        assert_eq!(self.run(line), expected, "{line}");
    }

    /// Takes and asserts what entered the stream since the last call.
    #[track_caller]
    pub fn check_effects(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.effects), expected);
    }
}

fn text_of(args: &OwnedArgs) -> String {
    let words: Vec<_> = args.as_args().iter().map(String::from_utf8_lossy).collect();
    words.join(" ")
}

/// A bench on which these lines got these replies.
#[track_caller]
pub fn steps(steps: &[(&str, &str)]) -> Bench {
    let mut bench = Bench::default();
    for (line, reply) in steps {
        bench.check(line, reply);
    }
    bench
}

//! A bench for the node: several clients, a clock that stands still until it is moved, no driver.
//!
//! `send` feeds a client's line (words split at blanks) and returns what that client gets, with CRLF shown as a
//! blank; `output` fetches what others got meanwhile. A client that blocks keeps its further lines unparsed, and
//! `output` lets it go on once it was woken, as the driver does.

use std::collections::BTreeMap;

use super::{Action, Input, Node};
use crate::config::SetContext;
use crate::resp::args::encode_command;
use crate::state::{Server, Session, Slot};
use crate::store::Store;

pub struct NodeBench {
    pub node: Node,
    /// Unix microseconds.
    pub clock: i64,
    inputs: BTreeMap<Slot, Input>,
}

impl Default for NodeBench {
    fn default() -> NodeBench {
        let clock = 1_700_000_000_000_000;
        let node = Node::new(Store::new(16), Server::for_tests(), clock / 1000);
        NodeBench { node, clock, inputs: BTreeMap::new() }
    }
}

impl NodeBench {
    pub fn connect(&mut self) -> Slot {
        let id = self.node.server.sessions.next_id();
        let addr = format!("127.0.0.1:{}", id.0);
        let now = self.clock / 1000;
        let session = Session::new(id, addr, "127.0.0.1:6379".into(), now);
        let slot = self.node.handle_connect(session, now).expect("room for a client");
        self.inputs.insert(slot, Input::default());
        slot
    }

    pub fn disconnect(&mut self, slot: Slot) {
        self.node.handle_disconnect(slot);
        self.inputs.remove(&slot);
    }

    /// Feeds a line of a client; what it gets.
    pub fn send(&mut self, slot: Slot, line: &str) -> String {
        self.send_all(slot, &[line])
    }

    /// Feeds lines at once, as a pipeline; what the client gets.
    pub fn send_all(&mut self, slot: Slot, lines: &[&str]) -> String {
        let mut bytes = Vec::new();
        for line in lines {
            let words = line.split(' ').filter(|word| !word.is_empty()).map(str::as_bytes);
            encode_command(words.collect::<Vec<_>>().into_iter(), &mut bytes);
        }
        if let Some(input) = self.inputs.get_mut(&slot) {
            input.push(&bytes);
        }
        self.output(slot)
    }

    /// Bytes of memory held for a client's input, after it gave back what it can.
    pub fn release_input(&mut self, slot: Slot) -> usize {
        let Some(input) = self.inputs.get_mut(&slot) else { return 0 };
        input.release();
        self.output(slot);
        self.node.server.sessions.get(slot).map_or(0, |session| session.query_buffer)
    }

    /// What a client got since, after it went on as far as it can.
    pub fn output(&mut self, slot: Slot) -> String {
        if let Some(input) = self.inputs.get_mut(&slot) {
            self.node.handle_input(slot, input, &mut self.clock);
        }
        let mut out = Vec::new();
        self.node.poll_output(slot, &mut out);
        String::from_utf8_lossy(&out).replace("\r\n", " ").trim_end().to_string()
    }

    #[track_caller]
    pub fn check(&mut self, slot: Slot, line: &str, expected: &str) {
        assert_eq!(self.send(slot, line), expected, "{line}");
    }

    #[track_caller]
    pub fn check_output(&mut self, slot: Slot, expected: &str) {
        assert_eq!(self.output(slot), expected);
    }

    /// What entered the stream since, as words; SELECT, which every test would have to repeat, left out.
    pub fn stream(&mut self) -> String {
        let bytes = self.node.poll_stream().map(|(bytes, _)| bytes.to_vec()).unwrap_or_default();
        self.node.stream_taken();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let words = text.split("\r\n").filter(|word| !word.is_empty() && !word.starts_with(['*', '$']));
        words.collect::<Vec<_>>().join(" ").replace("SELECT 0 ", "")
    }

    pub fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.node.poll_action()).collect()
    }

    /// Lets time pass, and then a tick.
    pub fn pass(&mut self, ms: i64) {
        self.clock += ms * 1000;
        self.node.handle_tick(&mut self.clock);
    }

    /// CONFIG SET without a driver.
    pub fn set(&mut self, name: &str, value: &str) {
        let context = SetContext { local: true, loading: false };
        self.node.server.config.set(&[(name.as_bytes(), value.as_bytes())], context).expect("a good value");
        self.node.settings_changed();
    }
}

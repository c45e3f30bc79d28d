//! Keys as the commands that make them again.
//!
//! | type | commands |
//! |---|---|
//! | string | SET |
//! | list, set, zset, hash | RPUSH, SADD, ZADD, HSET, in batches |
//! | stream | XADD for each entry, XSETID; XGROUP CREATE, XGROUP CREATECONSUMER, XCLAIM … JUSTID for each pending entry |
//! | any with a deadline | PEXPIREAT |
//! | a library of functions | FUNCTION LOAD |
//!
//! What is long is written as it comes: a field's command waits for its value, a sorted set's member, whose score stands before it, in a
//! [`Spool`]. A pending entry whose own entry was deleted is lost, as in a server's own rewrite: no command makes one.
//!
//! SELECT stands before the first key of each database. Values of modules and hashes whose fields have deadlines are
//! left out and counted. The commands
//! add to what is there: they are meant for an empty server.

use std::io::{Read as _, Write as _};

use super::{Sink, id_text};
use crate::format::packed::listpack::ListpackRef;
use crate::format::rdb::{LoadError, Piece, ValueType, stream};
use crate::inspect::keys::{Head, Row, Take};
use crate::inspect::spool::Spool;
use crate::inspect::value::{Role, Visitor};
use crate::inspect::{Failure, Result};

type Walked = std::result::Result<(), LoadError>;

/// Arguments that a command carries besides name and key; an even number.
pub const BATCH: usize = 128;
/// Bytes after which a batch ends.
const BATCH_BYTES: usize = 64 << 10;

/// How commands are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For `redis-cli --pipe`.
    Resp,
    /// A line each, quoted as `redis-cli` reads them.
    Lines,
}

pub struct Commands<'o> {
    sink: Sink<'o>,
    form: Form,
    /// Selected in what was written.
    db: Option<u64>,
    key: Vec<u8>,
    /// The command that adds elements.
    verb: &'static str,
    /// Elements that wait: their bytes, and where each ends.
    batch: Vec<u8>,
    ends: Vec<usize>,
    /// A long field was written, and its value comes next.
    open: bool,
    /// A long member, until its score comes.
    member: Spool,
    /// The last stream numbers and names.
    group: Vec<u8>,
    consumer: Vec<u8>,
    deliveries: Vec<(stream::Id, i64, u64)>,
    entries: u64,
    /// Values of modules, which no command makes, and hashes whose fields have deadlines.
    pub left_out: u64,
}

impl<'o> Commands<'o> {
    pub fn new(sink: Sink<'o>, form: Form) -> Commands<'o> {
        Commands {
            sink,
            form,
            db: None,
            key: Vec::new(),
            verb: "",
            batch: Vec::new(),
            ends: Vec::new(),
            open: false,
            member: Spool::new(BATCH_BYTES),
            group: Vec::new(),
            consumer: Vec::new(),
            deliveries: Vec::new(),
            entries: 0,
            left_out: 0,
        }
    }

    /// Writes what is still in memory. How many keys were left out.
    pub fn finish(mut self) -> Result<u64> {
        self.sink.flush().map_err(|error| self.sink.failed(error))?;
        Ok(self.left_out)
    }

    fn begin(&mut self, arguments: usize) {
        if self.form == Form::Resp {
            let mut digits = itoa::Buffer::new();
            self.sink.buffer.push(b'*');
            self.sink.buffer.extend_from_slice(digits.format(arguments).as_bytes());
            self.sink.buffer.extend_from_slice(b"\r\n");
        }
    }

    fn argument(&mut self, bytes: &[u8]) {
        put_head(&mut self.sink.buffer, self.form, bytes.len() as u64);
        put_bytes(&mut self.sink.buffer, self.form, bytes);
        put_tail(&mut self.sink.buffer, self.form);
    }

    fn end(&mut self) -> Walked {
        if self.form == Form::Lines {
            self.sink.buffer.pop();
            self.sink.buffer.push(b'\n');
        }
        self.sink.spill()
    }

    /// A whole command.
    fn command(&mut self, arguments: &[&[u8]]) -> Walked {
        self.begin(arguments.len());
        arguments.iter().for_each(|argument| self.argument(argument));
        self.end()
    }

    /// Writes the elements that wait.
    fn flush_batch(&mut self) -> Walked {
        if self.ends.is_empty() {
            return Ok(());
        }
        let (batch, ends, key) =
            (std::mem::take(&mut self.batch), std::mem::take(&mut self.ends), std::mem::take(&mut self.key));
        self.begin(2 + ends.len());
        self.argument(self.verb.as_bytes());
        self.argument(&key);
        let mut from = 0;
        for end in &ends {
            self.argument(&batch[from..*end]);
            from = *end;
        }
        (self.batch, self.ends, self.key) = (batch, ends, key);
        self.batch.clear();
        self.ends.clear();
        self.end()
    }

    fn wait(&mut self, bytes: &[u8]) {
        self.batch.extend_from_slice(bytes);
        self.ends.push(self.batch.len());
    }

    /// A long member of a sorted set goes aside.
    fn aside(&mut self, piece: Piece<'_>) -> Walked {
        if piece.is_first() {
            self.flush_batch()?;
            self.member.clear();
        }
        self.member.put(piece.bytes);
        Ok(())
    }

    /// The member that went aside, with its score.
    fn long_member(&mut self, score: &[u8]) -> Walked {
        let mut member = std::mem::replace(&mut self.member, Spool::new(BATCH_BYTES));
        let key = std::mem::take(&mut self.key);
        self.begin(4);
        [self.verb.as_bytes(), &key, score].iter().for_each(|argument| self.argument(argument));
        self.key = key;
        put_head(&mut self.sink.buffer, self.form, member.len());
        member.check().map_err(|failure| self.sink.stop(failure))?;
        let (mut reader, mut piece) = (member.reader(), vec![0; BATCH_BYTES]);
        loop {
            let got = reader.read(&mut piece).map_err(|error| self.sink.stop(Failure::Output(error)))?;
            if got == 0 {
                break;
            }
            put_bytes(&mut self.sink.buffer, self.form, &piece[..got]);
            self.sink.spill()?;
        }
        put_tail(&mut self.sink.buffer, self.form);
        self.end()
    }

    /// A long field, and the value of one.
    fn pair(&mut self, role: Role, piece: Piece<'_>) -> Walked {
        if role == Role::Field && piece.is_first() {
            self.flush_batch()?;
            let key = std::mem::take(&mut self.key);
            self.begin(4);
            self.argument(self.verb.as_bytes());
            self.argument(&key);
            self.key = key;
            self.open = true;
        }
        if piece.is_first() {
            put_head(&mut self.sink.buffer, self.form, piece.len);
        }
        put_bytes(&mut self.sink.buffer, self.form, piece.bytes);
        if piece.is_last() {
            put_tail(&mut self.sink.buffer, self.form);
        }
        if piece.is_last() && role == Role::Value {
            self.open = false;
            return self.end();
        }
        self.sink.spill()
    }

    /// A string too long to wait: the command is written around it as it comes. What waits is its field, if it is a
    /// hash's value.
    fn long(&mut self, role: Role, piece: Piece<'_>) -> Walked {
        if piece.is_first() {
            let field = if role == Role::Value { self.ends.len().checked_sub(1) } else { None };
            let field = field.map(|last| {
                let from = if last > 0 { self.ends[last - 1] } else { 0 };
                let field = self.batch.split_off(from);
                self.ends.pop();
                field
            });
            self.flush_batch()?;
            self.begin(3 + usize::from(field.is_some()));
            self.argument(self.verb.as_bytes());
            let key = std::mem::take(&mut self.key);
            self.argument(&key);
            self.key = key;
            if let Some(field) = field {
                self.argument(&field);
            }
            put_head(&mut self.sink.buffer, self.form, piece.len);
        }
        put_bytes(&mut self.sink.buffer, self.form, piece.bytes);
        if piece.is_last() {
            put_tail(&mut self.sink.buffer, self.form);
            return self.end();
        }
        self.sink.spill()
    }
}

fn put_head(out: &mut Vec<u8>, form: Form, len: u64) {
    match form {
        Form::Resp => {
            out.push(b'$');
            out.extend_from_slice(itoa::Buffer::new().format(len).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Form::Lines => out.push(b'"'),
    }
}

fn put_bytes(out: &mut Vec<u8>, form: Form, bytes: &[u8]) {
    if form == Form::Resp {
        return out.extend_from_slice(bytes);
    }
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b' '..=b'~' => out.push(*byte),
            _ => {
                // Writing to memory cannot fail.
                let _infallible = write!(out, "\\x{byte:02x}");
            }
        }
    }
}

fn put_tail(out: &mut Vec<u8>, form: Form) {
    out.extend_from_slice(if form == Form::Resp { b"\r\n" } else { b"\" " });
}

impl Visitor for Commands<'_> {
    #[inline]
    fn piece(&mut self, role: Role, piece: Piece<'_>) -> Walked {
        let is_long = piece.len > BATCH_BYTES as u64;
        match role {
            Role::Value if self.open => return self.pair(role, piece),
            Role::Field if is_long => return self.pair(role, piece),
            Role::Member if is_long && self.verb == "ZADD" => return self.aside(piece),
            _ if is_long => return self.long(role, piece),
            _ => {}
        }
        if !piece.is_first() {
            // Pieces of a short text: all of it was to come at once.
            self.batch.extend_from_slice(piece.bytes);
            if let Some(end) = self.ends.last_mut() {
                *end = self.batch.len();
            }
            return Ok(());
        }
        let begins = role != Role::Value;
        if begins && (self.ends.len() >= BATCH || self.batch.len() >= BATCH_BYTES) {
            self.flush_batch()?;
        }
        self.wait(piece.bytes);
        Ok(())
    }

    fn score(&mut self, score: f64) -> Walked {
        let mut text = Vec::new();
        crate::resp::number::format_f64(score, &mut text);
        if !self.member.is_empty() {
            return self.long_member(&text);
        }
        // The score stands before its member.
        let last = self.ends.len() - 1;
        let from = if last > 0 { self.ends[last - 1] } else { 0 };
        let len = self.batch.len() - from;
        self.batch.extend_from_slice(&text);
        self.batch[from..].rotate_left(len);
        self.ends[last] = from + text.len();
        self.ends.push(self.batch.len());
        Ok(())
    }
}

impl stream::Visit for Commands<'_> {
    fn block(&mut self, first: stream::Id, block: ListpackRef<'_>) -> Walked {
        let mut digits = itoa::Buffer::new();
        let mut spilled = Ok(());
        let key = std::mem::take(&mut self.key);
        let whole = stream::block_entries(first, block, &mut |(ms, seq), fields| {
            self.entries += 1;
            self.begin(3 + 2 * fields.len());
            self.argument(b"XADD");
            self.argument(&key);
            self.argument(format!("{ms}-{seq}").as_bytes());
            for (field, value) in fields {
                self.argument(field.bytes(&mut digits));
                self.argument(value.bytes(&mut digits));
            }
            let ended = self.end();
            if spilled.is_ok() {
                spilled = ended;
            }
        });
        self.key = key;
        // The block was checked before it was shown.
        debug_assert!(whole.is_some());
        spilled
    }

    fn tail(&mut self, numbers: &[u64]) -> Walked {
        let [_, ms, seq, rest @ ..] = numbers else { return Ok(()) };
        let key = std::mem::take(&mut self.key);
        if self.entries == 0 {
            // A stream without entries exists by adding one and taking it away.
            let id = if (*ms, *seq) == (0, 0) { "0-1".to_string() } else { format!("{ms}-{seq}") };
            self.command(&[b"XADD", &key, b"MAXLEN", b"0", id.as_bytes(), b"x", b"y"])?;
        }
        let last = format!("{ms}-{seq}");
        let mut arguments: Vec<&[u8]> = vec![b"XSETID", &key, last.as_bytes()];
        let more = match rest {
            [_, _, deleted_ms, deleted_seq, added] => {
                Some((added.to_string(), format!("{deleted_ms}-{deleted_seq}")))
            }
            _ => None,
        };
        if let Some((added, deleted)) = &more {
            arguments.extend([b"ENTRIESADDED" as &[u8], added.as_bytes()]);
            arguments.extend([b"MAXDELETEDID" as &[u8], deleted.as_bytes()]);
        }
        let done = self.command(&arguments);
        self.key = key;
        done
    }

    fn group(&mut self, name: &[u8], numbers: &[u64]) -> Walked {
        let [ms, seq, rest @ ..] = numbers else { return Ok(()) };
        self.group = name.to_vec();
        self.deliveries.clear();
        let key = std::mem::take(&mut self.key);
        let id = format!("{ms}-{seq}");
        let read = rest.first().map(|read| (*read as i64).to_string());
        let mut arguments: Vec<&[u8]> = vec![b"XGROUP", b"CREATE", &key, name, id.as_bytes()];
        if let Some(read) = &read {
            arguments.extend([b"ENTRIESREAD" as &[u8], read.as_bytes()]);
        }
        let done = self.command(&arguments);
        self.key = key;
        done
    }

    fn pending(&mut self, id: stream::Id, time: i64, deliveries: u64) -> Walked {
        self.deliveries.push((id, time, deliveries));
        Ok(())
    }

    fn consumer(&mut self, name: &[u8]) -> Walked {
        self.consumer = name.to_vec();
        let (key, group) = (std::mem::take(&mut self.key), std::mem::take(&mut self.group));
        let done = self.command(&[b"XGROUP", b"CREATECONSUMER", &key, &group, name]);
        (self.key, self.group) = (key, group);
        done
    }

    fn owned(&mut self, id: stream::Id) -> Walked {
        let Ok(found) = self.deliveries.binary_search_by_key(&id, |(id, _, _)| *id) else { return Ok(()) };
        let (_, time, deliveries) = self.deliveries[found];
        let (id, time, deliveries) = (id_text(id), time.to_string(), deliveries.to_string());
        let (key, group) = (std::mem::take(&mut self.key), std::mem::take(&mut self.group));
        let consumer = std::mem::take(&mut self.consumer);
        let done = self.command(&[
            b"XCLAIM",
            &key,
            &group,
            &consumer,
            b"0",
            id.as_bytes(),
            b"TIME",
            time.as_bytes(),
            b"RETRYCOUNT",
            deliveries.as_bytes(),
            b"FORCE",
            b"JUSTID",
        ]);
        (self.key, self.group, self.consumer) = (key, group, consumer);
        done
    }
}

impl Take for Commands<'_> {
    fn key(&mut self, head: &Head<'_>) -> Result<bool> {
        // Their fields' deadlines would be lost.
        let mortal = matches!(
            head.kind,
            ValueType::HashDeadlines | ValueType::HashMetadata | ValueType::HashListpackEx
        );
        let verb = match head.type_word() {
            _ if mortal => {
                self.left_out += 1;
                return Ok(false);
            }
            "string" => "SET",
            "list" => "RPUSH",
            "set" => "SADD",
            "zset" => "ZADD",
            "hash" => "HSET",
            "stream" => "XADD",
            _ => {
                self.left_out += 1;
                return Ok(false);
            }
        };
        self.verb = verb;
        self.entries = 0;
        if self.db != Some(head.db) {
            self.db = Some(head.db);
            let db = head.db.to_string();
            self.command(&[b"SELECT", db.as_bytes()]).map_err(|error| self.sink.failed(error))?;
        }
        self.key.clear();
        self.key.extend_from_slice(head.key);
        Ok(true)
    }

    fn row(&mut self, row: &Row<'_>) -> Result<bool> {
        let mut done = self.flush_batch();
        if let (Ok(()), Some(expires)) = (&done, row.head.attributes.expires) {
            let at = expires.to_string();
            done = self.command(&[b"PEXPIREAT", row.head.key, at.as_bytes()]);
        }
        done.map_err(|error| self.sink.failed(error))?;
        Ok(true)
    }

    fn function(&mut self, code: &[u8]) -> Result<()> {
        self.command(&[b"FUNCTION", b"LOAD", code]).map_err(|error| self.sink.failed(error))
    }

    fn failure(&mut self) -> Option<Failure> {
        self.sink.take_failure()
    }
}

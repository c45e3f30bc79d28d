//! One client's task: read, execute, write.
//!
//! ```text
//!   wait ──readable──► read into input ──► driver.feed ──► output ──► write ─┐
//!    ▲ └─woken (push, unblocked, durable)──────▲                             │
//!    └────────────────────────────────────────────────────────────◄─────────┘
//! ```
//!
//! A request that arrives whole costs one read and one write. Output that the socket does not take waits here; a
//! client that reads too slowly is cut off by `client-output-buffer-limit`, one that sends an endless line or
//! argument by `client-query-buffer-limit` (as in Redis, whole arguments no longer count).

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use super::driver::{Driver, INPUT_KEPT, Wake};
use super::socket::Socket;
use crate::commands::OUTPUT_JUDGED;
use crate::engine::Input;
use crate::state::Slot;

/// What one read asks for, and how much of a claimed length is believed at a time.
const READ: usize = 16 * 1024;
const READ_MOST: usize = 1 << 20;

struct Connection {
    driver: Rc<Driver>,
    socket: Rc<Socket>,
    slot: Slot,
    wake: Rc<Wake>,
    input: Input,
    out: Vec<u8>,
    written: usize,
    /// At least so many bytes are missing for the next command; 0 while the client does not run.
    need: usize,
    close_when_written: bool,
}

/// Serves a client until either side closes.
pub async fn serve(driver: Rc<Driver>, socket: Socket, slot: Slot, wake: Rc<Wake>) {
    let socket = Rc::new(socket);
    wake.set_socket(Rc::clone(&socket));
    let mut connection = Connection {
        driver,
        socket,
        slot,
        wake,
        input: Input::default(),
        out: Vec::new(),
        written: 0,
        need: 1,
        close_when_written: false,
    };
    while connection.turn().await.is_ok() {}
    connection.driver.disconnect(slot);
}

/// The connection is over.
struct Over;

/// What ended a wait.
#[derive(Default)]
struct Ready {
    readable: bool,
    woken: bool,
}

impl Connection {
    async fn turn(&mut self) -> Result<(), Over> {
        let ready = self.wait().await?;
        if self.wake.is_closed() {
            return Err(Over);
        }
        let fresh = ready.readable && self.read()?;
        // Most wakes only bring output: a reply that waited for the log, a push.
        let mut go_on = fresh || ready.woken && (self.need == 0 || !self.input.is_empty());
        if !fresh && self.driver.is_idle(self.slot) {
            self.input.release();
            go_on = true;
        }
        if go_on {
            self.need = self.driver.feed(self.slot, &mut self.input);
            // Judged once parsed: one read may bring several arguments. What a client that does not run has sent is
            // bounded by `wait`.
            if self.need > 0 && self.driver.query_too_long(self.slot, self.input.unread()) {
                return Err(Over);
            }
        }
        self.collect();
        self.write()
    }

    /// Until there is something to do. A client with much unread output or input is not read from.
    async fn wait(&mut self) -> Result<Ready, Over> {
        // A command is received to its end, however long it is: `query_too_long` is its limit.
        let wants_read = !self.close_when_written && (self.need > 0 || self.input.len() < INPUT_KEPT);
        let wants_write = self.written < self.out.len();
        poll_fn(|cx| {
            let mut ready = Ready { woken: self.wake.take(cx), ..Ready::default() };
            if wants_read {
                match self.socket.poll_readable(cx) {
                    Poll::Ready(Ok(())) => ready.readable = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Over)),
                    Poll::Pending => {}
                }
            }
            let mut writable = false;
            if wants_write {
                match self.socket.poll_writable(cx) {
                    Poll::Ready(Ok(())) => writable = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Over)),
                    Poll::Pending => {}
                }
            }
            if ready.readable || ready.woken || writable { Poll::Ready(Ok(ready)) } else { Poll::Pending }
        })
        .await
    }

    /// `true` if bytes came.
    fn read(&mut self) -> Result<bool, Over> {
        let buf = self.input.reserve(self.need.clamp(READ, READ_MOST));
        match self.socket.read(buf) {
            Ok(0) => Err(Over),
            Ok(n) => {
                self.driver.count_input(self.slot, n);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(_) => Err(Over),
        }
    }

    /// Takes what the node has for this client.
    fn collect(&mut self) {
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
            if self.out.capacity() > READ_MOST {
                self.out = Vec::new();
            }
        }
        if self.written > READ_MOST && self.written * 2 > self.out.len() {
            // A client that never catches up must not keep what it has read.
            self.out.drain(..std::mem::take(&mut self.written));
        }
        self.close_when_written |= self.driver.output(self.slot, &mut self.out);
    }

    /// Writes what the socket takes. Output above the limits is not even begun: which part of it fits into the
    /// system's buffers would be chance.
    fn write(&mut self) -> Result<(), Over> {
        let waiting = self.out.len() - self.written;
        if waiting > OUTPUT_JUDGED && self.driver.output_too_long(self.slot, waiting) {
            return Err(Over);
        }
        while self.written < self.out.len() {
            match self.socket.write(&self.out[self.written..]) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Err(Over),
            }
        }
        let left = self.out.len() - self.written;
        if left == 0 && self.close_when_written || self.driver.output_too_long(self.slot, left) {
            return Err(Over);
        }
        Ok(())
    }
}

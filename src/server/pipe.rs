//! A connection without a socket: two ends in memory, and between them whatever a simulated network makes of it.
//!
//! What one end writes is *under way* until the network delivers it: as much as it likes, when it likes, or never. So
//! a piece may end anywhere, one direction may stand still while the other flows, and an end may go without the other
//! learning of it (a machine without power, a cable that is cut). An end that is dropped closes: the other reads what is
//! under way, and then the end; what reaches a dropped end is answered by a reset.
//!
//! Who connects waits in a queue of this thread ([`connect`], [`take_dials`]) until the network answers.
//! Only for a stage ([`crate::log::hands`]): no server ever makes one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;

use crate::log::hands;

/// So many bytes may be under way or unread before the sender has to wait.
const WINDOW: usize = 64 * 1024;

/// One direction.
#[derive(Default)]
struct Way {
    under_way: VecDeque<u8>,
    arrived: VecDeque<u8>,
    /// The sender has closed, and the reader knows it.
    closed: bool,
    close_arrived: bool,
    /// There is no reader any more.
    unread: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Way {
    fn room(&self) -> usize {
        WINDOW.saturating_sub(self.under_way.len() + self.arrived.len())
    }

    fn wake_both(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

#[derive(Default)]
struct Shared {
    /// By the side that sends.
    ways: [Way; 2],
    /// The side has been told that the connection is no more.
    reset: [bool; 2],
    /// The side went without a word.
    vanished: [bool; 2],
}

/// One end.
pub struct Pipe {
    shared: Rc<RefCell<Shared>>,
    side: usize,
}

/// What lies between: the network's hold on a connection. Side 0 is who connected.
pub struct Wire {
    shared: Rc<RefCell<Shared>>,
}

/// The two ends of a new connection.
pub fn pair() -> (Pipe, Pipe, Wire) {
    let shared = Rc::<RefCell<Shared>>::default();
    let end = |side| Pipe { shared: Rc::clone(&shared), side };
    (end(0), end(1), Wire { shared: Rc::clone(&shared) })
}

fn was_reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl Pipe {
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.shared.borrow_mut();
        let reset = shared.reset[self.side];
        let way = &mut shared.ways[1 - self.side];
        if reset || way.close_arrived || !way.arrived.is_empty() {
            return Poll::Ready(Ok(()));
        }
        way.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.shared.borrow_mut();
        let reset = shared.reset[self.side];
        let way = &mut shared.ways[self.side];
        if reset || way.room() > 0 {
            return Poll::Ready(Ok(()));
        }
        way.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// As [`super::socket::Socket::read`].
    pub fn read(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        let mut shared = self.shared.borrow_mut();
        let reset = shared.reset[self.side];
        let way = &mut shared.ways[1 - self.side];
        let n = way.arrived.len().min(buf.capacity() - buf.len());
        if n == 0 {
            return match (reset, way.close_arrived) {
                (true, _) => Err(was_reset()),
                (false, true) => Ok(0),
                (false, false) => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        buf.extend(way.arrived.drain(..n));
        way.writer.take().into_iter().for_each(Waker::wake);
        Ok(n)
    }

    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut shared = self.shared.borrow_mut();
        if shared.reset[self.side] {
            return Err(was_reset());
        }
        let way = &mut shared.ways[self.side];
        let n = bytes.len().min(way.room());
        if n == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        way.under_way.extend(&bytes[..n]);
        Ok(n)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut shared = self.shared.borrow_mut();
        let told = !shared.vanished[self.side];
        shared.ways[1 - self.side].unread = true;
        shared.ways[self.side].closed |= told;
    }
}

impl Wire {
    /// Bytes that `side` has sent and the other has not got.
    pub fn under_way(&self, side: usize) -> usize {
        self.shared.borrow().ways[side].under_way.len()
    }

    /// There is something for the network to do in this direction.
    pub fn is_busy(&self, side: usize) -> bool {
        let shared = self.shared.borrow();
        let way = &shared.ways[side];
        !way.under_way.is_empty() || way.closed && !way.close_arrived
    }

    /// Up to `most` bytes of what `side` has sent arrive, and behind the last of them that it has closed. What arrived, for
    /// who listens in.
    pub fn deliver(&self, side: usize, most: usize) -> Vec<u8> {
        let mut shared = self.shared.borrow_mut();
        let knows_no_connection = shared.reset[1 - side];
        let way = &mut shared.ways[side];
        let n = most.min(way.under_way.len());
        let bytes: Vec<u8> = way.under_way.drain(..n).collect();
        if way.unread || knows_no_connection {
            // Nobody is there.
            way.close_arrived |= way.closed;
            way.under_way.clear();
            drop(shared);
            self.reset(side);
            return Vec::new();
        }
        way.arrived.extend(&bytes);
        way.close_arrived |= way.closed && way.under_way.is_empty();
        way.reader.take().into_iter().for_each(Waker::wake);
        bytes
    }

    /// `side` learns that the connection is no more; what was under way to it is lost.
    pub fn reset(&self, side: usize) {
        let mut shared = self.shared.borrow_mut();
        shared.reset[side] = true;
        shared.ways[1 - side].under_way.clear();
        shared.ways.iter_mut().for_each(Way::wake_both);
    }

    /// Of what `side` has sent and the other has not got, only the first `keep` bytes will arrive.
    pub fn take_back(&self, side: usize, keep: usize) {
        self.shared.borrow_mut().ways[side].under_way.truncate(keep);
    }

    /// `side` will go without a word.
    pub fn vanish(&self, side: usize) {
        self.shared.borrow_mut().vanished[side] = true;
    }

    /// `side` has been dropped.
    pub fn is_gone(&self, side: usize) -> bool {
        self.shared.borrow().ways[1 - side].unread
    }
}

/// Somebody who wants to be connected.
pub struct Dial {
    /// The machine ([`hands::machine`]) that asks.
    pub from: usize,
    pub host: String,
    pub port: u16,
    answer: oneshot::Sender<io::Result<Pipe>>,
}

impl Dial {
    /// It has been given up.
    pub fn is_given_up(&self) -> bool {
        self.answer.is_closed()
    }

    pub fn answer(self, answer: io::Result<Pipe>) {
        let _given_up = self.answer.send(answer);
    }
}

thread_local! {
    static DIALS: RefCell<Vec<Dial>> = const { RefCell::new(Vec::new()) };
}

/// Waits for the simulated network's answer.
pub async fn connect(host: &str, port: u16) -> io::Result<Pipe> {
    let (answer, answered) = oneshot::channel();
    let dial = Dial { from: hands::machine(), host: host.into(), port, answer };
    DIALS.with_borrow_mut(|dials| dials.push(dial));
    answered.await.unwrap_or_else(|_| Err(io::ErrorKind::HostUnreachable.into()))
}

/// Those who wait, oldest first; the network answers them, now or later.
pub fn take_dials() -> Vec<Dial> {
    DIALS.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pipe: &Pipe) -> Result<String, io::ErrorKind> {
        let mut buf = Vec::with_capacity(16);
        let n = pipe.read(&mut buf).map_err(|error| error.kind())?;
        assert_eq!(n, buf.len());
        Ok(String::from_utf8(buf).unwrap())
    }

    #[test]
    fn bytes_arrive_when_the_network_says_so() {
        let (a, b, wire) = pair();
        assert_eq!(a.write(b"hello").unwrap(), 5);
        assert_eq!((wire.under_way(0), read(&b)), (5, Err(io::ErrorKind::WouldBlock)));
        assert_eq!(wire.deliver(0, 2), b"he");
        assert_eq!((read(&b), read(&b)), (Ok("he".into()), Err(io::ErrorKind::WouldBlock)));
        drop(a);
        assert_eq!((wire.deliver(0, 1), read(&b)), (b"l".to_vec(), Ok("l".into())));
        assert_eq!(
            (wire.deliver(0, 9), read(&b), read(&b)),
            (b"lo".to_vec(), Ok("lo".into()), Ok(String::new()))
        );
    }

    #[test]
    fn a_sender_waits_for_its_reader() {
        let (a, b, wire) = pair();
        let big = vec![b'x'; WINDOW + 1];
        assert_eq!(a.write(&big).unwrap(), WINDOW);
        assert_eq!(a.write(b"y").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        wire.deliver(0, WINDOW);
        assert_eq!(a.write(b"y").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!((read(&b).map(|text| text.len()), a.write(&big).unwrap()), (Ok(16), 16));
    }

    #[test]
    fn who_goes_is_missed_only_when_a_word_of_it_arrives() {
        let (a, b, wire) = pair();
        wire.vanish(1);
        drop(b);
        assert_eq!((wire.is_busy(1), read(&a)), (false, Err(io::ErrorKind::WouldBlock)));
        a.write(b"are you there").unwrap();
        assert_eq!(wire.deliver(0, 99), b"");
        assert_eq!(read(&a), Err(io::ErrorKind::ConnectionReset));
        assert_eq!(a.write(b"no").unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}

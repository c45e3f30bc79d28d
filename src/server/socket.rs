//! What bytes travel over: a TCP or a Unix socket, or a [`Pipe`] where the network is simulated.
//!
//! An enum and no trait object: each read and write of a client goes through here.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll};

use rustix::buffer::spare_capacity;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use super::pipe::Pipe;

pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Pipe(Pipe),
}

impl Socket {
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(socket) => socket.poll_read_ready(cx),
            Socket::Unix(socket) => socket.poll_read_ready(cx),
            Socket::Pipe(pipe) => pipe.poll_readable(cx),
        }
    }

    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(socket) => socket.poll_write_ready(cx),
            Socket::Unix(socket) => socket.poll_write_ready(cx),
            Socket::Pipe(pipe) => pipe.poll_writable(cx),
        }
    }

    pub async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_writable(cx)).await
    }

    /// Appends to `buf` what is there, at most its spare capacity.
    pub fn read(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => read_once(socket, buf, |read| socket.try_io(Interest::READABLE, read)),
            Socket::Unix(socket) => read_once(socket, buf, |read| socket.try_io(Interest::READABLE, read)),
            Socket::Pipe(pipe) => pipe.read(buf),
        }
    }

    /// Writes what the system takes now.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.try_write(bytes),
            Socket::Unix(socket) => socket.try_write(bytes),
            Socket::Pipe(pipe) => pipe.write(bytes),
        }
    }

    /// Appends to `buf`, which has room, what comes next; 0 at the end. Nothing is lost if it is given up while it waits.
    pub async fn receive(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            poll_fn(|cx| self.poll_readable(cx)).await?;
            match self.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Our end's address; empty if it has none.
    pub fn local_address(&self) -> String {
        match self {
            Socket::Tcp(socket) => socket.local_addr().map(|address| address.to_string()).unwrap_or_default(),
            Socket::Unix(_) | Socket::Pipe(_) => String::new(),
        }
    }

    /// Whether small pieces are sent at once, or wait to be sent together.
    pub fn hurry(&self, at_once: bool) {
        if let Socket::Tcp(socket) = self {
            let _latency_only = socket.set_nodelay(at_once);
        }
    }
}

/// One read. If it does not fill the room given, it took all there was, and `io` is told so: the readiness ends, and no
/// further read has to find out that there is nothing (`try_read_buf` would cost one such read for each request).
fn read_once(
    socket: impl AsFd,
    buf: &mut Vec<u8>,
    io: impl FnOnce(&mut dyn FnMut() -> io::Result<usize>) -> io::Result<usize>,
) -> io::Result<usize> {
    let room = buf.capacity() - buf.len();
    let mut taken = None;
    let outcome = io(&mut || {
        let n = rustix::io::read(&socket, spare_capacity(buf))?;
        taken = Some(n);
        if 0 < n && n < room { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(n) }
    });
    taken.map_or(outcome, Ok)
}

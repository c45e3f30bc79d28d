//! Listening sockets: TCP on every address of `bind`, and a Unix socket.
//!
//! `bind` addresses that begin with `-` may be missing on this machine. The backlog is `tcp-backlog`; addresses are
//! reused, so that a restart does not wait for old connections to fade.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};
use tokio::task::JoinHandle;

use super::connection::serve;
use super::driver::Driver;
use super::logging::warning;
use super::socket::Socket;
use crate::config::Settings;

/// The TCP sockets that accept clients.
#[derive(Default)]
pub struct Listeners(Vec<Listening>);

struct Listening {
    /// As asked for, so that CONFIG SET knows what stays.
    address: SocketAddr,
    socket: Rc<TcpListener>,
    /// `None` until clients are accepted.
    task: Option<JoinHandle<()>>,
}

impl Listeners {
    /// Opens every address of `bind` on `port`.
    pub fn open(settings: &Settings) -> Result<Listeners, String> {
        let mut listeners = Listeners::default();
        listeners.open_missing(settings).map_err(|error| error.to_string())?;
        Ok(listeners)
    }

    /// None was asked for, or none of those that may be missing is there.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Accepts clients on all sockets.
    pub fn accept(&mut self, driver: &Rc<Driver>) {
        for listening in self.0.iter_mut().filter(|listening| listening.task.is_none()) {
            let accept = accept_loop(Rc::clone(driver), Rc::clone(&listening.socket));
            listening.task = Some(tokio::task::spawn_local(accept));
        }
    }

    /// Listens where `settings` say instead. Sockets whose address stays are kept. The others are closed once the
    /// new ones are open, or before, if they stand in their way (`127.0.0.1` before `*` on the same port). On an
    /// error everything is as before.
    pub fn change(&mut self, settings: &Settings, before: &Settings) -> Result<(), String> {
        let stay: Vec<SocketAddr> = wanted(settings).filter_map(|(_, address)| address.ok()).collect();
        let stays = |listening: &Listening| stay.contains(&listening.address);
        let in_the_way =
            |listening: &Listening| !stays(listening) && listening.address.port() == settings.port;
        let mut opened = self.open_missing(settings);
        if opened.as_ref().is_err_and(is_taken) && self.0.iter().any(in_the_way) {
            self.close(in_the_way);
            opened = self.open_missing(settings);
        }
        match opened {
            Ok(()) => self.close(|listening| !stays(listening)),
            Err(_) => self.open_missing(before).map_err(|error| error.to_string())?,
        }
        opened.map_err(|error| error.to_string())
    }

    /// Opens what `settings` ask for and is not open; on an error, what was opened here is closed again.
    fn open_missing(&mut self, settings: &Settings) -> io::Result<()> {
        let had = self.0.len();
        for (word, address) in wanted(settings) {
            if address.as_ref().is_ok_and(|address| self.0.iter().any(|other| other.address == *address)) {
                continue;
            }
            match address.and_then(|address| Ok((address, listen(address, settings.tcp_backlog)?))) {
                Ok((address, socket)) => {
                    self.0.push(Listening { address, socket: Rc::new(socket), task: None });
                }
                Err(error) if word.starts_with('-') && is_missing_address(&error) => {}
                Err(error) => {
                    self.0.truncate(had);
                    return Err(refused(word, settings.port, &error));
                }
            }
        }
        Ok(())
    }

    fn close(&mut self, which: impl Fn(&Listening) -> bool) {
        self.0.extract_if(.., |listening| which(listening)).for_each(|listening| listening.close());
    }
}

impl Listening {
    /// Frees the address at once: the task that shares the socket is dropped only later.
    fn close(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        let _not_connected_is_no_failure = rustix::net::shutdown(&*self.socket, rustix::net::Shutdown::Both);
    }
}

fn refused(word: &str, port: u16, error: &io::Error) -> io::Error {
    let hint =
        if is_taken(error) { ": another process listens there; stop it or choose another port" } else { "" };
    warning!("Warning: Could not create server TCP listening socket {word}:{port}: {error}");
    io::Error::new(error.kind(), format!("Failed listening on port {port} (tcp), aborting. {error}{hint}"))
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

/// Each word of `bind` with its address.
fn wanted(settings: &Settings) -> impl Iterator<Item = (&str, io::Result<SocketAddr>)> {
    let words = settings.bind.iter().filter(|_| settings.port != 0);
    words.map(|word| (word.as_str(), resolve(word.strip_prefix('-').unwrap_or(word), settings.port)))
}

fn is_missing_address(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    match host {
        "*" => Ok(SocketAddr::from(([0, 0, 0, 0], port))),
        "::*" => Ok(SocketAddr::from((IpAddr::from([0u16; 8]), port))),
        host => (host, port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::AddrNotAvailable, "no such address")),
    }
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if address.is_ipv6() {
        // The wildcard of one family must leave the other's port free.
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

async fn accept_loop(driver: Rc<Driver>, listener: Rc<TcpListener>) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => welcome_tcp(&driver, socket, peer),
            Err(error) => {
                // Out of file descriptors, most likely: accepting again at once would spin.
                warning!("Accepting client connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn welcome_tcp(driver: &Rc<Driver>, socket: TcpStream, peer: SocketAddr) {
    let local = socket.local_addr().map(|address| address.to_string()).unwrap_or_default();
    // Failing to set an option costs latency or a late time-out, not the connection.
    let _latency_only = socket.set_nodelay(true);
    let keepalive = driver.node.borrow().config().settings.tcp_keepalive;
    if keepalive > 0 {
        let _late_only = set_keepalive(&socket, keepalive);
    }
    if let Some(refusal) = protected(driver, peer.ip()) {
        let _closing_anyway = socket.try_write(refusal.as_bytes());
        driver.node.borrow_mut().server.stats.connections_rejected += 1;
        return;
    }
    let fd = socket.as_raw_fd();
    match driver.connect(peer.to_string(), local, false, fd) {
        Ok((slot, wake)) => {
            tokio::task::spawn_local(serve(Rc::clone(driver), Socket::Tcp(socket), slot, wake));
        }
        Err(refusal) => {
            let _closing_anyway = socket.try_write(&refusal);
        }
    }
}

fn set_keepalive(socket: &TcpStream, seconds: u32) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, Duration::from_secs(seconds.into()))?;
    sockopt::set_tcp_keepintvl(socket, Duration::from_secs((seconds / 3).max(1).into()))?;
    sockopt::set_tcp_keepcnt(socket, 3)?;
    Ok(())
}

/// Protected mode: without a password, only this machine may connect.
fn protected(driver: &Driver, peer: IpAddr) -> Option<&'static str> {
    let node = driver.node.borrow();
    is_protected_from(&node.config().settings, peer).then_some(
        "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set \
         for the default user. Connect from the loopback interface, set 'requirepass', or disable protected \
         mode with 'protected-mode no' after making sure that the server is not reachable from outside.\r\n",
    )
}

fn is_protected_from(settings: &Settings, peer: IpAddr) -> bool {
    settings.protected_mode && settings.requirepass.get().is_none() && !peer.is_loopback()
}

/// Opens the Unix socket, replacing a stale one; a file that is no socket is somebody's, and stays.
pub fn bind_unix(path: &Path, mode: u32) -> Result<UnixListener, String> {
    let failed = |error: io::Error| format!("Failed opening Unix socket {}: {error}", path.display());
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path).map_err(failed)?,
        Ok(_) => return Err(failed(io::Error::other("there is a file that is not a socket; move it away"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    if mode != 0 {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).map_err(failed)?;
    }
    Ok(listener)
}

pub fn accept_unix(driver: &Rc<Driver>, listener: UnixListener, path: String) -> JoinHandle<()> {
    let driver = Rc::clone(driver);
    tokio::task::spawn_local(async move {
        loop {
            match listener.accept().await {
                Ok((socket, _)) => {
                    let fd = socket.as_raw_fd();
                    match driver.connect(format!("{path}:0"), format!("{path}:0"), true, fd) {
                        Ok((slot, wake)) => {
                            tokio::task::spawn_local(serve(
                                Rc::clone(&driver),
                                Socket::Unix(socket),
                                slot,
                                wake,
                            ));
                        }
                        Err(refusal) => {
                            let _closing_anyway = socket.try_write(&refusal);
                        }
                    }
                }
                Err(error) => {
                    warning!("Accepting client connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn protected_mode_is_about_strangers_without_a_password() {
        let check = |protected_mode: bool, password: &str, peer: &str, expected: bool| {
            let requirepass = Secret(password.into());
            let settings = Settings { protected_mode, requirepass, ..Settings::default() };
            let found = is_protected_from(&settings, peer.parse().unwrap());
            assert_eq!(found, expected, "{protected_mode} {password:?} {peer}");
        };
        for peer in ["192.0.2.7", "10.0.0.1", "2001:db8::1", "fe80::1"] {
            check(true, "", peer, true);
            check(true, "secret", peer, false);
            check(false, "", peer, false);
        }
        for peer in ["127.0.0.1", "127.1.2.3", "::1"] {
            check(true, "", peer, false);
        }
        assert!(Settings::default().protected_mode);
    }
}

//! Listening sockets: TCP on every address of `bind`, and a Unix socket.
//!
//! `bind` addresses that begin with `-` may be missing on this machine. The backlog is `tcp-backlog`; addresses are
//! reused, so that a restart does not wait for old connections to fade.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};
use tokio::task::JoinHandle;

use super::connection::{Socket, serve};
use super::driver::Driver;
use super::logging::warning;
use crate::config::Settings;

/// Opens every address of `bind` on `port`.
pub fn bind_tcp(settings: &Settings, port: u16) -> Result<Vec<TcpListener>, String> {
    if port == 0 {
        return Ok(Vec::new());
    }
    let mut listeners = Vec::new();
    for word in &settings.bind {
        let (optional, host) = match word.strip_prefix('-') {
            Some(host) => (true, host),
            None => (false, word.as_str()),
        };
        match listen(host, port, settings.tcp_backlog) {
            Ok(listener) => listeners.push(listener),
            Err(error) if optional && is_missing_address(&error) => {}
            Err(error) => {
                let taken = if error.kind() == io::ErrorKind::AddrInUse {
                    ": another process listens there; stop it or choose another port"
                } else {
                    ""
                };
                warning!("Warning: Could not create server TCP listening socket {host}:{port}: {error}");
                return Err(format!("Failed listening on port {port} (tcp), aborting. {error}{taken}"));
            }
        }
    }
    Ok(listeners)
}

fn is_missing_address(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
}

fn listen(host: &str, port: u16, backlog: u32) -> io::Result<TcpListener> {
    let address = match host {
        "*" => SocketAddr::from(([0, 0, 0, 0], port)),
        "::*" => SocketAddr::from((IpAddr::from([0u16; 8]), port)),
        host => (host, port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::AddrNotAvailable, "no such address"))?,
    };
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if address.is_ipv6() {
        // The wildcard of one family must leave the other's port free.
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Accepts on all `listeners` until the returned tasks are aborted.
pub fn accept_tcp(driver: &Rc<Driver>, listeners: Vec<TcpListener>) -> Vec<JoinHandle<()>> {
    let accept = |listener| tokio::task::spawn_local(accept_loop(Rc::clone(driver), listener));
    listeners.into_iter().map(accept).collect()
}

async fn accept_loop(driver: Rc<Driver>, listener: TcpListener) {
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
    let settings = &node.config().settings;
    let refuse = settings.protected_mode && settings.requirepass.get().is_none() && !peer.is_loopback();
    refuse.then_some(
        "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set \
         for the default user. Connect from the loopback interface, set 'requirepass', or disable protected \
         mode with 'protected-mode no' after making sure that the server is not reachable from outside.\r\n",
    )
}

/// Opens the Unix socket, replacing a stale one.
pub fn bind_unix(path: &Path, mode: u32) -> Result<UnixListener, String> {
    let failed = |error: io::Error| format!("Failed opening Unix socket {}: {error}", path.display());
    match std::fs::remove_file(path) {
        Ok(()) => {}
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

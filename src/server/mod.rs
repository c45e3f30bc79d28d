//! The server: the only part that knows sockets, threads and time.
//!
//! One thread runs a single-threaded runtime: a task per connection, a few for timers and background results, and
//! beside them the [`driver::Driver`], which owns the node, the ring and the hand-over to the log. Tasks borrow it
//! for the length of one batch and never across an await, so there are no locks on the data path. fsync, snapshot
//! encoding, file writing and freeing of large values happen on other threads, which report back through channels.
//!
//! | file | what |
//! |---|---|
//! | [`start`] | command line to running server: settings, log, directory, recovery, listeners |
//! | [`driver`] | one batch: node → ring → log → woken clients → actions |
//! | [`connection`] | one client's task |
//! | [`socket`], [`pipe`] | what its bytes travel over |
//! | [`listener`] | TCP and Unix sockets |
//! | [`actions`] | what the node asks for |
//! | [`settings`] | CONFIG SET and REWRITE where they reach beyond the node |
//! | [`persist`] | ring, log, recovery and snapshots as the driver sees them |
//! | [`snapshots`] | writing a snapshot on its own thread |
//! | [`recovery`] | from a data directory to a running history |
//! | [`reload`] | DEBUG RELOAD and its kin: changes outside the stream |
//! | [`garbage`] | freeing of large values |
//! | [`resize`] | another size for the ring while the server serves |
//! | [`switch`] | the log switched on and off while the server serves |
//! | [`shutdown`] | the way out |
//! | [`feed`] | the stream on its way to one replica |
//! | [`full_sync`] | one snapshot for all replicas that wait for one |
//! | [`upstream`] | following a primary: REPLICAOF, the connection, the stream |
//! | [`adopt`] | a full sync at the replica |
//! | [`logging`] | the server's own log |
//! | [`alloc`] | the counting allocator |
//! | [`clock`] | the time: the wall's, never back, never still |
//! | [`process`] | facts from the operating system, signals |

pub mod actions;
pub mod adopt;
pub mod alloc;
pub mod clock;
pub mod connection;
pub mod driver;
pub mod feed;
pub mod full_sync;
pub mod garbage;
mod listener;
pub mod logging;
pub mod persist;
pub mod pipe;
pub mod process;
pub mod promise;
pub mod recovery;
pub mod reload;
mod resize;
mod settings;
pub mod shutdown;
pub mod snapshots;
pub mod socket;
pub mod start;
mod switch;
pub mod upstream;

/// Runs the server with the arguments of its command line (without the program's name); returns the exit code.
pub fn run(args: Vec<std::ffi::OsString>) -> i32 {
    start::run(args)
}

//! The node: sessions, dispatch, effects, blocking, cron. Events in, actions out.
//!
//! [`Node`] is plain data. The driver (or a simulator, or a fuzzer, or the recovery that replays a log) feeds it
//! with `handle_*` and takes what follows with `poll_*`; no method reads a clock, a file or a socket.
//!
//! ```text
//!            handle_input ─► parse ─► dispatch (gates) ─► execute ─► effect ─► close unit ─► end += len
//! driver ──► handle_tick ──► expiry, save points, time-outs                        │
//!            handle_log  ──► written, durable ─► release held replies              ▼
//!            poll_stream ◄── bytes of whole units, to the ring and to the log
//!            poll_output ◄── reply bytes that may leave (with `always`: only up to what is durable)
//!            poll_action ◄── work that the core cannot do: save, rewrite, close, sleep, shut down
//! ```
//!
//! Always, after any `handle_*`: every effect so far is in the stream (`history.end` counts it) and no reply byte
//! is offered by `poll_output` whose `end` at production is not yet covered as the policy asks (rule 13).

mod accounting;
mod afterwork;
pub mod blocking;
pub mod cron;
pub mod dispatch;
pub mod execute;
mod failover;
mod farewell;
pub mod follow;
mod incoming;
pub mod input;
pub mod node;
pub mod replay;
pub mod replicas;
mod strays;
pub mod stream;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

pub use input::Input;
pub use node::{Action, Clock, Node};

//! Tests against real processes, one binary: our server, stock Redis as its peer, and the bytes between them.
//!
//! The server under test is this build's `ringhold`, or whatever `RINGHOLD_IT_SERVER` names (stock `redis-server`
//! shows what a test itself is worth). Every server runs in a temporary directory, on a free loopback port, and is
//! ended by its process id. A test that needs stock Redis is skipped where it is not installed, except under `CI`.

mod bad_input;
mod client;
mod clients;
mod compare;
mod conf;
mod crash;
mod disk_failing;
mod disk_full;
mod faults;
mod fill;
mod harness;
mod histories;
mod info;
mod inspect;
mod interop;
mod jobs;
mod linking;
mod marks;
mod names;
mod persistence;
mod position;
mod promise;
mod protocol;
mod rdb;
mod replication;
mod returning;
mod scenarios;
mod sentinel;
mod setting;
mod shutdown;
mod slow_disk;
mod starting;
mod stock;
mod switching;

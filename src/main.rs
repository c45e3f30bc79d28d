//! `ringhold`: the server binary.

use std::os::unix::ffi::OsStringExt;

#[global_allocator]
static ALLOCATOR: ringhold::server::alloc::Counting = ringhold::server::alloc::Counting;

fn main() {
    let args = std::env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    std::process::exit(ringhold::server::run(args));
}

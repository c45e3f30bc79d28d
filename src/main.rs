//! `ringhold`: the server binary.

#[global_allocator]
static ALLOCATOR: ringhold::server::alloc::Counting = ringhold::server::alloc::Counting;

fn main() {
    let args = std::env::args_os().skip(1).collect();
    std::process::exit(ringhold::server::run(args));
}

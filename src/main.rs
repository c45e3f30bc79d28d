//! `ringhold`: the server binary.

fn main() {}

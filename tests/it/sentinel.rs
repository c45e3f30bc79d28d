//! Stock Redis Sentinel over three servers of ours. The script plays it all; here the one row that matters most.

use crate::harness::{run, stock_tool, subject, subject_is_ours};
use std::ffi::OsStr;
use std::path::Path;

#[test]
fn sentinel_replaces_a_killed_primary_and_nobody_copies_everything() {
    if !subject_is_ours() || stock_tool("redis-server").is_none() {
        return;
    }
    let Some(python) = stock_tool("python3") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/sentinel");
    let server = subject();
    let args = [script.as_os_str(), OsStr::new("killed"), OsStr::new("--ours"), server.as_os_str()];
    let (code, said) = run(&python, &args);
    assert_eq!(code, Some(0), "{said}");
}

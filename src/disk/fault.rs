//! SIGBUS in a mapped file, reported as what it is: an I/O error that names the file (rule 29).
//!
//! A map turns a failing disk, a full one (where overwrites are not reserved) or a file cut from outside into a signal
//! whose default is to die without a word. The handler finds the map that holds the faulting address, writes one
//! line and ends the process with code 1, the code of every other failed disk; the next start recovers as after a crash.
//! A SIGBUS from anywhere else has its default action. Rejected: going on without the ring (a store in
//! mid-append cannot be skipped without losing its byte), and mapping another page in its place (the same, hidden).
//!
//! Always: the handler allocates nothing, takes no lock and calls only `readlink`, `open`, `writev`, `signal`, `raise` and
//! `_exit`, all async-signal-safe. The name is asked of the kernel then, as a file is mapped before it gets its last name. Registrations are a fixed table of
//! atomics, because a handler may interrupt any instruction of the thread that changes it.

use std::ffi::{CString, c_int, c_void};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Maps at one time: the ring, the one that will replace it, the one of a full sync; the rest is reserve. A map that finds
/// no slot is served like any other and dies without its name.
const SLOTS: usize = 16;
static MAPS: [Slot; SLOTS] = [const { Slot::new() }; SLOTS];

/// Where the log goes; null for standard output.
static LOG_FILE: AtomicPtr<CString> = AtomicPtr::new(null_mut());

/// `start` is 0 if the slot is free, [`CLAIMED`] while its owner fills it; all else counts only if it is an address.
struct Slot {
    start: AtomicUsize,
    len: AtomicUsize,
    file: AtomicPtr<Mapped>,
}

/// What the handler needs to name the file.
struct Mapped {
    /// Keeps [`Mapped::link`] good.
    _open: File,
    /// `/proc/self/fd/N`, which says the file's present name.
    link: CString,
    /// Its name when it was mapped.
    path: Vec<u8>,
}

/// No page begins here.
const CLAIMED: usize = 1;

impl Slot {
    const fn new() -> Slot {
        Slot { start: AtomicUsize::new(0), len: AtomicUsize::new(0), file: AtomicPtr::new(null_mut()) }
    }

    fn holds(&self, address: usize) -> bool {
        let start = self.start.load(Ordering::Acquire);
        let len = self.len.load(Ordering::Relaxed);
        // Read twice: another thread may have given the slot away in between.
        start > CLAIMED && address.wrapping_sub(start) < len && self.start.load(Ordering::Acquire) == start
    }
}

/// The name under which faults in a map are reported, as long as this lives. Belongs to the map's owner.
pub struct Registration {
    slot: Option<&'static Slot>,
}

impl Registration {
    /// `map` are bytes of `file`.
    pub fn new(map: &[u8], file: &File, path: &Path) -> io::Result<Registration> {
        let open = file.try_clone()?;
        let link = CString::new(format!("/proc/self/fd/{}", open.as_raw_fd()))?;
        let path = path.as_os_str().as_bytes().to_vec();
        let free = |slot: &&Slot| {
            slot.start.compare_exchange(0, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        let slot = MAPS.iter().find(free);
        if let Some(slot) = slot {
            let mapped = Box::new(Mapped { _open: open, link, path });
            slot.file.store(Box::into_raw(mapped), Ordering::Relaxed);
            slot.len.store(map.len(), Ordering::Relaxed);
            slot.start.store(map.as_ptr() as usize, Ordering::Release);
        }
        Ok(Registration { slot })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        slot.len.store(0, Ordering::Relaxed);
        let mapped = slot.file.swap(null_mut(), Ordering::Relaxed);
        // SAFETY: made by `Box::into_raw` in `new` and taken out once. A handler reads it only for a fault inside this
        // map, by a thread that borrows the map, whose owner drops this registration: not now.
        drop(unsafe { Box::from_raw(mapped) });
        slot.start.store(0, Ordering::Release);
    }
}

const BEFORE: &[u8] = b"ringhold: I/O error: the mapped file ";
const AFTER: &[u8] =
    b" cannot be reached (SIGBUS): its disk failed or is full, or the file was cut from outside; \
      ending at once, the next start recovers as after a crash\n";

/// Faults are also written to this log; `None`: to standard output. The name is kept for ever, as a handler may be reading
/// it: a few bytes each time the log moves.
pub fn log_to(file: Option<&Path>) {
    let name = file.and_then(|path| CString::new(path.as_os_str().as_bytes()).ok());
    LOG_FILE.store(name.map_or(null_mut(), |name| Box::into_raw(Box::new(name))), Ordering::Release);
}

/// From now on faults in registered maps are reported, by every thread of this process.
pub fn install() {
    // SAFETY: an all-zero `sigaction` is a valid value of that plain C structure; the handler has the three-argument
    // form that SA_SIGINFO asks for and keeps to what a handler may do. The call's failure (a bad signal number) is
    // impossible here and would leave the default action.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction =
            on_bus_error as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGBUS, &action, null_mut());
    }
}

extern "C" fn on_bus_error(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t`; `si_addr` is set where `si_code` is positive (sent by the kernel for
    // a fault, not by `kill`). What the slot points to is alive: see `Registration::drop`. All calls are async-signal-safe.
    unsafe {
        if (*info).si_code > 0 {
            let address = (*info).si_addr() as usize;
            if let Some(slot) = MAPS.iter().find(|slot| slot.holds(address)) {
                report(&*slot.file.load(Ordering::Relaxed));
                libc::_exit(1);
            }
        }
        libc::signal(libc::SIGBUS, libc::SIG_DFL);
        libc::raise(libc::SIGBUS); // blocked until this handler returns
    }
}

fn log_fd() -> c_int {
    let name = LOG_FILE.load(Ordering::Acquire);
    if name.is_null() {
        return libc::STDOUT_FILENO;
    }
    // SAFETY: made by `Box::into_raw` in `log_to` and never freed.
    unsafe { libc::open((*name).as_ptr(), libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT, 0o666) }
}

fn report(mapped: &Mapped) {
    let mut name = [0; libc::PATH_MAX as usize];
    // SAFETY: a C string, and a buffer with its length.
    let len = unsafe { libc::readlink(mapped.link.as_ptr(), name.as_mut_ptr().cast(), name.len()) };
    let name = usize::try_from(len).ok().and_then(|len| name.get(..len)).unwrap_or(&mapped.path);
    let parts = [BEFORE, name, AFTER]
        .map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
    for fd in [libc::STDERR_FILENO, log_fd()] {
        // SAFETY: each part is a slice's pointer and length, only read. A bad descriptor is an error that changes
        // nothing: a line that cannot be written is lost, as there is nobody left to tell.
        unsafe { libc::writev(fd, parts.as_ptr(), parts.len() as c_int) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_registered_maps_are_known() {
        let file = tempfile::tempfile().unwrap();
        let register = |map: &[u8]| Registration::new(map, &file, Path::new("ring")).unwrap();
        let known = |address: usize| MAPS.iter().any(|slot| slot.holds(address));
        let map = vec![0; 64];
        let start = map.as_ptr() as usize;
        let registration = register(&map);
        for (offset, expected) in [(-1, false), (0, true), (63, true), (64, false)] {
            assert_eq!(known(start.wrapping_add_signed(offset)), expected, "{offset}");
        }
        drop(registration);
        assert!(!known(start));
        // A full table leaves maps without a name.
        let maps: Vec<Vec<u8>> = (0..2 * SLOTS).map(|_| vec![0; 8]).collect();
        let all: Vec<Registration> = maps.iter().map(|map| register(map)).collect();
        assert!(all.iter().any(|registration| registration.slot.is_none()));
    }
}

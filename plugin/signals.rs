//! Threads that leave the broker's signals to the broker.

#![expect(unsafe_code, reason = "the signal mask is C's")]

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::thread::{Builder, JoinHandle};

/// Starts a thread that handles no signal: one that is delivered to it would not wake the broker's main loop.
pub(crate) fn spawn_without_signals(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let mut all = MaybeUninit::uninit();
    let mut old = MaybeUninit::uninit();
    // SAFETY: `sigfillset` initialises the set that it is given.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the first set is initialised, the second one is written. A new thread inherits the mask.
    let masked = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr()) } == 0;
    let thread = Builder::new().name(name.to_owned()).spawn(body);
    if masked {
        // SAFETY: the set was written by the call that succeeded.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), ptr::null_mut()) };
    }
    thread
}

//! Threads beside the broker's only one: they take none of its signals, yield the processor to it, and can wake it.

#![expect(unsafe_code, reason = "signals and priorities are C's")]

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Starts a thread that handles no signal, for one that is delivered to it would not wake the broker's main loop, and that
/// yields to the main loop where both want the same processor.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    /// Of 0, as the broker runs, to 19.
    const NICE: c_int = 10;
    let mut all = MaybeUninit::uninit();
    let mut old = MaybeUninit::uninit();
    // SAFETY: `sigfillset` initialises the set that it is given.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the first set is initialised, the second one is written. A new thread inherits the mask.
    let masked = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr()) } == 0;
    let thread = Builder::new().name(name.to_owned()).spawn(move || {
        // Linux lowers the calling thread alone. Where it does not, the thread works all the same.
        // SAFETY: the arguments are numbers.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
        body();
    });
    if masked {
        // SAFETY: the set was written by the call that succeeded.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), ptr::null_mut()) };
    }
    thread
}

/// Lets this thread run only where nothing else wants the processor, or the disk.
pub(crate) fn yield_to_all() {
    // SAFETY: has no pointers that C would write to.
    let parameters = unsafe { MaybeUninit::<libc::sched_param>::zeroed().assume_init() };
    // Where the system does not allow it, the thread works as before. musl has the function, which does nothing.
    // SAFETY: 0 is the calling thread, and the parameters outlive the call.
    unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_IDLE, &raw const parameters) };
}

/// Ends with a thread that was told to end. The broker's own end does not wait for a disk that hangs: a thread that takes too
/// long is left alone, and what it runs stays where it is.
pub(crate) fn join(thread: JoinHandle<()>) {
    const PATIENCE: Duration = Duration::from_secs(5);
    const LOOK: Duration = Duration::from_millis(1);
    let start = Instant::now();
    while !thread.is_finished() {
        if start.elapsed() > PATIENCE && keep_library() {
            return;
        }
        std::thread::sleep(LOOK);
    }
    // How it ended is nothing to anybody now.
    let _ = thread.join();
}

/// Keeps this library in memory although the broker unmaps it; whether that can be.
fn keep_library() -> bool {
    let mut found = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: any address may be asked about; what is found is written to the place given.
    if unsafe { libc::dladdr((keep_library as *const ()).cast(), found.as_mut_ptr()) } == 0 {
        return false;
    }
    // SAFETY: written by the call that succeeded; all of it may be zeros.
    let found = unsafe { found.assume_init() };
    if found.dli_fname.is_null() {
        return false;
    }
    // SAFETY: the loader's own name of this library, which is loaded already: nothing is run.
    let kept = unsafe { libc::dlopen(found.dli_fname, libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE) };
    !kept.is_null()
}

/// Gives memory back to the system that was freed: what reading a large policy takes for a while is much. It holds up every
/// other thread that allocates, so it is for the start, when the broker waits anyway.
pub(crate) fn give_memory_back() {
    // SAFETY: has no precondition.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}

/// The processor's time that this thread has taken.
pub(crate) fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the place given. Where there is no such clock, no time passes.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// Interrupts the wait of the broker's main loop, which then ticks (S26).
///
/// `SIGURG` is ignored by default and used by no broker. It gets a handler that does nothing while there is a waker, unless
/// something else in the process handles it. Linux never restarts `epoll_wait`, so `SA_RESTART` spares every other call.
#[derive(Debug)]
pub(crate) struct Waker(libc::pthread_t);

/// How many wakers there are: listeners may each load the plugin.
static WAKERS: Mutex<usize> = Mutex::new(0);

extern "C" fn nothing(_: c_int) {}

/// The handler as `sigaction` takes it.
fn handler() -> libc::sighandler_t {
    nothing as *const () as libc::sighandler_t
}

impl Waker {
    /// Wakes the thread that calls this. `None` where the signal is in other hands; the loop then ticks within 100 ms.
    pub(crate) fn of_this_thread() -> Option<Self> {
        let mut wakers = WAKERS.lock().unwrap_or_else(PoisonError::into_inner);
        if *wakers == 0 && !replace_handler(libc::SIG_DFL, handler()) {
            return None;
        }
        *wakers += 1;
        // SAFETY: has no precondition.
        Some(Self(unsafe { libc::pthread_self() }))
    }

    pub(crate) fn wake(&self) {
        // SAFETY: it is the broker's main thread, whose end is the process's.
        unsafe { libc::pthread_kill(self.0, libc::SIGURG) };
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        let mut wakers = WAKERS.lock().unwrap_or_else(PoisonError::into_inner);
        *wakers -= 1;
        if *wakers == 0 {
            replace_handler(handler(), libc::SIG_DFL);
        }
    }
}

/// Replaces one handler of `SIGURG` by another; leaves it alone, and tells so, where it is a third one.
fn replace_handler(old: libc::sighandler_t, new: libc::sighandler_t) -> bool {
    let mut current = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks for the present action, and writes it to the place given.
    if unsafe { libc::sigaction(libc::SIGURG, ptr::null(), current.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: written by the call that succeeded.
    let mut action = unsafe { current.assume_init() };
    if action.sa_sigaction != old {
        return false;
    }
    action.sa_sigaction = new;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the action is a handler that does nothing, or the default, with the mask that was in force.
    unsafe { libc::sigaction(libc::SIGURG, &raw const action, ptr::null_mut()) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handler_is_there_while_there_is_a_waker_and_never_replaces_another() {
        extern "C" fn another(_: c_int) {}
        let another = another as *const () as libc::sighandler_t;
        let first = Waker::of_this_thread().unwrap();
        let second = Waker::of_this_thread().unwrap();
        drop(first);
        second.wake();
        drop(second);
        assert!(replace_handler(libc::SIG_DFL, another), "the default was not restored");
        assert!(Waker::of_this_thread().is_none());
        assert!(replace_handler(another, libc::SIG_DFL));
    }
}

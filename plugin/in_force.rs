//! The policy in force: one load away for the broker's thread, which asks at every message, and safe for the others.
//!
//! Counting references or taking part in a scheme of hazard pointers would cost more than the decision. So the broker's
//! thread, which alone puts another policy in force, borrows the one that is there, and what it replaces while it borrows
//! is kept until it does not: it may, for the broker calls back into the plugin while that logs.

#![expect(unsafe_code, reason = "borrows across a swap, which no lifetime can tell")]

use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mqtt_acl_policy::Policy;

#[derive(Debug)]
pub(crate) struct InForce {
    /// The thread that made this: the broker's.
    main: libc::pthread_t,
    /// What `owned.current` points to.
    current: AtomicPtr<Policy>,
    /// How many borrows of the main thread there are. Only that thread looks at it.
    borrows: AtomicU32,
    owned: Mutex<Owned>,
}

#[derive(Debug)]
struct Owned {
    current: Arc<Policy>,
    /// Replaced while they were borrowed.
    replaced: Vec<Arc<Policy>>,
}

impl InForce {
    /// For the main thread to make.
    pub(crate) fn new(policy: Arc<Policy>) -> Self {
        Self {
            main: this_thread(),
            current: AtomicPtr::new(Arc::as_ptr(&policy).cast_mut()),
            borrows: AtomicU32::new(0),
            owned: Mutex::new(Owned { current: policy, replaced: Vec::new() }),
        }
    }

    /// Lets something look at the policy in force.
    #[inline]
    pub(crate) fn with<R>(&self, look: impl FnOnce(&Policy) -> R) -> R {
        if !self.is_main_thread() {
            return self.with_shared(look);
        }
        let _borrow = Borrow::of(&self.borrows);
        // SAFETY: made by `Arc::as_ptr`, and kept alive by `owned`: as the current one or, while there is a borrow of this
        // thread, which alone swaps, as a replaced one.
        look(unsafe { &*self.current.load(Ordering::Relaxed) })
    }

    /// Lets something look at the policy in force that does so in no time and calls nobody: on the main thread only.
    #[inline]
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&Policy) -> R) -> Option<R> {
        // SAFETY: as in `with`; nothing swaps while nothing else runs on this thread.
        self.is_main_thread().then(|| look(unsafe { &*self.current.load(Ordering::Relaxed) }))
    }

    #[cold]
    fn with_shared<R>(&self, look: impl FnOnce(&Policy) -> R) -> R {
        look(&self.share())
    }

    /// Whether this is the thread that made this.
    #[inline]
    pub(crate) fn is_main_thread(&self) -> bool {
        this_thread() == self.main
    }

    /// The policy in force, to keep.
    pub(crate) fn share(&self) -> Arc<Policy> {
        Arc::clone(&self.owned().current)
    }

    /// Puts a policy in force. For the main thread only. Returns those that nobody there looks at any more.
    pub(crate) fn swap(&self, policy: Arc<Policy>) -> Vec<Arc<Policy>> {
        let mut owned = self.owned();
        self.current.store(Arc::as_ptr(&policy).cast_mut(), Ordering::Relaxed);
        let old = std::mem::replace(&mut owned.current, policy);
        owned.replaced.push(old);
        if self.borrows.load(Ordering::Relaxed) == 0 && self.is_main_thread() {
            std::mem::take(&mut owned.replaced)
        } else {
            Vec::new()
        }
    }

    fn owned(&self) -> MutexGuard<'_, Owned> {
        // Nothing is called while it is held that could leave it half changed.
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One borrow. Loads and stores are enough where one thread does both.
struct Borrow<'b>(&'b AtomicU32);

impl<'b> Borrow<'b> {
    fn of(borrows: &'b AtomicU32) -> Self {
        borrows.store(borrows.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        Self(borrows)
    }
}

impl Drop for Borrow<'_> {
    fn drop(&mut self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
    }
}

#[inline]
fn this_thread() -> libc::pthread_t {
    // SAFETY: has no precondition.
    unsafe { libc::pthread_self() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(users: usize) -> Arc<Policy> {
        let users: String = (0..users).map(|number| format!("[users.u{number}]\n")).collect();
        Arc::new(mqtt_acl_policy::parse(&format!("version = 1\n{users}"), "p.toml").unwrap().policy)
    }

    fn users(in_force: &InForce) -> usize {
        in_force.with(|policy| policy.size().users)
    }

    #[test]
    fn what_is_replaced_while_it_is_looked_at_lives_on() {
        let in_force = InForce::new(policy(1));
        let first = Arc::downgrade(&in_force.share());
        in_force.with(|policy_of_outer| {
            assert!(in_force.swap(policy(2)).is_empty());
            assert_eq!((policy_of_outer.size().users, users(&in_force)), (1, 2));
            assert!(first.upgrade().is_some());
        });
        let freed = in_force.swap(policy(3));
        assert_eq!(freed.len(), 2);
        drop(freed);
        assert!(first.upgrade().is_none());
        assert_eq!(users(&in_force), 3);
    }

    #[test]
    fn a_panic_ends_a_borrow() {
        let in_force = InForce::new(policy(1));
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| in_force.with(|_| panic!("on purpose"))));
        assert!(caught.is_err());
        assert_eq!(in_force.swap(policy(2)).len(), 1);
    }

    #[test]
    fn other_threads_look_at_what_they_share() {
        let in_force = InForce::new(policy(1));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| (0..1000).all(|_| matches!(users(&in_force), 1 | 2)));
            drop(in_force.swap(policy(2)));
            assert!(reader.join().unwrap());
        });
    }
}

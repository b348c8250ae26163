//! What a large policy takes of memory, counted in bytes asked for, so that the machine's load decides nothing (S37).
#![expect(unsafe_code, reason = "an allocator that counts is one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use mqtt_acl_policy::{Failure, Loaded, parse};

#[path = "support/scale.rs"]
#[expect(dead_code, reason = "the other tests use all of it")]
mod scale;

use scale::Scale;

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn more(bytes: usize) {
    PEAK.fetch_max(NOW.fetch_add(bytes, Ordering::Relaxed) + bytes, Ordering::Relaxed);
}

// SAFETY: all is the system's allocator's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the memory came from `alloc` above with this layout.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        more(size);
        // SAFETY: the memory came from `alloc` above with this layout; the caller keeps to the rest.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reads a text; returns the policy, and what it takes and took at most, in bytes.
fn measure(text: &str) -> Result<(Loaded, usize, usize), Failure> {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let loaded = parse(text, "p.toml")?;
    let (now, peak) = (NOW.load(Ordering::Relaxed), PEAK.load(Ordering::Relaxed));
    Ok((loaded, now - before, peak - before))
}

/// One test, for the allocator counts for the whole program.
#[test]
fn s37_memory_goes_with_the_number_of_users_and_is_little() {
    // Of these numbers each fills the table of names by the same part.
    let counts = [12_500, 25_000, 50_000];
    let mut measured = Vec::new();
    for users in counts {
        let text = Scale::plain(users).text();
        let (first, size, peak) = measure(&text).unwrap();
        assert_eq!(first.policy.size().users, users);
        // The text itself is one of the two.
        assert!(peak <= text.len(), "{peak} bytes beside a text of {}", text.len());
        // A reload holds the policy before, and takes no more itself.
        let (second, again, peak_again) = measure(&text).unwrap();
        // Where users lie while they are read, chance decides, and so when there is to be more room.
        assert!(again.abs_diff(size) * 100 <= size && peak_again.abs_diff(peak) * 20 <= peak, "{again} {peak_again}");
        drop((first, second));
        println!("{users} users: {size} bytes, {peak} at most while loading a text of {}", text.len());
        measured.push([size, peak]);
    }
    for (number, tolerance) in [(0, 5), (1, 15)] {
        let growth = |after: usize| {
            (measured[after][number] - measured[after - 1][number]) / (counts[after] - counts[after - 1])
        };
        let (first, then) = (growth(1), growth(2));
        let is_close = first.abs_diff(then) * 100 <= first.min(then) * tolerance;
        assert!(is_close, "not in proportion: {first} {then}");
        assert!(number == 1 || then <= 100, "each further user takes {then} bytes");
        println!("each further user: {then} bytes{}", if number == 1 { " at most while loading" } else { "" });
    }
}

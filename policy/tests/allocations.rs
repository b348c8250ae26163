//! Decisions about messages take no memory from the heap, whatever is allowed or denied, however many rules fit.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write as _;

use mqtt_acl_policy::{Action, Client, Memo, Policy, parse};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: all of it is the system's allocator, asked as this one is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: by this function's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: by this function's contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many times memory was asked for.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

/// Devices, an operator with denies, rules that overlap, and one with many topics.
fn policy() -> Policy {
    let mut text = "version = 1\n\
        [roles.device]\npublish = [\"dt/demo/+/%u/#\", \"cmd/demo/+/%u/#\"]\nsubscribe = [\"cmd/demo/+/%u/#\"]\n\
        [roles.operator]\npublish = [\"#\"]\nsubscribe = [\"#\"]\n\
        deny = { publish = [\"plant/+/stop\"], subscribe = [\"+/secret/#\"] }\n\
        [roles.overlapping]\npublish = [\"a/+/+/b\", \"+/a/+/b\", \"+/+/a/b\", \"a/a/+/+\", \"+/%u/+/b\"]\n\
        [users.operator]\nroles = [\"operator\", \"overlapping\"]\nclient_id = [\"*\"]\n"
        .to_owned();
    text.push_str("[users.many]\npublish = [");
    (0..1000).for_each(|number| write!(text, "\"many/{number}/x\", ").unwrap());
    text.push_str("]\n");
    (0..100).for_each(|number| write!(text, "[users.dev{number:05}]\nroles = [\"device\"]\n").unwrap());
    parse(&text, "p.toml").unwrap_or_else(|failure| panic!("{failure:?}")).policy
}

#[test]
fn a_message_is_decided_without_the_heap() {
    let policy = policy();
    let memo = Memo::default();
    let names: Vec<String> = (0..101)
        .map(|number| format!("dev{number:05}"))
        .chain(["operator", "many", "nobody"].map(Into::into))
        .collect();
    let mut topics: Vec<String> =
        (0..50).map(|number| format!("dt/demo/{number}/dev{:05}/senml", number % 7)).collect();
    topics.extend(
        ["plant/1/stop", "x/secret/y", "$SYS/x", "a/a/a/b", "a/a/a/c", "many/17/x", "many/17/y", "/"].map(Into::into),
    );
    topics.extend([vec!["a"; 200].join("/"), "x".repeat(65_535), "/".repeat(200)]);
    let (mut allowed, mut decided) = (0_u64, 0_u64);
    let ids = ["", "-1", "auto", "/x"];
    let full: Vec<(String, String)> =
        names.iter().flat_map(|name| ids.map(|id| (name.clone(), format!("{name}{id}")))).collect();
    let count = allocations(|| {
        for (user, id) in &full {
            let client = Client { user: Some(user.as_bytes()), id: id.as_bytes() };
            for topic in &topics {
                for action in [Action::Publish(topic.as_bytes()), Action::Receive(topic.as_bytes())] {
                    let is_allowed = policy.authorize(&client, action).is_allow();
                    if is_allowed {
                        memo.note(&policy, &client, action);
                    }
                    assert!(is_allowed || !memo.knows(&policy, &client, action));
                    allowed += u64::from(is_allowed);
                    decided += 1;
                }
            }
        }
    });
    assert_eq!(count, 0, "{decided} decisions");
    assert!(allowed > 300 && decided - allowed > 300, "{allowed} of {decided}");
}

#[test]
fn a_subscription_of_usual_depth_is_decided_without_the_heap() {
    let policy = policy();
    let mut allowed = 0;
    let count = allocations(|| {
        for (user, filter) in [
            ("dev00001", "cmd/demo/+/dev00001/#"),
            ("dev00001", "cmd/demo/1/dev00001/a/b/c/d/e/f"),
            ("dev00001", "#"),
            ("operator", "#"),
            ("operator", "plant/+/+"),
            ("operator", "$share/g/plant/#"),
            ("many", "many/+/x"),
            ("nobody", "a"),
        ] {
            let client = Client { user: Some(user.as_bytes()), id: user.as_bytes() };
            allowed += u32::from(policy.authorize(&client, Action::Subscribe(filter.as_bytes())).is_allow());
        }
    });
    assert_eq!(count, 0);
    assert_eq!(allowed, 2, "denies meet all that the operator asks for");
}

//! Pool and protocol machine together with a model server, a model driver and callers, through random schedules on a
//! virtual clock: slow, refused, cut at any byte, cancelled, timed out, released twice, released dirty, ended.
//!
//! After every step: the limit holds, each waiter is answered exactly once and in turn, every connection is in exactly
//! one place, none is handed over busy or dirty but to a query that may share it, and no query waits that might; no
//! result reaches another query; no cancel hits another statement than the one it means, or a one-shot that was in
//! flight behind that, which is then asked again; no statement is named where that is not allowed, or means another text
//! than it says, and one that fails because of its name is repeated, without having run. At the end all is answered and
//! closed.
//!
//! `cargo test` runs 10,000 schedules; `HEYS_SCHEDULES=1000000 cargo test -p heys-core --test simulation -- schedules`
//! any number, from seed `HEYS_FIRST` (0) on. A failure prints the command that replays it with all its events.
#![allow(clippy::unwrap_used)]

mod book;
mod caller;
mod driver;
mod names;
mod rng;
mod sabotage;
mod server;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use sabotage::Sabotage;
use world::World;

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
    )
}

/// Runs one schedule; what it saw.
fn run(seed: u64, sabotage: Sabotage, tracing: bool) -> BTreeMap<&'static str, u64> {
    let mut world = World::new(seed, sabotage, tracing);
    world.run();
    world.book.seen
}

#[test]
fn schedules_keep_all_invariants() {
    let first = from_env("HEYS_FIRST").unwrap_or(0);
    let end = first + from_env("HEYS_SCHEDULES").unwrap_or(10_000);
    let next = AtomicU64::new(first);
    let seen = Mutex::new(BTreeMap::<&str, u64>::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(|| {
                let mut mine = BTreeMap::<&str, u64>::new();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let Ok(saw) = catch_unwind(AssertUnwindSafe(|| run(seed, Sabotage::None, false))) else {
                        next.store(end, Ordering::Relaxed);
                        panic!(
                            "schedule {seed} failed; replay it with\n  \
                             HEYS_SEED={seed} cargo test -p heys-core --test simulation -- replay --nocapture"
                        );
                    };
                    saw.into_iter()
                        .for_each(|(what, n)| *mine.entry(what).or_default() += n);
                }
                let mut seen = seen.lock().unwrap();
                mine.into_iter()
                    .for_each(|(what, n)| *seen.entry(what).or_default() += n);
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    println!("{} schedules: {seen:?}", end - first);
    if end - first >= 1_000 {
        let wanted = [
            "answer",
            "asked again",
            "bound to a name",
            "cancel hit the question",
            "cancel at a head with followers",
            "cancel hit",
            "cancel hit a follower",
            "cancel hit before BindComplete",
            "close",
            "connect",
            "connect error",
            "connect stops sharing",
            "cut",
            "deliver",
            "early release",
            "evicted and closed",
            "expired",
            "follower",
            "give up",
            "idle",
            "lost",
            "named and failed",
            "named follower cancelled",
            "named query cancelled",
            "names given up for a command",
            "names given up for a setting",
            "pid asked",
            "pooler noticed",
            "probe",
            "query failed",
            "query timeout",
            "repeated after 0A000",
            "repeated after 26000",
            "repeated after 42P05",
            "repeated behind others",
            "repeated in place",
            "repeated through the pool",
            "repeated while followers are in flight",
            "reset",
            "second release",
            "several names",
            "suspend",
            "timeout",
        ];
        for what in wanted {
            assert!(seen.contains_key(what), "no schedule saw: {what}");
        }
    }
}

/// The replay of one schedule, with all its events on standard output.
#[test]
fn replay() {
    run(from_env("HEYS_SEED").unwrap_or(0), Sabotage::None, true);
}

#[test]
fn the_same_seed_gives_the_same_schedule() {
    for seed in 0..20 {
        assert_eq!(run(seed, Sabotage::None, false), run(seed, Sabotage::None, false));
    }
}

#[test]
fn every_sabotage_is_seen() {
    let hook = std::panic::take_hook();
    let expected = thread::current().id();
    std::panic::set_hook(Box::new(move |panic| {
        if thread::current().id() != expected {
            hook(panic);
        }
    }));
    let unseen: Vec<_> = Sabotage::ALL
        .into_iter()
        .filter(|&sabotage| {
            let seen = (0..2_000).find_map(|seed| Some((seed, catch_unwind(|| run(seed, sabotage, false)).err()?)));
            if let Some((seed, panic)) = &seen {
                let text = panic.downcast_ref::<String>().map_or("", |text| text);
                println!("{sabotage:?} is seen by schedule {seed}: {text}");
            }
            seen.is_none()
        })
        .collect();
    drop(std::panic::take_hook());
    assert!(unseen.is_empty(), "no schedule sees {unseen:?}");
}

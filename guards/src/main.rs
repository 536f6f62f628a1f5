//! Runs typical inputs through the hot rooms of core, for `scripts/test-guards.mjs` to count their instructions.
//!
//! The rooms are compiled here a second time, from their own sources: they know neither sockets nor a runtime nor the
//! SDK of a store, so that the optimised program is there in seconds, which a release link of the whole is not
//! (`profile.dev.package.heys-guards`). A room that begins to need another one fails to compile here.
//!
//! One line per scenario goes to standard output, in the order in which they ran: its name, and how often it ran inside
//! [`measured`], which is what callgrind counts.
#![forbid(unsafe_code)]
// The rooms are made for more than what is run here.
#![allow(dead_code, unreachable_pub, unused_imports)]

#[path = "../../core/src/error.rs"]
mod error;
#[path = "../../core/src/pool/mod.rs"]
mod pool;
#[path = "../../core/src/proto/mod.rs"]
mod proto;
#[path = "../../core/src/rows/mod.rs"]
mod rows;
#[path = "../../core/src/sqlstate.rs"]
mod sqlstate;
#[path = "../../core/src/statements/mod.rs"]
mod statements;

#[path = "../../core/tests/proto/messages.rs"]
mod messages;
mod scenarios;

use error::{Error, Result};
use scenarios::Work;

/// Runs before it is counted: buffers have their size then, and what is named has its name.
const WARM_UP: u32 = 8;

fn main() {
    for scenario in scenarios::ALL {
        let mut work = (scenario.prepare)();
        for _ in 0..WARM_UP {
            work();
        }
        let made = measured(scenario.runs, &mut *work);
        assert_eq!(made, scenario.runs as usize * scenario.makes, "{}", scenario.name);
        println!("{} {}", scenario.name, scenario.runs);
    }
}

/// Callgrind counts from its first instruction to its last (`--toggle-collect`) and writes the count down then
/// (`--dump-after`).
#[inline(never)]
fn measured(runs: u32, work: &mut Work) -> usize {
    (0..runs).map(|_| work()).sum()
}

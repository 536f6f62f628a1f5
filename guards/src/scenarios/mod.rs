//! What is counted: inputs as they are typical, the shapes of the tables of `npm run bench` among them.
//!
//! Two things are left out. TLS: nearly all of its instructions are OpenSSL's, which picks its code by the processor.
//! Connecting: SCRAM's thousands of hashes would hide all else.
#![allow(clippy::unwrap_used)]

mod exchange;
mod pools;
mod protocol;
mod reading;

/// One pass through a scenario; answers how much it made of its input.
pub(crate) type Work = dyn FnMut() -> usize;

/// A scenario under the name that it has in `counts.json`.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// How often it runs while it is counted: buffers that are filled by many runs and renewed then count in part.
    pub(crate) runs: u32,
    /// What each run must answer: a scenario that has come to do something else is not counted.
    pub(crate) makes: usize,
    pub(crate) prepare: fn() -> Box<Work>,
}

const fn scenario(name: &'static str, runs: u32, makes: usize, prepare: fn() -> Box<Work>) -> Scenario {
    Scenario {
        name,
        runs,
        makes,
        prepare,
    }
}

/// In the order in which they run.
pub(crate) const ALL: [Scenario; 13] = [
    scenario("protocol: select by key, unnamed, 1 × 3", 500, 3, protocol::unnamed),
    scenario(
        "protocol: select by key, bound to its name, 1 × 3",
        500,
        3,
        protocol::bound,
    ),
    scenario("protocol: simple query, 1 × 3", 500, 3, protocol::simple),
    scenario("protocol: insert with 8 parameters", 500, 1, protocol::insert),
    scenario("rows: 100 × 5", 50, 500, reading::list),
    scenario("rows: 100 × 5, not ASCII", 50, 500, reading::list_beyond_ascii),
    scenario(
        "rows: 100 × 5, two of them numbers",
        50,
        700,
        reading::list_with_numbers,
    ),
    scenario("rows: 10,000 × 10", 1, 100_000, reading::table),
    scenario("rows: the description of 10 columns", 200, 10, reading::description),
    scenario("statements: traits of a SELECT", 200, 2, reading::traits),
    scenario("pool: acquire and release", 500, 1, pools::acquire),
    scenario("pool: acquire_query and release", 500, 1, pools::acquire_query),
    scenario("pool: 64 queries over 3 connections", 20, 64, pools::crowd),
];

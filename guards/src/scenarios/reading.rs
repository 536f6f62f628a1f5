//! Results of many rows into batches, and what is read once: descriptions and texts.

use super::Work;
use super::exchange::Exchange;
use crate::messages::{columns, complete, ready, row};
use crate::proto::RowSink;
use crate::rows::{self, Batch, CellKind};
use crate::statements::Traits;

const LIST: &str = "SELECT id, name, score, active, at FROM bench_list WHERE list = $1 ORDER BY id";

const LIST_COLUMNS: [(&str, u32); 5] = [("id", 23), ("name", 25), ("score", 701), ("active", 16), ("at", 1184)];

const TABLE_COLUMNS: [(&str, u32); 10] = [
    ("id", 23),
    ("count", 23),
    ("even", 16),
    ("name", 25),
    ("hash", 25),
    ("third", 701),
    ("big", 20),
    ("at", 1184),
    ("note", 25),
    ("percent", 23),
];

/// int4 and bool become numbers in a batch.
fn kinds(columns: &[(&str, u32)]) -> Vec<CellKind> {
    let kind = |&(_, oid): &(&str, u32)| match oid {
        23 => CellKind::Int,
        16 => CellKind::Bool,
        _ => CellKind::Text,
    };
    columns.iter().map(kind).collect()
}

fn truth(value: bool) -> String {
    if value { "t" } else { "f" }.to_owned()
}

fn hour(n: u32) -> String {
    format!("2025-01-{:02} {:02}:00:00+00", 1 + n / 24 % 28, n % 24)
}

/// Reads the reply to a Query.
fn result(columns_: &[(&str, u32)], rows: impl Iterator<Item = Vec<Option<String>>>) -> Box<Work> {
    let mut reply = columns(columns_);
    for cells in rows {
        let cells: Vec<_> = cells.iter().map(|cell| cell.as_deref().map(str::as_bytes)).collect();
        reply.extend(row(&cells));
    }
    reply.extend([complete("SELECT 1"), ready(b'I')].concat());
    let kinds = kinds(columns_);
    let mut exchange = Exchange::new();
    Box::new(move || {
        exchange.wire.query(LIST).unwrap();
        exchange.round_trip(&reply, &kinds)
    })
}

fn list_named(name: &'static str) -> Box<Work> {
    let cells = move |n: u32| {
        vec![
            Some(n.to_string()),
            Some(format!("{name} {n}")),
            Some((f64::from(n) / 4.0).to_string()),
            Some(truth(n.is_multiple_of(2))),
            Some(hour(n)),
        ]
    };
    result(&LIST_COLUMNS, (1..=100).map(cells))
}

pub(super) fn list() -> Box<Work> {
    list_named("name")
}

/// Its batch goes to JavaScript in UTF-16.
pub(super) fn list_beyond_ascii() -> Box<Work> {
    list_named("имя")
}

/// The same columns of a named statement, two of them numbers of eight bytes.
pub(super) fn list_with_numbers() -> Box<Work> {
    use CellKind::*;
    let bodies: Vec<_> = (1..=100u32)
        .map(|n| {
            let cells = [n.to_string(), format!("name {n}"), truth(n.is_multiple_of(2))];
            let [id, name, active] = cells.each_ref().map(|cell| Some(cell.as_bytes()));
            let score = (f64::from(n) / 4.0).to_be_bytes();
            let at = (i64::from(n) * 3_600_000_000).to_be_bytes();
            row(&[id, name, Some(&score), active, Some(&at)]).split_off(5)
        })
        .collect();
    let mut batch = Batch::default();
    batch.start(&[Int, Text, Float8, High, Bool, Timestamptz, High]);
    Box::new(move || {
        for body in &bodies {
            batch.row(body);
        }
        let cells = batch.packed().cells.len();
        batch.clear();
        cells
    })
}

pub(super) fn table() -> Box<Work> {
    let cells = |n: u32| {
        let note = (!n.is_multiple_of(10)).then(|| format!("note {n}"));
        vec![
            Some(n.to_string()),
            Some((n * 7).to_string()),
            Some(truth(n.is_multiple_of(2))),
            Some(format!("name {n}")),
            Some(format!("{:032x}", u128::from(n) << 96 | 0x9e37_79b9)),
            Some((f64::from(n) / 3.0).to_string()),
            Some((u64::from(n) * 1_000_000).to_string()),
            Some(hour(n)),
            note,
            Some((n % 100).to_string()),
        ]
    };
    result(&TABLE_COLUMNS, (1..=10_000).map(cells))
}

pub(super) fn description() -> Box<Work> {
    let message = columns(&TABLE_COLUMNS);
    Box::new(move || rows::fields(&message[5..]).unwrap().len())
}

/// Answers two for its two traits.
pub(super) fn traits() -> Box<Work> {
    Box::new(|| {
        let traits = Traits::of(LIST);
        usize::from(traits.nameable) + usize::from(traits.leads)
    })
}

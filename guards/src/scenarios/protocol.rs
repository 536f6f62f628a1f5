//! One query: its request written, its reply read.

use super::Work;
use super::exchange::Exchange;
use crate::messages::{columns, complete, message, ready, row};
use crate::proto::{Extended, Known, Param};
use crate::rows::CellKind;
use crate::statements::{Numbers, Policy};

const BY_KEY: &str = "SELECT id, name, body FROM bench_key WHERE id = $1";
const BY_KEY_KINDS: [CellKind; 3] = [CellKind::Int, CellKind::Text, CellKind::Text];

const INSERT: &str = "INSERT INTO bench_insert (id, name, note, active, score, big, at, body)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const INSERT_PARAMS: [Param<'_>; 8] = [
    Param::Text(b"417"),
    Param::Text(b"name 417"),
    Param::Null,
    Param::Text(b"true"),
    Param::Text(b"417.5"),
    Param::Text(b"9007199254740993"),
    Param::Text(b"2025-01-18T09:00:00.000+00:00"),
    Param::Text(b"{\"n\":417}"),
];

/// The reply to a Query, which is also the end of that to an Execute.
fn one_row() -> Vec<u8> {
    let cells: [&[u8]; 3] = [b"417", b"name 417", b"{\"n\": 417}"];
    [
        columns(&[("id", 23), ("name", 25), ("body", 3802)]),
        row(&cells.map(Some)),
        complete("SELECT 1"),
        ready(b'I'),
    ]
    .concat()
}

/// ParseComplete (or not) and BindComplete before it.
fn extended_reply(parsed: bool, rest: &[u8]) -> Vec<u8> {
    let parse = if parsed { message(b'1', b"") } else { Vec::new() };
    [parse, message(b'2', b""), rest.to_vec()].concat()
}

fn unnamed_query<'a>(sql: &'a str, params: &'a [Param<'a>]) -> Extended<'a> {
    Extended {
        name: "",
        sql: Some(sql),
        params,
        results: &[],
        portal: "",
        max_rows: 0,
    }
}

pub(super) fn unnamed() -> Box<Work> {
    let mut exchange = Exchange::new();
    let reply = extended_reply(true, &one_row());
    Box::new(move || {
        let query = unnamed_query(BY_KEY, &[Param::Text(b"417")]);
        exchange.wire.extended(&query).unwrap();
        exchange.round_trip(&reply, &BY_KEY_KINDS)
    })
}

/// Among others that are known.
pub(super) fn bound() -> Box<Work> {
    const TEXT: u32 = 3;
    let mut exchange = Exchange::new();
    for text in 0..32 {
        exchange.texts.insert(text, if text == TEXT { BY_KEY } else { INSERT });
    }
    exchange.wire.prepare_by_itself(Policy {
        enabled: true,
        ..Policy::default()
    });
    let send = |exchange: &mut Exchange| {
        let query = Known {
            text: TEXT,
            simple: false,
            params: &[Param::Text(b"417")],
            binary: false,
            numbers: Numbers::default(),
            autocommit: true,
        };
        exchange.wire.known(&query, &exchange.texts, exchange.now).unwrap();
    };
    // Twice unnamed, then the question whose server this is (the 7 of `hello`), then Parse under a name.
    let pid = [
        columns(&[("pg_backend_pid", 23), ("digits", 25), ("style", 25)]),
        row(&[Some(b"7"), Some(b"1"), Some(b"ISO, MDY")]),
        complete("SELECT 1"),
        ready(b'I'),
    ]
    .concat();
    for asked in [false, false, true, false] {
        send(&mut exchange);
        let answer = if asked { &pid[..] } else { &[] };
        let reply = [answer, &extended_reply(true, &one_row())].concat();
        exchange.round_trip(&reply, &BY_KEY_KINDS);
    }
    let reply = extended_reply(false, &one_row());
    send(&mut exchange);
    assert_eq!(exchange.wire.output().first(), Some(&b'B'), "Bind comes first");
    exchange.round_trip(&reply, &BY_KEY_KINDS);
    Box::new(move || {
        send(&mut exchange);
        exchange.round_trip(&reply, &BY_KEY_KINDS)
    })
}

pub(super) fn simple() -> Box<Work> {
    let mut exchange = Exchange::new();
    let reply = one_row();
    Box::new(move || {
        exchange
            .wire
            .query("SELECT id, name, body FROM bench_key WHERE id = 417")
            .unwrap();
        exchange.round_trip(&reply, &BY_KEY_KINDS)
    })
}

/// Answers one for its INSERT.
pub(super) fn insert() -> Box<Work> {
    let mut exchange = Exchange::new();
    let rest = [message(b'n', b""), complete("INSERT 0 1"), ready(b'I')].concat();
    let reply = extended_reply(true, &rest);
    Box::new(move || {
        let query = unnamed_query(INSERT, &INSERT_PARAMS);
        exchange.wire.extended(&query).unwrap();
        exchange.round_trip(&reply, &[]) + 1 - exchange.wire.in_flight()
    })
}

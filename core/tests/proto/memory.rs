//! The hot path allocates nothing once its buffers have grown.

use heys_core::proto::{Event, Extended, Param, Wire};
use heys_core::rows::{Batch, CellKind};

use crate::allocator;
use crate::messages::*;
use crate::replay::open;

/// A query by key, its reply, and the events of both, with nothing kept.
fn round(wire: &mut Wire, batch: &mut Batch, reply: &[u8]) -> usize {
    wire.extended(&Extended {
        name: "by_id",
        sql: None,
        params: &[Param::Text(b"12345"), Param::Text("Ада".as_bytes()), Param::Null],
        results: &[],
        portal: "",
        max_rows: 0,
    })
    .unwrap();
    let n = wire.output().len();
    wire.sent(n);
    wire.spare()[..reply.len()].copy_from_slice(reply);
    wire.filled(reply.len()).unwrap();
    let mut units = 0;
    while let Some(event) = wire.poll_event(batch).unwrap() {
        match event {
            Event::RowDescription(_) => batch.start(&[CellKind::Int, CellKind::Text, CellKind::Bool]),
            Event::CommandComplete(_) | Event::SinkFull => {
                let packed = batch.packed();
                units += packed.latin1.map_or(0, <[u8]>::len) + packed.utf16.map_or(0, <[u16]>::len);
                batch.clear();
            }
            _ => {}
        }
    }
    units
}

#[test]
fn a_query_in_the_steady_state_allocates_nothing() {
    let reply = [
        message(b'2', b""),
        columns(&[("id", 23), ("имя", 25), ("ok", 16)]),
        row(&[Some(b"12345"), Some("Ада".as_bytes()), Some(b"t")]).repeat(30),
        complete("SELECT 30"),
        ready(b'I'),
    ]
    .concat();
    let (mut wire, mut batch) = (open(), Batch::default());
    for _ in 0..200 {
        assert_eq!(round(&mut wire, &mut batch, &reply), 90);
    }
    let ((), allocations) = allocator::allocations(|| {
        for _ in 0..1000 {
            round(&mut wire, &mut batch, &reply);
        }
    });
    assert_eq!(allocations, 0);
}

#[test]
fn a_giant_request_does_not_keep_its_buffer() {
    let mut wire = open();
    let sql = "x".repeat(5_000_000);
    let (_, peak) = allocator::peak(|| {
        wire.query(&sql).unwrap();
        while !wire.output().is_empty() {
            wire.sent(100_000);
        }
    });
    assert!(peak > sql.len());
    let before = allocator::live();
    drop(wire);
    assert!(before - allocator::live() < 200_000);
}

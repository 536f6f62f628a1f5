//! Another protocol machine speaks on the connection, from one Ready to another.

use heys_core::error::Kind;
use heys_core::proto::TransactionStatus;

use crate::messages::*;
use crate::replay::{Transcript, give, open, poll};

#[test]
fn bytes_pass_as_they_are_and_what_follows_the_ready_is_not_lost() {
    let mut wire = open();
    wire.begin_raw().unwrap();
    wire.write_raw(b"whatever").unwrap();
    wire.write_raw(b" it says").unwrap();
    assert_eq!(wire.output(), b"whatever it says");
    wire.sent(16);

    assert_eq!(wire.take_raw().unwrap(), b"");
    give(&mut wire, b"\0any bytes");
    assert_eq!(wire.take_raw().unwrap(), b"\0any bytes");
    assert_eq!(wire.take_raw().unwrap(), b"");
    // Longer than the receive buffer.
    let long = vec![7; 300_000];
    let mut taken = Vec::new();
    for piece in long.chunks(10_000) {
        give(&mut wire, piece);
        taken.extend_from_slice(wire.take_raw().unwrap());
    }
    assert_eq!(taken, long);

    let notice = [parameter("application_name", "x"), error("57P01", "going down")].concat();
    wire.end_raw(&notice[..20], TransactionStatus::InTransaction);
    assert_eq!(wire.transaction_status(), TransactionStatus::InTransaction);
    give(&mut wire, &notice[20..]);
    let mut transcript = Transcript::default();
    assert!(poll(&mut wire, &mut transcript));
    let [first, second] = transcript.lines.as_slice() else {
        panic!("{:?}", transcript.lines);
    };
    assert_eq!(first, "parameter application_name=x");
    assert!(second.starts_with("error 57P01 going down"), "{second}");
    wire.query("SELECT 1").unwrap();
    assert_eq!(wire.in_flight(), 1);
}

#[test]
fn a_leftover_longer_than_the_buffer_is_kept_whole() {
    let mut wire = open();
    wire.begin_raw().unwrap();
    let many: Vec<u8> = (0..20_000).flat_map(|i| parameter("p", &i.to_string())).collect();
    wire.end_raw(&many, TransactionStatus::Idle);
    let mut transcript = Transcript::default();
    assert!(poll(&mut wire, &mut transcript));
    assert_eq!(transcript.lines.len(), 20_000);
    assert_eq!(transcript.lines.last().unwrap(), "parameter p=19999");
}

#[test]
fn only_a_connection_at_rest_is_handed_over() {
    let mut wire = open();
    wire.query("SELECT 1").unwrap();
    assert_eq!(wire.begin_raw().unwrap_err().kind(), Kind::Usage);
    let mut wire = open();
    wire.terminate();
    assert!(wire.begin_raw().is_err());
    assert!(wire.write_raw(b"x").is_err());
}

//! What a length word promises is never believed: it is refused, or memory follows what really comes.

use heys_core::proto::{RowSink, SinkState, Wire};

use crate::allocator;
use crate::messages::*;
use crate::replay::{Transcript, give, open, poll, startup};

/// More than the ordinary buffer of 64 KiB, and far less than any of the lengths below.
const SMALL: usize = 128 * 1024;

fn header(tag: u8, length: u32) -> Vec<u8> {
    [&[tag], &length.to_be_bytes()[..]].concat()
}

fn query() -> Wire {
    let mut wire = open();
    wire.query("SELECT 1").unwrap();
    wire
}

fn in_rows() -> Wire {
    let mut wire = query();
    give(&mut wire, &columns(&[("a", 25)]));
    assert!(poll(&mut wire, &mut Transcript::default()));
    wire
}

/// The error that these bytes end the session with, if they do; nothing much may be reserved meanwhile.
fn failure(wire: &mut Wire, bytes: &[u8]) -> Option<String> {
    let transcript = &mut Transcript::default();
    let (failed, peak) = allocator::peak(|| {
        give(wire, bytes);
        let failed = !poll(wire, transcript);
        wire.spare();
        failed
    });
    assert!(peak < SMALL, "{peak} bytes were reserved for {bytes:?}");
    failed.then(|| transcript.lines.pop().unwrap())
}

#[test]
fn a_length_that_no_message_of_its_kind_has_is_refused_at_its_header() {
    let too_long = [
        (b'D', 0x4000_0003 + 1),
        (b'D', 0x7fff_ffff),
        (b'D', 0x8000_0000),
        (b'd', u32::MAX),
        (b'E', u32::MAX),
        (b'T', 0x0100_0001),
        (b'C', 30_001),
        (b'S', 30_001),
        (b't', 262_147),
        (b'Z', 6),
        (b'1', 5),
        (b'2', 5),
        (b'3', 5),
        (b'n', 5),
        (b'I', 5),
        (b's', 5),
    ];
    let too_short = [
        (b'D', 0),
        (b'D', 3),
        (b'D', 5),
        (b'E', 3),
        (b'Z', 4),
        (b'C', 0),
        (b'T', 5),
        (b'1', 0),
    ];
    for (tag, length) in too_long.into_iter().chain(too_short) {
        let failure = failure(&mut in_rows(), &header(tag, length));
        let name = char::from(tag);
        let expected = format!(
            "failed Protocol: The server sent a message '{name}' with the length {length}, which cannot be: is it PostgreSQL?"
        );
        assert_eq!(failure, Some(expected));
    }
}

#[test]
fn the_longest_length_is_awaited_without_reserving_it() {
    for (tag, length) in [(b'D', 0x4000_0003), (b'E', 0x4000_0003), (b'T', 0x0100_0000)] {
        let mut wire = in_rows();
        assert_eq!(failure(&mut wire, &header(tag, length)), None);
        assert_eq!(failure(&mut wire, &[0; 1000]), None);
    }
}

#[test]
fn before_authentication_nothing_is_longer_than_64_kib() {
    for tag in [b'R', b'E', b'N', b'v'] {
        let begun = || Wire::new(&startup(), None).unwrap();
        assert_eq!(failure(&mut begun(), &header(tag, 20_000)), None);
        assert!(failure(&mut begun(), &header(tag, 65_537)).is_some());
    }
    // An HTTP server's answer, for one.
    let failure = failure(
        &mut Wire::new(&startup(), None).unwrap(),
        b"HTTP/1.1 400 Bad Request\r\n",
    );
    assert!(failure.unwrap().ends_with("is it PostgreSQL?"));
}

#[test]
fn a_body_shorter_than_its_fields_is_refused() {
    let cases = [
        message(b'T', b"\0\x01a\0"),
        message(b'T', b"\0\x02a\0xxxxxxxxxxxxxxxxxx"),
        message(b'T', b"\0\0x"),
        message(b'T', b"\xff\xff"),
        message(b'T', b"\x7f\xff"),
        message(b'C', b"SELECT 1"),
        message(b'C', b"SELECT 1\0x"),
        message(b'E', b""),
        message(b'E', b"SERROR"),
        message(b'E', b"SERROR\0"),
        message(b'E', b"SERROR\0\0x"),
        message(b'N', b"M"),
        message(b'S', b"a\0b"),
        message(b'S', b"a\0b\0c"),
        message(b'A', b"\0\0\0\x01a\0"),
        message(b'A', b"\0\0"),
    ];
    for bytes in cases {
        let failure = failure(&mut query(), &bytes);
        assert!(
            failure.is_some_and(|line| line.starts_with("failed Protocol:")),
            "{bytes:?}"
        );
    }
}

#[test]
fn a_row_whose_cells_do_not_end_with_its_body_never_reaches_the_sink() {
    struct Never;
    impl RowSink for Never {
        fn row(&mut self, body: &[u8]) -> SinkState {
            panic!("the sink saw {body:?}")
        }
    }
    let bodies: [&[u8]; 9] = [
        b"\0\x01",
        b"\0\x01\0\0",
        b"\0\x01\0\0\0\x02a",
        b"\0\x01\0\0\0\x01ab",
        b"\0\x01\xff\xff\xff\xffa",
        b"\0\x01\xff\xff\xff\xfe",
        b"\0\x01\x80\0\0\0",
        b"\0\x01\x7f\xff\xff\xffa",
        b"\xff\xff\0\0\0\x01a",
    ];
    for body in bodies {
        let mut wire = in_rows();
        give(&mut wire, &message(b'D', body));
        let error = wire.poll_event(&mut Never).unwrap_err();
        assert_eq!(
            error.message(),
            "The server sent a row that does not fit its description"
        );
    }
}

#[test]
fn the_buffer_grows_with_what_comes_and_goes_back_after_a_giant_row() {
    const CELL: usize = 5_000_000;
    let mut wire = in_rows();
    let body = [b"\0\x01", &(CELL as u32).to_be_bytes()[..], &vec![b'x'; CELL]].concat();
    let mut given = 0;
    for piece in message(b'D', &body).chunks(50_000) {
        give(&mut wire, piece);
        given += piece.len();
        assert!(poll(&mut wire, &mut Transcript::default()));
        let spare = wire.spare().len();
        assert!(spare <= given + 2 * SMALL, "{spare} bytes are spare after {given}");
    }
    assert!(wire.spare().len() <= SMALL);
    give(&mut wire, &[complete("SELECT 1"), ready(b'I')].concat());
    assert!(poll(&mut wire, &mut Transcript::default()));
}

#[test]
fn copied_data_is_dropped_as_it_comes() {
    let mut wire = query();
    let begin = [message(b'H', b"\0\0\0"), header(b'd', 0x4000_0003)].concat();
    assert_eq!(failure(&mut wire, &begin), None);
    for _ in 0..300 {
        assert_eq!(failure(&mut wire, &[0; 60_000]), None);
    }
}

#[test]
fn copied_data_that_came_in_pieces_ends_where_its_length_says() {
    let mut wire = query();
    let data = message(b'd', &vec![b'x'; 200_000]);
    let rest = [message(b'c', b""), complete("COPY 1"), ready(b'I')].concat();
    let transcript = &mut Transcript::default();
    for piece in [message(b'H', b"\0\0\0"), data, rest].concat().chunks(999) {
        give(&mut wire, piece);
        assert!(poll(&mut wire, transcript));
    }
    assert_eq!(transcript.text(), "CopyOut\ncomplete COPY 1\nReady(Idle)");
}

#[test]
fn parameters_without_end_are_not_all_remembered() {
    let mut wire = open();
    for n in 0..1000 {
        give(&mut wire, &parameter(&format!("p{n}"), "x"));
        assert!(poll(&mut wire, &mut Transcript::default()));
    }
    assert_eq!(wire.parameter("p10"), Some("x"));
    assert_eq!(wire.parameter("p999"), None);
}

//! Requests and their replies, whole and split at every byte.

use heys_core::error::Kind;
use heys_core::proto::{Extended, Param, Target, TransactionStatus, Wire};

use crate::messages::*;
use crate::replay::{Transcript, give, open, poll, replay, take};

const PLAIN: Extended<'static> = Extended {
    name: "",
    sql: Some("SELECT $1"),
    params: &[],
    results: &[],
    portal: "",
    max_rows: 0,
};

fn query() -> Wire {
    let mut wire = open();
    wire.query("SELECT 1").unwrap();
    wire
}

fn extended() -> Wire {
    let mut wire = open();
    wire.extended(&PLAIN).unwrap();
    wire
}

/// The messages' tags, each followed by its body.
fn sent(transcript: &Transcript) -> Vec<(char, Vec<u8>)> {
    let mut messages = Vec::new();
    let mut rest = transcript.sent.as_slice();
    while let [tag, a, b, c, d, after @ ..] = rest {
        let (body, after) = after.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize - 4);
        messages.push((char::from(*tag), body.to_vec()));
        rest = after;
    }
    assert!(rest.is_empty());
    messages
}

fn tags(transcript: &Transcript) -> String {
    sent(transcript).iter().map(|(tag, _)| *tag).collect()
}

#[test]
fn a_query_with_several_statements_gives_each_result() {
    let reply = [
        columns(&[("a", 23), ("имя", 25)]),
        row(&[Some(b"1"), Some("Ада".as_bytes())]),
        row(&[None, Some(b"")]),
        row(&[Some(b"3"), None]),
        complete("SELECT 3"),
        message(b'I', b""),
        complete("INSERT 0 1"),
        columns(&[]),
        row(&[]),
        complete("SELECT 1"),
        ready(b'T'),
    ]
    .concat();
    let transcript = replay(query, &reply);
    let lines = "columns a:23 имя:25
row 1 Ада
row NULL 
SinkFull
row 3 NULL
complete SELECT 3
EmptyQuery
complete INSERT 0 1
columns
row
SinkFull
complete SELECT 1
Ready(InTransaction)";
    assert_eq!(transcript.text(), lines);
    assert_eq!(sent(&transcript), [('Q', b"SELECT 1\0".to_vec())]);
}

#[test]
fn an_extended_query_goes_out_in_one_write_and_its_reply_comes_in_order() {
    let prepare = || {
        let mut wire = open();
        wire.extended(&Extended {
            name: "by_id",
            params: &[
                Param::Text(b"42"),
                Param::Null,
                Param::Binary(b"\0\x01"),
                Param::Text(b""),
            ],
            results: &[1],
            portal: "p",
            max_rows: 9,
            ..PLAIN
        })
        .unwrap();
        wire
    };
    let reply = [
        message(b'1', b""),
        message(b'2', b""),
        columns(&[("a", 23)]),
        row(&[Some(b"1")]),
        message(b's', b""),
        ready(b'I'),
    ]
    .concat();
    let transcript = replay(prepare, &reply);
    assert_eq!(
        transcript.text(),
        "ParseComplete\ncolumns a:23\nrow 1\nPortalSuspended\nReady(Idle)"
    );
    let bind = [
        b"p\0by_id\0" as &[u8],
        b"\0\x04\0\0\0\0\0\x01\0\0",
        b"\0\x04\0\0\0\x0242\xff\xff\xff\xff\0\0\0\x02\0\x01\0\0\0\0",
        b"\0\x01\0\x01",
    ]
    .concat();
    assert_eq!(
        sent(&transcript),
        [
            ('P', b"by_id\0SELECT $1\0\0\0".to_vec()),
            ('B', bind),
            ('D', b"Pp\0".to_vec()),
            ('E', b"p\0\0\0\0\x09".to_vec()),
            ('S', Vec::new()),
        ]
    );
}

#[test]
fn a_prepared_statement_is_bound_without_parse_and_text_needs_no_format_codes() {
    let prepare = || {
        let mut wire = open();
        let params = &[Param::Text(b"1")];
        wire.extended(&Extended {
            name: "s",
            sql: None,
            params,
            ..PLAIN
        })
        .unwrap();
        wire
    };
    let reply = [
        message(b'2', b""),
        message(b'n', b""),
        complete("DELETE 1"),
        ready(b'I'),
    ]
    .concat();
    let transcript = replay(prepare, &reply);
    assert_eq!(transcript.text(), "NoData\ncomplete DELETE 1\nReady(Idle)");
    assert_eq!(tags(&transcript), "BDES");
    assert_eq!(sent(&transcript)[0].1, b"\0s\0\0\0\0\x01\0\0\0\x011\0\0");
}

#[test]
fn close_ends_with_its_ready() {
    let prepare = || {
        let mut wire = open();
        wire.close(Target::Statement, "s").unwrap();
        wire.close(Target::Portal, "p").unwrap();
        wire
    };
    let reply = [message(b'3', b""), ready(b'I'), message(b'3', b""), ready(b'I')].concat();
    let transcript = replay(prepare, &reply);
    assert_eq!(transcript.text(), "Ready(Idle)\nReady(Idle)");
    let close = |body: &[u8]| ('C', body.to_vec());
    let sync = || ('S', Vec::new());
    assert_eq!(sent(&transcript), [close(b"Ss\0"), sync(), close(b"Pp\0"), sync()]);
}

#[test]
fn an_error_ends_one_request_and_the_next_goes_on() {
    let prepare = || {
        let mut wire = extended();
        wire.query("SELECT 2").unwrap();
        wire
    };
    let reply = [
        message(b'1', b""),
        message(b'2', b""),
        columns(&[("a", 23)]),
        row(&[Some(b"1")]),
        error("22012", "деление на ноль"),
        ready(b'E'),
        columns(&[("b", 25)]),
        complete("SELECT 0"),
        ready(b'E'),
    ]
    .concat();
    let transcript = replay(prepare, &reply);
    let lines = "ParseComplete
columns a:23
row 1
error 22012 деление на ноль (56)
Ready(Failed)
columns b:25
complete SELECT 0
Ready(Failed)";
    assert_eq!(transcript.text(), lines);
}

#[test]
fn in_flight_counts_requests_and_the_state_follows_the_last_ready() {
    let mut wire = query();
    wire.extended(&PLAIN).unwrap();
    assert_eq!(wire.in_flight(), 2);
    let transcript = &mut Transcript::default();
    give(&mut wire, &[complete("SELECT 0"), ready(b'T')].concat());
    assert!(poll(&mut wire, transcript));
    assert_eq!(
        (wire.in_flight(), wire.transaction_status()),
        (1, TransactionStatus::InTransaction)
    );
    give(&mut wire, &ready(b'I'));
    assert!(poll(&mut wire, transcript));
    assert_eq!(
        (wire.in_flight(), wire.transaction_status()),
        (0, TransactionStatus::Idle)
    );
}

#[test]
fn notices_notifications_and_parameters_come_between_anything() {
    let notice = message(
        b'N',
        &fields(&[(b'S', "WARNING"), (b'C', "25P01"), (b'M', "no transaction")]),
    );
    let notification = message(b'A', &[&9i32.to_be_bytes()[..], b"news\0hello\0"].concat());
    let idle = [
        notification.clone(),
        parameter("TimeZone", "UTC"),
        error("57P01", "shutdown"),
    ]
    .concat();
    let transcript = replay(open, &idle);
    assert_eq!(
        transcript.text(),
        "notification 9 news hello\nparameter TimeZone=UTC\nerror 57P01 shutdown (36)"
    );
    let busy = [
        columns(&[("a", 23)]),
        notice,
        notification,
        row(&[None]),
        complete("SELECT 1"),
        ready(b'I'),
    ]
    .concat();
    let transcript = replay(query, &busy);
    let lines = "columns a:23
notice 25P01 no transaction
notification 9 news hello
row NULL
complete SELECT 1
Ready(Idle)";
    assert_eq!(transcript.text(), lines);
}

#[test]
fn the_latest_value_of_a_parameter_is_kept() {
    let mut wire = open();
    assert_eq!(wire.parameter("server_version"), Some("17.2"));
    give(
        &mut wire,
        &[parameter("TimeZone", "UTC"), parameter("TimeZone", "Europe/Moscow")].concat(),
    );
    assert!(poll(&mut wire, &mut Transcript::default()));
    assert_eq!(wire.parameter("TimeZone"), Some("Europe/Moscow"));
    assert_eq!(wire.parameter("timezone"), None);
    assert_eq!(wire.backend_key(), Some((7, 11)));
}

#[test]
fn all_fields_of_an_error_are_kept_in_order() {
    let mut wire = query();
    let all = [
        (b'S', "ОШИБКА"),
        (b'V', "ERROR"),
        (b'C', "23505"),
        (b'M', "m"),
        (b'D', "d"),
        (b'n', "pk"),
        (b'R', "r"),
    ];
    give(&mut wire, &message(b'E', &fields(&all)));
    let event = wire.poll_event(&mut Transcript::default()).unwrap();
    let Some(heys_core::proto::Event::Error(error)) = event else {
        panic!("{event:?}")
    };
    assert_eq!(error.fields().collect::<Vec<_>>(), all);
    assert_eq!(
        (error.severity(), error.code(), error.field(b'n')),
        ("ERROR", "23505", Some("pk"))
    );
    assert_eq!(error.field(b'X'), None);
}

#[test]
fn copy_in_is_refused_and_the_simple_query_ends() {
    let reply = [
        message(b'G', b"\0\0\x01\0\0"),
        error("57014", "COPY from stdin failed: No source stream defined"),
        ready(b'I'),
    ]
    .concat();
    let transcript = replay(query, &reply);
    let lines = "CopyInRefused
error 57014 COPY from stdin failed: No source stream defined (76)
Ready(Idle)";
    assert_eq!(transcript.text(), lines);
    assert_eq!(tags(&transcript), "Qf");
    assert_eq!(sent(&transcript)[1].1, b"No source stream defined\0");
}

#[test]
fn copy_in_by_the_extended_protocol_needs_another_sync() {
    let reply = [
        message(b'1', b""),
        message(b'2', b""),
        message(b'n', b""),
        message(b'G', b"\0\0\x01\0\0"),
        error("57014", "COPY"),
        ready(b'I'),
    ]
    .concat();
    let transcript = replay(extended, &reply);
    assert_eq!(
        transcript.text(),
        "ParseComplete\nNoData\nCopyInRefused\nerror 57014 COPY (32)\nReady(Idle)"
    );
    assert_eq!(tags(&transcript), "PBDESfS");
}

#[test]
fn copy_in_with_requests_behind_it_ends_the_session() {
    let prepare = || {
        let mut wire = query();
        wire.query("SELECT 2").unwrap();
        wire
    };
    let transcript = replay(prepare, &message(b'G', b"\0\0\0"));
    assert!(
        transcript
            .text()
            .starts_with("failed Protocol: COPY FROM STDIN began while"),
        "{transcript:?}"
    );
}

#[test]
fn copy_out_is_drained_twice_in_one_query() {
    let copy = [
        message(b'H', b"\0\0\x01\0\0"),
        message(b'd', b"1\tone\n"),
        message(b'd', b""),
        message(b'c', b""),
        complete("COPY 2"),
    ]
    .concat();
    let transcript = replay(query, &[copy.as_slice(), &copy, &ready(b'I')].concat());
    assert_eq!(
        transcript.text(),
        "CopyOut\ncomplete COPY 2\nCopyOut\ncomplete COPY 2\nReady(Idle)"
    );
}

#[test]
fn what_cannot_be_sent_queues_nothing() {
    let mut wire = open();
    let many = vec![Param::Null; 65_536];
    let errors = [
        wire.query("a\0b"),
        wire.extended(&Extended {
            sql: Some("a\0"),
            ..PLAIN
        }),
        wire.extended(&Extended { name: "a\0", ..PLAIN }),
        wire.extended(&Extended { portal: "a\0", ..PLAIN }),
        wire.extended(&Extended { params: &many, ..PLAIN }),
        wire.close(Target::Portal, "\0"),
        wire.password(b"secret"),
    ];
    for error in errors {
        assert_eq!(error.unwrap_err().kind(), Kind::Usage);
    }
    assert_eq!((wire.in_flight(), take(&mut wire).len()), (0, 0));
    wire.extended(&Extended {
        params: &many[1..],
        ..PLAIN
    })
    .unwrap();
    assert_eq!(wire.in_flight(), 1);
}

#[test]
fn terminate_is_the_last_word() {
    let mut wire = query();
    wire.terminate();
    wire.terminate();
    assert_eq!(
        take(&mut wire),
        [message(b'Q', b"SELECT 1\0"), message(b'X', b"")].concat()
    );
    assert_eq!(wire.query("SELECT 2").unwrap_err().kind(), Kind::Closed);
    give(&mut wire, &[complete("SELECT 0"), ready(b'I')].concat());
    let transcript = &mut Transcript::default();
    assert!(poll(&mut wire, transcript));
    assert_eq!(transcript.text(), "complete SELECT 0\nReady(Idle)");
}

#[test]
fn messages_out_of_turn_end_the_session() {
    let with_columns = |rest: &[Vec<u8>]| [columns(&[("a", 23), ("b", 23)]), rest.concat()].concat();
    type Case = (&'static str, fn() -> Wire, Vec<u8>);
    let two = || {
        let mut wire = query();
        wire.query("SELECT 2").unwrap();
        wire
    };
    let cases: [Case; 15] = [
        ("ready without a request", open, ready(b'I')),
        ("a tag without a request", open, complete("SELECT 0")),
        ("a description without a request", open, columns(&[])),
        ("a row without a result", query, row(&[])),
        (
            "a row of the request before",
            two,
            with_columns(&[ready(b'I'), row(&[None, None])]),
        ),
        (
            "a row after its result",
            query,
            with_columns(&[complete("SELECT 0"), row(&[None, None])]),
        ),
        ("too few cells", query, with_columns(&[row(&[None])])),
        ("too many cells", query, with_columns(&[row(&[None, None, None])])),
        ("a status that does not exist", query, ready(b'X')),
        ("copied data without COPY", query, message(b'd', b"")),
        ("the end of a copy without COPY", query, message(b'c', b"")),
        ("a second CopyInResponse", query, message(b'G', b"\0\0\0").repeat(2)),
        ("CopyBothResponse", query, message(b'W', b"\0\0\0")),
        ("an unknown tag", query, message(b'?', b"")),
        ("authentication", query, authentication(0, b"")),
    ];
    for (name, prepare, reply) in cases {
        let transcript = replay(prepare, &reply);
        let last = transcript.lines.last().unwrap();
        assert!(last.starts_with("failed Protocol: The server sent a"), "{name}: {last}");
    }
}

#[test]
fn a_failed_session_stays_failed() {
    let mut wire = open();
    give(&mut wire, &[ready(b'I'), parameter("a", "b")].concat());
    let transcript = &mut Transcript::default();
    assert!(!poll(&mut wire, transcript));
    assert!(!poll(&mut wire, transcript));
    assert_eq!(transcript.lines[1], "failed Closed: The session is closed");
    assert_eq!(wire.query("SELECT 1").unwrap_err().kind(), Kind::Closed);
}

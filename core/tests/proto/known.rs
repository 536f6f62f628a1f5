//! Texts that are known: named without another round trip, asked for along the way, repeated when a name fails.

use std::time::Duration;

use heys_core::proto::{Known, Param, Wire};
use heys_core::statements::{Numbers, Policy, Texts};

use crate::messages::*;
use crate::replay::{Transcript, give, open, poll, replay, take};

const TEXT: u32 = 3;
const NOW: Duration = Duration::from_secs(1);

const PLAIN: Known<'static> = Known {
    text: TEXT,
    simple: false,
    params: &[],
    binary: false,
    numbers: Numbers {
        float8: false,
        timestamptz: false,
    },
    autocommit: false,
};

fn texts() -> Texts {
    let mut texts = Texts::default();
    texts.insert(TEXT, "SELECT $1");
    texts
}

fn send(wire: &mut Wire, texts: &Texts) {
    let query = Known {
        params: &[Param::Text(b"1")],
        ..PLAIN
    };
    wire.known(&query, texts, NOW).unwrap();
}

/// The replies to Parse (or not), Bind, Describe, Execute and Sync.
fn reply(parsed: bool, status: u8) -> Vec<u8> {
    let parse = if parsed { message(b'1', b"") } else { Vec::new() };
    let result = [
        columns(&[("a", 23)]),
        row(&[Some(b"1")]),
        complete("SELECT 1"),
        ready(status),
    ];
    [parse, message(b'2', b""), result.concat()].concat()
}

/// The reply to the question for the server's process id, extra_float_digits and DateStyle.
fn settings(pid: &str, digits: &str, date_style: &str) -> Vec<u8> {
    let described = columns(&[("pg_backend_pid", 23), ("current_setting", 25), ("current_setting", 25)]);
    let cells = [pid, digits, date_style].map(|text| Some(text.as_bytes()));
    [described, row(&cells), complete("SELECT 1"), ready(b'I')].concat()
}

fn pid(pid: &str) -> Vec<u8> {
    settings(pid, "1", "ISO, MDY")
}

fn answer(wire: &mut Wire, texts: &mut Texts, reply: &[u8]) -> String {
    let mut transcript = Transcript::default();
    give(wire, reply);
    assert!(poll(wire, &mut transcript));
    wire.finished(NOW, texts);
    transcript.text()
}

/// The tags of messages, and the name in each Parse, Bind and Close.
fn summary(sent: &[u8]) -> String {
    let mut out = String::new();
    let mut rest = sent;
    while let [tag, a, b, c, d, after @ ..] = rest {
        let (body, after) = after.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize - 4);
        out.push(char::from(*tag));
        let mut parts = body.split(|&byte| byte == 0);
        let name = match tag {
            b'P' => parts.next(),
            b'B' => parts.nth(1),
            b'C' => parts.next().and_then(|part| part.get(1..)),
            _ => None,
        };
        let name = name.filter(|name| !name.is_empty());
        out += &name.map_or(String::new(), |name| format!("({})", String::from_utf8_lossy(name)));
        rest = after;
    }
    out
}

/// A session on which the text has succeeded twice.
fn seen_twice(policy: Policy) -> (Wire, Texts) {
    let (mut wire, mut texts) = (open(), texts());
    wire.prepare_by_itself(policy);
    for _ in 0..2 {
        send(&mut wire, &texts);
        assert_eq!(summary(&take(&mut wire)), "PBDES");
        answer(&mut wire, &mut texts, &reply(true, b'I'));
    }
    (wire, texts)
}

const ON: Policy = Policy {
    enabled: true,
    in_transactions: false,
    behind_pooler: false,
};

const RESULT: &str = "ParseComplete\ncolumns a:23\nrow 1\ncomplete SELECT 1\nReady(Idle)";

#[test]
fn the_server_is_asked_along_with_a_query_and_only_the_query_is_heard_of() {
    let prepare = || {
        let (mut wire, texts) = seen_twice(ON);
        send(&mut wire, &texts);
        wire
    };
    let transcript = replay(prepare, &[pid("7"), reply(true, b'I')].concat());
    assert_eq!(summary(&transcript.sent), "QPBDES");
    assert_eq!(transcript.text(), RESULT);
}

#[test]
fn on_the_servers_own_connection_the_next_one_is_named_and_then_bound() {
    let (mut wire, mut texts) = seen_twice(ON);
    send(&mut wire, &texts);
    take(&mut wire);
    answer(&mut wire, &mut texts, &[pid("7"), reply(true, b'I')].concat());
    send(&mut wire, &texts);
    assert_eq!(summary(&take(&mut wire)), "P(__heys_1)B(__heys_1)DES");
    assert_eq!(answer(&mut wire, &mut texts, &reply(true, b'I')), RESULT);
    send(&mut wire, &texts);
    assert_eq!(summary(&take(&mut wire)), "B(__heys_1)DES");
    assert_eq!(
        answer(&mut wire, &mut texts, &reply(false, b'I')),
        &RESULT["ParseComplete\n".len()..]
    );
}

#[test]
fn another_process_or_no_answer_leaves_it_unnamed() {
    for reply_to_question in [pid("8"), [error("42883", "no such function"), ready(b'I')].concat()] {
        let (mut wire, mut texts) = seen_twice(ON);
        send(&mut wire, &texts);
        take(&mut wire);
        let all = [reply_to_question, reply(true, b'I')].concat();
        assert_eq!(answer(&mut wire, &mut texts, &all), RESULT);
        send(&mut wire, &texts);
        assert_eq!(summary(&take(&mut wire)), "PBDES");
    }
}

#[test]
fn a_question_that_anothers_cancel_has_hit_is_asked_again() {
    let (mut wire, mut texts) = seen_twice(ON);
    let hit = [error("57014", "canceling statement"), ready(b'I')].concat();
    for answer_to_question in [hit, pid("7")] {
        send(&mut wire, &texts);
        assert_eq!(summary(&take(&mut wire)), "QPBDES");
        let all = [answer_to_question, reply(true, b'I')].concat();
        assert_eq!(answer(&mut wire, &mut texts, &all), RESULT);
    }
    send(&mut wire, &texts);
    assert_eq!(summary(&take(&mut wire)), "P(__heys_1)B(__heys_1)DES");
}

#[test]
fn a_name_that_fails_before_bind_is_repeated_and_closed_with_the_next_request() {
    let prepare = || {
        let (mut wire, mut texts) = seen_twice(Policy {
            behind_pooler: true,
            ..ON
        });
        for parsed in [true, false] {
            send(&mut wire, &texts);
            answer(&mut wire, &mut texts, &reply(parsed, b'I'));
        }
        take(&mut wire);
        send(&mut wire, &texts);
        wire
    };
    let refused = [error("0A000", "cached plan must not change result type"), ready(b'I')].concat();
    let transcript = replay(prepare, &refused);
    assert!(transcript.text().starts_with("Repeat("), "{}", transcript.text());
    assert!(transcript.text().ends_with("Ready(Idle)"));

    let (mut wire, mut texts) = (prepare(), texts());
    take(&mut wire);
    answer(&mut wire, &mut texts, &refused);
    send(&mut wire, &texts);
    assert_eq!(summary(&take(&mut wire)), "C(__heys_1)PBDES");
}

#[test]
fn an_error_after_bind_is_an_error() {
    let (mut wire, mut texts) = seen_twice(Policy {
        behind_pooler: true,
        ..ON
    });
    for parsed in [true, false] {
        send(&mut wire, &texts);
        answer(&mut wire, &mut texts, &reply(parsed, b'I'));
    }
    send(&mut wire, &texts);
    let failed = [message(b'2', b""), error("0A000", "not so"), ready(b'I')].concat();
    assert_eq!(
        answer(&mut wire, &mut texts, &failed),
        "error 0A000 not so (34)\nReady(Idle)"
    );
}

#[test]
fn behind_what_is_in_flight_nothing_is_named_though_it_were_allowed_in_transactions() {
    let (mut wire, texts) = seen_twice(Policy {
        behind_pooler: true,
        in_transactions: true,
        ..ON
    });
    wire.query("SET TimeZone = 'Asia/Tokyo'").unwrap();
    send(&mut wire, &texts);
    assert_eq!(summary(&take(&mut wire)), "QPBDES");
}

#[test]
fn in_a_transaction_and_behind_what_is_in_flight_nothing_is_named() {
    let (mut wire, mut texts) = seen_twice(Policy {
        behind_pooler: true,
        ..ON
    });
    wire.query("BEGIN").unwrap();
    send(&mut wire, &texts);
    assert_eq!(summary(&take(&mut wire)), "QPBDES");
    answer(
        &mut wire,
        &mut texts,
        &[complete("BEGIN"), ready(b'T'), reply(true, b'T')].concat(),
    );
    send(&mut wire, &texts);
    assert_eq!(summary(&take(&mut wire)), "PBDES");
}

#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let (mut wire, texts) = seen_twice(ON);
    let query = Known {
        params: &vec![Param::Null; 65_536],
        ..PLAIN
    };
    assert!(wire.known(&query, &texts, NOW).is_err());
    assert!(wire.known(&Known { text: 99, ..query }, &texts, NOW).is_err());
    assert!(take(&mut wire).is_empty());
    assert_eq!(wire.in_flight(), 0);
}

const NUMBERS: Numbers = Numbers {
    float8: true,
    timestamptz: true,
};

/// A RowDescription of an int4, a float8 and a timestamptz in these formats.
fn three(formats: [u8; 3]) -> Vec<u8> {
    let mut described = columns(&[("a", 23), ("b", 701), ("c", 1184)]);
    // The format code ends each field of 18 bytes behind the name.
    for (field, format) in formats.into_iter().enumerate() {
        described[7 + 20 * (field + 1) - 1] = format;
    }
    described
}

fn reply_of_three(formats: [u8; 3], cells: &[Option<&[u8]>]) -> Vec<u8> {
    let result = [
        message(b'2', b""),
        three(formats),
        row(cells),
        complete("SELECT 1"),
        ready(b'I'),
    ];
    result.concat()
}

/// Sends the text and says which result formats its Bind asks for.
fn formats(wire: &mut Wire, texts: &Texts) -> Vec<i16> {
    let query = Known {
        numbers: NUMBERS,
        ..PLAIN
    };
    wire.known(&query, texts, NOW).unwrap();
    let sent = take(wire);
    let bind = 1 + sent.iter().position(|&tag| tag == b'B').expect("a Bind");
    let length = u32::from_be_bytes(sent[bind..bind + 4].try_into().unwrap()) as usize;
    let body = &sent[bind + 4..bind + length];
    // No parameters: two names, two empty counts, then the formats.
    let names = body
        .iter()
        .enumerate()
        .filter(|&(_, &byte)| byte == 0)
        .nth(1)
        .unwrap()
        .0
        + 1;
    let codes = body[names + 4 + 2..].chunks(2);
    codes.map(|code| i16::from_be_bytes(code.try_into().unwrap())).collect()
}

/// A session on which the text is named and has a column of each kind; the question was answered like this.
fn named_with_three(question: &[u8]) -> (Wire, Texts) {
    let (mut wire, mut texts) = (open(), texts());
    wire.prepare_by_itself(ON);
    let text = reply_of_three([0, 0, 0], &[Some(b"1"), Some(b"1.5"), Some(b"2000-01-01 00:00:00+00")]);
    let text = [message(b'1', b""), text].concat();
    for before in [b"", b"", question, b""] {
        assert_eq!(formats(&mut wire, &texts), [0; 0]);
        answer(&mut wire, &mut texts, &[before, &text].concat());
    }
    (wire, texts)
}

#[test]
fn a_bound_statement_is_asked_for_numbers_where_they_are_what_their_texts_say() {
    for (digits, date_style, wanted) in [
        ("1", "ISO, DMY", [0, 1, 1].as_slice()),
        ("0", "ISO, MDY", &[0, 0, 1]),
        ("-15", "SQL, DMY", &[]),
        ("3", "German, DMY", &[0, 1, 0]),
    ] {
        let (mut wire, texts) = named_with_three(&settings("7", digits, date_style));
        assert_eq!(formats(&mut wire, &texts), wanted, "{digits} {date_style}");
    }
}

#[test]
fn their_columns_are_marked_and_their_cells_must_be_numbers() {
    let (mut wire, mut texts) = named_with_three(&pid("7"));
    formats(&mut wire, &texts);
    let number = Some(&[0u8; 8][..]);
    let transcript = answer(
        &mut wire,
        &mut texts,
        &reply_of_three([0, 1, 1], &[Some(b"1"), number, None]),
    );
    assert!(
        transcript.starts_with("columns a:23 b:701/2 c:1184/2\n"),
        "{transcript}"
    );
    for (described, cells) in [
        ([0, 1, 1], [Some(&b"1"[..]), Some(b"1.5"), None]),
        ([0, 1, 1], [Some(b"1"), None, Some(b"123456789")]),
        ([1, 0, 0], [Some(b"1"), None, None]),
    ] {
        let (mut wire, texts) = named_with_three(&pid("7"));
        formats(&mut wire, &texts);
        let mut transcript = Transcript::default();
        give(&mut wire, &reply_of_three(described, &cells));
        assert!(!poll(&mut wire, &mut transcript), "{described:?}");
    }
}

#[test]
fn what_may_change_the_settings_brings_text_back() {
    for sql in [
        "SET extra_float_digits = 0",
        "select set_config('Extra_Float_Digits', '0', false)",
    ] {
        let (mut wire, mut texts) = named_with_three(&pid("7"));
        wire.query(sql).unwrap();
        take(&mut wire);
        answer(&mut wire, &mut texts, &[complete("SET"), ready(b'I')].concat());
        assert_eq!(formats(&mut wire, &texts), [0, 0, 1], "{sql}");
    }
    let (mut wire, mut texts) = named_with_three(&pid("7"));
    wire.query("SET DateStyle TO German").unwrap();
    take(&mut wire);
    let reply = [complete("SET"), parameter("DateStyle", "German, DMY"), ready(b'I')];
    answer(&mut wire, &mut texts, &reply.concat());
    assert_eq!(formats(&mut wire, &texts), [0; 0]);
}

#[test]
fn a_text_without_parameters_is_a_query_until_it_has_a_name() {
    let (mut wire, mut texts) = (open(), texts());
    wire.prepare_by_itself(ON);
    let send = |wire: &mut Wire, texts: &Texts| {
        let query = Known {
            simple: true,
            numbers: NUMBERS,
            ..PLAIN
        };
        wire.known(&query, texts, NOW).unwrap();
        summary(&take(wire))
    };
    let rows = [columns(&[("a", 23)]), row(&[Some(b"1")]), complete("SELECT 1")].concat();
    let result = [&rows[..], &ready(b'I')].concat();
    let told = &RESULT["ParseComplete\n".len()..];
    for (wanted, before) in [("Q", vec![]), ("Q", vec![]), ("QQ", pid("7"))] {
        assert_eq!(send(&mut wire, &texts), wanted);
        assert_eq!(answer(&mut wire, &mut texts, &[before, result.clone()].concat()), told);
    }
    assert_eq!(send(&mut wire, &texts), "P(__heys_1)B(__heys_1)DES");
    assert_eq!(answer(&mut wire, &mut texts, &reply(true, b'I')), RESULT);
    assert_eq!(send(&mut wire, &texts), "B(__heys_1)DES");
    assert_eq!(answer(&mut wire, &mut texts, &reply(false, b'I')), told);
    // What is given up is closed by the next request that has room for it; a Query has none.
    wire.query("SET TimeZone TO UTC").unwrap();
    take(&mut wire);
    let changed = [complete("SET"), parameter("TimeZone", "UTC"), ready(b'I')].concat();
    answer(&mut wire, &mut texts, &changed);
    assert_eq!(send(&mut wire, &texts), "Q");
    answer(&mut wire, &mut texts, &result);
    self::send(&mut wire, &texts);
    assert_eq!(summary(&take(&mut wire)), "C(__heys_1)PBDES");
}

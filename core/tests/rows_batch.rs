//! Batches against a plain decoder of the same rows.
#![allow(clippy::unwrap_used)]

#[path = "proto/xorshift.rs"]
mod xorshift;

use heys_core::proto::{RowSink, SinkState};
use heys_core::rows::{Batch, CellKind, Packed};
use xorshift::Xorshift;

/// A kind for each column.
const KINDS: [CellKind; 6] = [
    CellKind::Text,
    CellKind::Int,
    CellKind::Bool,
    CellKind::Bytes,
    CellKind::Float8,
    CellKind::Timestamptz,
];

fn is_wide(kind: CellKind) -> bool {
    matches!(kind, CellKind::Float8 | CellKind::Timestamptz)
}

/// A kind for each word.
fn words(kinds: &[CellKind]) -> Vec<CellKind> {
    let words = |&kind| [kind, CellKind::High].into_iter().take(1 + usize::from(is_wide(kind)));
    kinds.iter().flat_map(words).collect()
}

type Row = Vec<Option<Vec<u8>>>;

/// The body of a DataRow.
fn body(row: &Row) -> Vec<u8> {
    let mut body = (row.len() as u16).to_be_bytes().to_vec();
    for cell in row {
        body.extend(cell.as_ref().map_or(-1, |cell| cell.len() as i32).to_be_bytes());
        body.extend(cell.as_deref().unwrap_or_default());
    }
    body
}

/// What JavaScript makes of one cell.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Null,
    /// UTF-16 units; of Bytes, one a byte.
    Text(Vec<u16>),
    Int(i32),
    Bool(bool),
    /// The bits of a double.
    Float(u64),
    /// Milliseconds since 1970.
    Instant(i64),
    Infinity {
        negative: bool,
    },
}

fn utf16(text: &[u8]) -> Vec<u16> {
    String::from_utf8_lossy(text).encode_utf16().collect()
}

/// Reads a batch as its documentation says.
fn read(packed: &Packed<'_>, kinds: &[CellKind]) -> Vec<Vec<Value>> {
    let units: Vec<u16> = match (packed.latin1, packed.utf16) {
        (Some(bytes), None) => bytes.iter().map(|&byte| byte.into()).collect(),
        (None, Some(units)) => units.to_vec(),
        other => panic!("{other:?}"),
    };
    assert_eq!(packed.cells.len(), packed.rows * words(kinds).len());
    let mut at = 0;
    let mut text = |length: i32| {
        if length == -1 {
            return Value::Null;
        }
        let begin = at;
        at += usize::try_from(length).unwrap();
        Value::Text(units[begin..at].to_vec())
    };
    let mut cells = packed.cells.iter();
    let rows = (0..packed.rows)
        .map(|_| {
            kinds
                .iter()
                .map(|kind| match (kind, *cells.next().unwrap()) {
                    (CellKind::Float8, low) => match (low, *cells.next().unwrap()) {
                        (-1, -1) => Value::Null,
                        (low, high) => Value::Float(u64::from(high as u32) << 32 | u64::from(low as u32)),
                    },
                    (CellKind::Timestamptz, low) => match (low, *cells.next().unwrap()) {
                        (0, i32::MIN) => Value::Null,
                        (0, i32::MAX) => Value::Infinity { negative: false },
                        (0, high) if high == -i32::MAX => Value::Infinity { negative: true },
                        (low, high) => Value::Instant(i64::from(high) << 32 | i64::from(low as u32)),
                    },
                    (CellKind::Int, i32::MIN) if packed.kinds_hold => Value::Null,
                    (CellKind::Int, number) if packed.kinds_hold => Value::Int(number),
                    (CellKind::Bool, truth) if packed.kinds_hold => match truth {
                        -1 => Value::Null,
                        0 | 1 => Value::Bool(truth == 1),
                        other => panic!("a truth of {other}"),
                    },
                    (_, length) => text(length),
                })
                .collect()
        })
        .collect();
    assert_eq!(at, units.len(), "all text belongs to a cell");
    rows
}

/// Whether a cell can be packed as its kind.
fn holds(kind: CellKind, cell: &Option<Vec<u8>>) -> bool {
    let Some(cell) = cell else { return true };
    let text = String::from_utf8_lossy(cell);
    match kind {
        CellKind::Int => text
            .parse::<i32>()
            .is_ok_and(|n| n != i32::MIN && n.to_string() == text),
        CellKind::Bool => text == "t" || text == "f",
        _ => true,
    }
}

/// The same rows decoded cell by cell.
fn decode(rows: &[Row], kinds: &[CellKind], numbers: bool) -> Vec<Vec<Value>> {
    let cell = |kind: &CellKind, cell: &Option<Vec<u8>>| match (kind, cell) {
        (_, None) => Value::Null,
        (CellKind::Int, Some(cell)) if numbers => Value::Int(String::from_utf8_lossy(cell).parse().unwrap()),
        (CellKind::Bool, Some(cell)) if numbers => Value::Bool(cell == b"t"),
        (CellKind::Float8, Some(cell)) => match f64::from_be_bytes(cell[..].try_into().unwrap()) {
            double if double.is_nan() => Value::Float(f64::NAN.to_bits()),
            double => Value::Float(double.to_bits()),
        },
        (CellKind::Timestamptz, Some(cell)) => match i64::from_be_bytes(cell[..].try_into().unwrap()) {
            i64::MAX => Value::Infinity { negative: false },
            i64::MIN => Value::Infinity { negative: true },
            micros => Value::Instant((i128::from(micros) + 946_684_800_000_000).div_euclid(1000) as i64),
        },
        (CellKind::Bytes, Some(cell)) => Value::Text(cell.iter().map(|&byte| byte.into()).collect()),
        (_, Some(cell)) => Value::Text(utf16(cell)),
    };
    rows.iter()
        .map(|row| kinds.iter().zip(row).map(|(kind, value)| cell(kind, value)).collect())
        .collect()
}

/// Whether a kind's bytes are no text in UTF-8.
fn is_raw(kind: CellKind) -> bool {
    kind == CellKind::Bytes || is_wide(kind)
}

/// Checks what is in the batch against the rows that went in, and empties it.
fn check(batch: &mut Batch, rows: &mut Vec<Row>, kinds: &[CellKind]) {
    let packed = batch.packed();
    let numbers = rows
        .iter()
        .all(|row| kinds.iter().zip(row).all(|(kind, cell)| holds(*kind, cell)));
    assert_eq!(packed.kinds_hold, numbers, "{rows:?}");
    let ascii = rows.iter().all(|row| {
        let mut cells = kinds.iter().zip(row);
        cells.all(|(kind, cell)| is_raw(*kind) || cell.as_ref().is_none_or(|cell| cell.is_ascii()))
    });
    assert_eq!(packed.latin1.is_some(), ascii, "{rows:?}");
    assert_eq!(read(&packed, kinds), decode(rows, kinds, numbers));
    // Asked again, it says the same.
    let again = batch.packed();
    assert_eq!(read(&again, kinds), decode(rows, kinds, numbers));
    batch.clear();
    assert!(batch.is_empty());
    rows.clear();
}

fn random_cell(random: &mut Xorshift, kind: CellKind, odd: usize) -> Option<Vec<u8>> {
    if random.one_in(6) {
        return None;
    }
    let words = [
        "",
        "a",
        "ascii text",
        "Привет, мир",
        "日本語",
        "💪🏽",
        "é",
        "\u{10ffff}",
        "0",
        "t",
    ];
    let broken: [&[u8]; 5] = [b"\xff", b"\xd0", b"a\xe2\x82", b"\xed\xa0\x80", b"\xf0\x9f\x92"];
    let numbers = [
        "2147483648",
        "-2147483648",
        "-0",
        "00",
        "+1",
        " 1",
        "1.0",
        "",
        "-",
        "1e3",
        "99999999999999999999",
        "Ⅷ",
    ];
    Some(match kind {
        CellKind::Int if random.one_in(odd) => random.pick(&numbers).into(),
        CellKind::Int => {
            let edges = [0, 1, -1, 9, 10, i32::MAX, i32::MIN + 1, random.next() as i32 | 1];
            random.pick(&edges).to_string().into_bytes()
        }
        CellKind::Bool if random.one_in(odd) => random.pick(&["true", "", "T", "tt"]).into(),
        CellKind::Bool => random.pick(&["t", "f"]).into(),
        CellKind::Text if random.one_in(odd) => random.pick(&broken).to_vec(),
        CellKind::Text if random.one_in(3) => random.pick(&words).into(),
        CellKind::Text => vec![b'a' + random.below(26) as u8; random.below(20)],
        CellKind::Bytes => (0..random.below(9)).map(|_| random.next() as u8).collect(),
        CellKind::Float8 if random.one_in(3) => {
            let edges = [
                f64::NAN,
                -f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
                -0.0,
                f64::MIN_POSITIVE,
            ];
            random.pick(&edges).to_be_bytes().into()
        }
        CellKind::Timestamptz if random.one_in(3) => {
            let edges = [
                i64::MAX,
                i64::MIN,
                0,
                -1,
                999,
                -946_684_800_000_001,
                9_223_371_331_199_999_999,
            ];
            random.pick(&edges).to_be_bytes().into()
        }
        CellKind::Float8 | CellKind::Timestamptz => random.next().to_be_bytes().into(),
        CellKind::High => unreachable!("no column"),
    })
}

#[test]
fn random_rows_are_read_back_as_a_plain_decoder_reads_them() {
    let random = &mut Xorshift::from_env("rows");
    let mut batch = Batch::default();
    for _ in 0..3000 {
        let kinds: Vec<_> = (0..random.below(7)).map(|_| random.pick(&KINDS)).collect();
        let odd = random.pick(&[5, 100, 100_000]);
        let ascii = random.one_in(2);
        batch.start(&words(&kinds));
        let mut rows = Vec::new();
        for _ in 0..random.below(60) {
            let row: Row = kinds.iter().map(|&kind| random_cell(random, kind, odd)).collect();
            let plain = |(kind, cell): (&CellKind, &Option<Vec<u8>>)| {
                is_raw(*kind) || cell.as_ref().is_none_or(|cell| cell.is_ascii())
            };
            if ascii && !kinds.iter().zip(&row).all(plain) {
                continue;
            }
            let state = batch.row(&body(&row));
            rows.push(row);
            if state == SinkState::Full || random.one_in(40) {
                check(&mut batch, &mut rows, &kinds);
            }
        }
        check(&mut batch, &mut rows, &kinds);
    }
}

#[test]
fn a_number_of_another_length_is_null() {
    let mut batch = Batch::default();
    let kinds = [CellKind::Float8, CellKind::Timestamptz];
    batch.start(&words(&kinds));
    batch.row(&body(&vec![Some(b"1.5".to_vec()), Some(vec![0; 9])]));
    assert_eq!(read(&batch.packed(), &kinds), [[Value::Null, Value::Null]]);
}

#[test]
fn every_i32_near_an_edge_is_packed_as_itself() {
    let mut batch = Batch::default();
    batch.start(&[CellKind::Int]);
    let edges = (0..=9).flat_map(|power| {
        let ten = 10i64.pow(power);
        [ten - 1, ten, ten + 1, 1 - ten, -ten, -ten - 1]
    });
    let edges: Vec<i64> = edges.chain([2_147_483_647, -2_147_483_647]).collect();
    for number in &edges {
        batch.row(&body(&vec![Some(number.to_string().into_bytes())]));
    }
    let packed = batch.packed();
    assert!(packed.kinds_hold);
    assert_eq!(
        packed.cells.iter().map(|&cell| cell.into()).collect::<Vec<i64>>(),
        edges
    );
    assert_eq!(packed.latin1, Some(&b""[..]));
}

#[test]
fn the_smallest_integer_is_kept_as_text_because_its_word_means_null() {
    let mut batch = Batch::default();
    batch.start(&[CellKind::Int, CellKind::Bool]);
    batch.row(&body(&vec![Some(b"-7".to_vec()), None]));
    batch.row(&body(&vec![Some(b"-2147483648".to_vec()), Some(b"t".to_vec())]));
    let packed = batch.packed();
    assert_eq!((packed.kinds_hold, packed.rows), (false, 2));
    assert_eq!(packed.cells, [2, -1, 11, 1]);
    assert_eq!(packed.latin1, Some(&b"-7-2147483648t"[..]));
    batch.clear();
    batch.row(&body(&vec![Some(b"5".to_vec()), Some(b"f".to_vec())]));
    let packed = batch.packed();
    assert_eq!((packed.kinds_hold, packed.cells), (true, &[5, 0][..]));
}

#[test]
fn raw_bytes_stay_one_unit_each_with_or_without_other_text() {
    let mut batch = Batch::default();
    batch.start(&[CellKind::Bytes, CellKind::Text]);
    let bytes: Vec<u8> = (0..=255).collect();
    batch.row(&body(&vec![Some(bytes.clone()), Some(b"ascii".to_vec())]));
    assert_eq!(batch.packed().latin1, Some(&[bytes.as_slice(), b"ascii"].concat()[..]));
    batch.row(&body(&vec![Some(bytes.clone()), Some("я".into())]));
    let packed = batch.packed();
    assert_eq!(packed.cells, [256, 5, 256, 1]);
    let expected: Vec<u16> = (0..=255)
        .chain("ascii".encode_utf16())
        .chain(0..=255)
        .chain([0x44f])
        .collect();
    assert_eq!(packed.utf16, Some(&expected[..]));
}

#[test]
fn a_batch_is_full_between_16_and_48_kib_of_text() {
    let mut batch = Batch::default();
    batch.start(&[CellKind::Text]);
    let row = body(&vec![Some(vec![b'x'; 1000])]);
    while batch.row(&row) == SinkState::Open {}
    let text = batch.packed().latin1.unwrap().len();
    assert!((16 * 1024..=48 * 1024).contains(&text), "{text}");
}

#[test]
fn a_batch_of_small_cells_is_full_before_16_ki_words() {
    let mut batch = Batch::default();
    for columns in [1, 10, 1000, 1664] {
        batch.start(&vec![CellKind::Int; columns]);
        let row = body(&vec![Some(b"1".to_vec()); columns]);
        while batch.row(&row) == SinkState::Open {}
        let cells = batch.packed().cells.len();
        assert!(
            cells <= 16 * 1024 && cells + columns > 16 * 1024,
            "{columns} columns, {cells} cells"
        );
        batch.clear();
    }
}

#[test]
fn one_giant_row_is_a_batch_alone() {
    let mut batch = Batch::default();
    batch.start(&[CellKind::Text]);
    assert_eq!(batch.row(&body(&vec![Some(vec![b'x'; 10_000_000])])), SinkState::Full);
    assert_eq!(batch.packed().cells, [10_000_000]);
    batch.clear();
    assert_eq!(batch.row(&body(&vec![Some(b"next".to_vec())])), SinkState::Open);
    assert_eq!(batch.packed().latin1, Some(&b"next"[..]));
}

#[test]
fn rows_without_columns_are_counted() {
    let mut batch = Batch::default();
    batch.start(&[]);
    for _ in 0..5 {
        assert_eq!(batch.row(&[0, 0]), SinkState::Open);
    }
    let packed = batch.packed();
    assert_eq!((packed.rows, packed.cells.len()), (5, 0));
}

#[test]
fn a_body_of_another_width_or_broken_never_leaves_a_crooked_batch() {
    let mut batch = Batch::default();
    batch.start(&[CellKind::Text, CellKind::Int]);
    for body in [
        &b""[..],
        b"\0",
        b"\0\x01\0\0\0\x01a",
        b"\0\x03\0\0\0\x01a\xff\xff\xff\xff\0\0\0\x01b",
        b"\0\x02\x7f\xff\xff\xffa",
    ] {
        batch.row(body);
    }
    let packed = batch.packed();
    assert_eq!((packed.rows, packed.cells.len()), (5, 10));
    assert_eq!(read(&packed, &[CellKind::Text, CellKind::Int]).len(), 5);
}

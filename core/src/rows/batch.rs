//! A batch: one string and one array of lengths for many rows.

use std::mem;

use crate::proto::{RowSink, SinkState};

/// A batch is full at this many bytes of text: a caller that keeps one short string keeps its whole batch.
const FULL_TEXT: usize = 32 * 1024;
/// A batch is full when another row could go past this many cells.
const FULL_CELLS: usize = 16 * 1024;
/// Memory beyond this, grown for a giant cell, does not outlive the batch.
const KEEP: usize = 256 * 1024;

/// How a column's cells are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum CellKind {
    /// The text is appended to the batch's string; the cell is its length in units of that string, -1 = NULL.
    Text = 0,
    /// A number that fits 32 bits signed (int2, int4): the cell is the number itself, `i32::MIN` = NULL. Where the
    /// value is `i32::MIN`, not an integer, or its text is not canonical, the whole batch is given up and packed as text: see
    /// [`Packed::kinds_hold`].
    Int = 1,
    /// `t` or `f`: the cell is 1 or 0, -1 = NULL.
    Bool = 2,
    /// Binary format or text to be passed on as bytes: each byte is one latin1 unit of the string.
    Bytes = 3,
    /// float8 in binary format: the cell is the double's low word, the next one, of kind [`CellKind::High`], its high word.
    /// NULL is -1 and -1, which no double is packed as: every NaN is the same.
    Float8 = 4,
    /// timestamptz in binary format: low and high word of its milliseconds since 1970-01-01 in UTC, what is finer cut off
    /// towards the past. NULL is 0 and `i32::MIN`, infinity 0 and `i32::MAX`, its negative 0 and `-i32::MAX`.
    Timestamptz = 5,
    /// The second word of the cell before.
    High = 6,
}

/// PostgreSQL counts from 2000-01-01 (protocol: Int64 microseconds).
const EPOCH_MILLIS: i64 = 946_684_800_000;

/// Packs DataRows for one result shape. Emptied and used again, it allocates nothing in the steady state.
#[derive(Debug, Default)]
pub struct Batch {
    /// One for each word of a row.
    kinds: Vec<CellKind>,
    rows: usize,
    /// The cells' text as the server sent it, one after the other.
    text: Vec<u8>,
    /// rows × kinds; lengths are bytes of `text`.
    cells: Vec<i32>,
    /// Int and Bool cells of this batch are numbers; else they are text.
    numbers: bool,
    /// The same as `text` and `cells` in UTF-16 units; filled by [`Batch::packed`] if it must.
    utf16: Vec<u16>,
    utf16_cells: Vec<i32>,
    /// For giving up: the old text and cells.
    spare_text: Vec<u8>,
    spare_cells: Vec<i32>,
}

/// What a batch holds, to be handed over and then cleared.
#[derive(Debug)]
pub struct Packed<'a> {
    /// Rows in the batch.
    pub rows: usize,
    /// rows × kinds words, row by row: see [`CellKind`].
    pub cells: &'a [i32],
    /// The text of all cells when every byte is ASCII (or the batch holds raw bytes): units are bytes.
    pub latin1: Option<&'a [u8]>,
    /// Else the same as UTF-16 code units, and lengths count these.
    pub utf16: Option<&'a [u16]>,
    /// Whether every cell could be packed as its column's kind. If not, all Int and Bool columns are packed as Text.
    pub kinds_hold: bool,
}

impl Batch {
    /// Starts a result whose columns are packed so: a kind for each, and [`CellKind::High`] behind each of two words. Any earlier rows must have been taken.
    pub fn start(&mut self, kinds: &[CellKind]) {
        self.kinds.clear();
        self.kinds.extend_from_slice(kinds);
        self.clear();
    }

    /// Whether no row is waiting.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// What is packed so far. Call [`Batch::clear`] after handing it over.
    pub fn packed(&mut self) -> Packed<'_> {
        let latin1 = self.is_latin1();
        if !latin1 {
            self.convert();
        }
        Packed {
            rows: self.rows,
            cells: if latin1 { &self.cells } else { &self.utf16_cells },
            latin1: latin1.then_some(&self.text),
            utf16: (!latin1).then_some(&self.utf16),
            kinds_hold: self.numbers,
        }
    }

    /// Empties the batch, keeps its columns and its memory.
    pub fn clear(&mut self) {
        self.rows = 0;
        self.numbers = true;
        shorten(&mut self.text);
        shorten(&mut self.cells);
        shorten(&mut self.utf16);
        shorten(&mut self.utf16_cells);
    }

    /// Whether every unit of text is one byte: all of it ASCII, but for the raw bytes.
    fn is_latin1(&self) -> bool {
        self.text.is_ascii()
            || self.kinds.contains(&CellKind::Bytes)
                && self
                    .pieces()
                    .all(|(kind, _, piece)| kind == CellKind::Bytes || piece.is_ascii())
    }

    /// The cells of the batch so far: kind, word, and text (empty for NULLs and numbers).
    fn pieces(&self) -> impl Iterator<Item = (CellKind, i32, &[u8])> {
        let mut rest = self.text.as_slice();
        self.kinds.iter().cycle().zip(&self.cells).map(move |(&kind, &cell)| {
            let length = if self.is_text(kind) {
                usize::try_from(cell).unwrap_or(0)
            } else {
                0
            };
            let (piece, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = after;
            (kind, cell, piece)
        })
    }

    /// Whether cells of this kind are lengths of text in this batch.
    fn is_text(&self, kind: CellKind) -> bool {
        match kind {
            CellKind::Text | CellKind::Bytes => true,
            CellKind::Int | CellKind::Bool => !self.numbers,
            CellKind::Float8 | CellKind::Timestamptz | CellKind::High => false,
        }
    }

    /// Makes the UTF-16 form. Bytes that are not UTF-8 become U+FFFD.
    fn convert(&mut self) {
        let (mut utf16, mut cells) = (mem::take(&mut self.utf16), mem::take(&mut self.utf16_cells));
        utf16.clear();
        cells.clear();
        for (kind, cell, piece) in self.pieces() {
            if cell < 0 || !self.is_text(kind) {
                cells.push(cell);
                continue;
            }
            let before = utf16.len();
            match std::str::from_utf8(piece) {
                _ if kind == CellKind::Bytes => utf16.extend(piece.iter().map(|&byte| u16::from(byte))),
                Ok(text) => utf16.extend(text.encode_utf16()),
                Err(_) => utf16.extend(String::from_utf8_lossy(piece).encode_utf16()),
            }
            cells.push((utf16.len() - before) as i32);
        }
        (self.utf16, self.utf16_cells) = (utf16, cells);
    }

    /// Writes the numbers of this batch back as the text they came from; until [`Batch::clear`] they are kept as text.
    fn give_up(&mut self) {
        let (mut text, mut cells) = (mem::take(&mut self.spare_text), mem::take(&mut self.spare_cells));
        text.clear();
        cells.clear();
        for (kind, cell, piece) in self.pieces() {
            let before = text.len();
            match (kind, cell) {
                (CellKind::Int, i32::MIN) | (CellKind::Bool, -1) | (CellKind::Text | CellKind::Bytes, -1) => {
                    cells.push(-1);
                    continue;
                }
                (CellKind::Int, number) => text.extend_from_slice(number.to_string().as_bytes()),
                (CellKind::Bool, truth) => text.push(if truth == 1 { b't' } else { b'f' }),
                (CellKind::Text | CellKind::Bytes, _) => text.extend_from_slice(piece),
                (CellKind::Float8 | CellKind::Timestamptz | CellKind::High, word) => {
                    cells.push(word);
                    continue;
                }
            }
            cells.push((text.len() - before) as i32);
        }
        self.spare_text = mem::replace(&mut self.text, text);
        self.spare_cells = mem::replace(&mut self.cells, cells);
        shorten(&mut self.spare_text);
        shorten(&mut self.spare_cells);
        self.numbers = false;
    }

    #[inline]
    fn push_text(&mut self, cell: &[u8]) {
        self.cells.push(cell.len() as i32);
        self.text.extend_from_slice(cell);
    }

    #[inline]
    fn push_number(&mut self, bits: u64) {
        self.cells.extend([bits as i32, (bits >> 32) as i32]);
    }

    #[inline]
    fn push(&mut self, kind: CellKind, cell: Option<&[u8]>) {
        match (kind, cell) {
            (CellKind::Int, None) if self.numbers => self.cells.push(i32::MIN),
            (_, None) => self.cells.push(-1),
            (CellKind::Text | CellKind::Bytes, Some(cell)) => self.push_text(cell),
            (CellKind::Int, Some(cell)) if self.numbers => match canonical_int(cell) {
                Some(number) => self.cells.push(number),
                None => {
                    self.give_up();
                    self.push_text(cell);
                }
            },
            (CellKind::Bool, Some(cell)) if self.numbers => match cell {
                b"t" => self.cells.push(1),
                b"f" => self.cells.push(0),
                _ => {
                    self.give_up();
                    self.push_text(cell);
                }
            },
            (_, Some(cell)) => self.push_text(cell),
        }
    }
}

impl RowSink for Batch {
    /// A row of another width than [`Batch::start`] was told is cut or filled with NULLs.
    fn row(&mut self, body: &[u8]) -> SinkState {
        let mut rest = body.get(2..).unwrap_or_default();
        let mut word = 0;
        while let Some(&kind) = self.kinds.get(word) {
            word += 1;
            let mut cell = None;
            if let Some((&length, after)) = rest.split_first_chunk() {
                rest = after;
                if let Ok(length) = usize::try_from(i32::from_be_bytes(length)) {
                    let (bytes, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                    cell = Some(bytes);
                    rest = after;
                }
            }
            match kind {
                CellKind::Float8 => self.push_number(float8(cell)),
                CellKind::Timestamptz => self.push_number(timestamptz(cell)),
                _ => {
                    self.push(kind, cell);
                    continue;
                }
            }
            word += 1;
        }
        self.rows += 1;
        if self.text.len() >= FULL_TEXT || self.cells.len() + self.kinds.len() > FULL_CELLS {
            SinkState::Full
        } else {
            SinkState::Open
        }
    }
}

/// The double's bits; all ones for NULL, and for what is none.
#[inline]
fn float8(cell: Option<&[u8]>) -> u64 {
    match cell.and_then(|cell| cell.try_into().ok()).map(f64::from_be_bytes) {
        None => u64::MAX,
        Some(double) if double.is_nan() => 0x7ff8 << 48,
        Some(double) => double.to_bits(),
    }
}

/// Milliseconds since 1970, or a word for what has none.
#[inline]
fn timestamptz(cell: Option<&[u8]>) -> u64 {
    const fn word(high: i32) -> u64 {
        (high as u32 as u64) << 32
    }
    match cell.and_then(|cell| cell.try_into().ok()).map(i64::from_be_bytes) {
        None => word(i32::MIN),
        Some(i64::MAX) => word(i32::MAX),
        Some(i64::MIN) => word(-i32::MAX),
        Some(micros) => (micros.div_euclid(1000) + EPOCH_MILLIS) as u64,
    }
}

/// The number, if writing it gives the same text again and it is not the word for NULL.
#[inline]
fn canonical_int(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 10 => {}
        _ => return None,
    }
    let mut number = 0i64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + i64::from(digit - b'0');
    }
    i32::try_from(if negative { -number } else { number })
        .ok()
        .filter(|&number| number != i32::MIN)
}

fn shorten<T>(buffer: &mut Vec<T>) {
    buffer.clear();
    buffer.shrink_to(KEEP);
}

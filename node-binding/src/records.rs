//! Events of a session → records in the shared words → `onRecords`.

use heys_core::Error;
use heys_core::proto::{ServerError, TransactionStatus};
use heys_core::rows::{CellKind, Packed};

use crate::commands;
use crate::env::{Hook, Wake};
use crate::errors;
use crate::raw::Value;

/// The kinds of records, as in the border.
mod kind {
    pub(super) const SHAPE: i32 = 0;
    pub(super) const ROWS: i32 = 1;
    pub(super) const COMPLETE: i32 = 2;
    pub(super) const EMPTY: i32 = 3;
    pub(super) const ERROR: i32 = 4;
    pub(super) const READY: i32 = 5;
    pub(super) const NOTICE: i32 = 6;
    pub(super) const NOTIFY: i32 = 7;
    pub(super) const PARAMETER: i32 = 8;
    pub(super) const SUSPENDED: i32 = 9;
    pub(super) const NO_DATA: i32 = 10;
    pub(super) const COPY_IN: i32 = 11;
    pub(super) const COPY_OUT: i32 = 12;
    pub(super) const PARSED: i32 = 13;
    pub(super) const CLOSED: i32 = 14;
    pub(super) const DRAINED: i32 = 15;
    pub(super) const REPEAT: i32 = 16;
}

/// A record without rows.
pub(crate) enum Record {
    Shape(i32),
    Complete(bytes::Bytes),
    Empty,
    Error(ServerError),
    Ready(TransactionStatus),
    Notice(ServerError),
    Notify { pid: i32, channel: String, payload: String },
    Parameter { name: String, value: String },
    Suspended,
    NoData,
    CopyIn,
    CopyOut,
    Parsed,
    Closed(Option<Error>),
    Drained,
    Repeat,
}

/// The longest record of [`Record`], in words.
const RECORD_WORDS: usize = 4;
/// Before the cells of a ROWS record.
const ROWS_HEAD: usize = 4;

/// An object that a record points to; made into JavaScript only when nothing of the session is borrowed.
enum Extra {
    Tag(bytes::Bytes),
    Error(ServerError),
    Notify { pid: i32, channel: String, payload: String },
    Parameter { name: String, value: String },
    Closed(Option<Error>),
}

/// Records of one session that JavaScript has not got yet.
pub(crate) struct Records<'a> {
    wake: &'a Wake<'a>,
    session: i32,
    /// Words used.
    length: usize,
    has_rows: bool,
    text: Option<Value>,
    extra: Vec<Extra>,
}

/// How far a batch has been handed over, when it did not fit the words at once.
#[derive(Default, Clone, Copy)]
pub(crate) struct Taken {
    rows: usize,
    units: usize,
}

impl<'a> Records<'a> {
    pub(crate) fn new(wake: &'a Wake<'a>, session: i32) -> Records<'a> {
        Records {
            wake,
            session,
            length: 0,
            has_rows: false,
            text: None,
            extra: Vec::new(),
        }
    }

    /// Whether another [`Record`] fits; if not, flush.
    pub(crate) fn has_room(&self) -> bool {
        self.length + RECORD_WORDS <= self.wake.environment.words().len()
    }

    /// Writes a record; there must be room.
    pub(crate) fn push(&mut self, record: Record) {
        match record {
            Record::Shape(id) => self.write(&[kind::SHAPE, id]),
            Record::Complete(tag) => self.complete(tag),
            Record::Empty => self.write(&[kind::EMPTY]),
            Record::Error(error) => self.write_extra(kind::ERROR, Extra::Error(error)),
            Record::Ready(status) => self.write(&[
                kind::READY,
                match status {
                    TransactionStatus::Idle => b'I',
                    TransactionStatus::InTransaction => b'T',
                    TransactionStatus::Failed => b'E',
                }
                .into(),
            ]),
            Record::Notice(notice) => self.write_extra(kind::NOTICE, Extra::Error(notice)),
            Record::Notify { pid, channel, payload } => {
                self.write_extra(kind::NOTIFY, Extra::Notify { pid, channel, payload });
            }
            Record::Parameter { name, value } => self.write_extra(kind::PARAMETER, Extra::Parameter { name, value }),
            Record::Suspended => self.write(&[kind::SUSPENDED]),
            Record::NoData => self.write(&[kind::NO_DATA]),
            Record::CopyIn => self.write(&[kind::COPY_IN]),
            Record::CopyOut => self.write(&[kind::COPY_OUT]),
            Record::Parsed => self.write(&[kind::PARSED]),
            Record::Closed(error) => self.write_extra(kind::CLOSED, Extra::Closed(error)),
            Record::Drained => self.write(&[kind::DRAINED]),
            Record::Repeat => self.write(&[kind::REPEAT]),
        }
    }

    fn complete(&mut self, tag: bytes::Bytes) {
        match commands::parse(&tag) {
            Some((command, count)) => {
                let (hi, lo) = count.map_or((-1, -1), |count| ((count >> 32) as i32, count as i32));
                self.write(&[kind::COMPLETE, command, hi, lo]);
            }
            None => {
                self.write(&[kind::COMPLETE, -1, -1, -1]);
                self.extra.push(Extra::Tag(tag));
            }
        }
    }

    /// Writes what fits of a batch's rows, all of it if possible. `false`: flush and call again.
    pub(crate) fn rows(
        &mut self,
        shape: i32,
        kinds: &[CellKind],
        hold: bool,
        packed: &Packed<'_>,
        taken: &mut Taken,
    ) -> bool {
        if self.has_rows {
            return false;
        }
        let width = kinds.len();
        let words = self.wake.environment.words();
        let left = packed.rows.saturating_sub(taken.rows);
        let room = words.len().saturating_sub(self.length + ROWS_HEAD);
        let all = left.saturating_mul(width) <= room;
        if !all && self.length > 0 {
            return false;
        }
        let rows = if all { left } else { room / width.max(1) };
        let first = taken.rows * width;
        let Some(cells) = packed.cells.get(first..first + rows * width) else {
            return true;
        };
        let head = [kind::ROWS, shape, rows as i32, (packed.kinds_hold && hold).into()];
        let slots = words.iter_mut().skip(self.length);
        for (slot, word) in slots.zip(head.iter().chain(cells)) {
            *slot = *word;
        }
        self.length += ROWS_HEAD + cells.len();
        self.has_rows = true;

        let units = match all {
            true => None,
            false => Some(taken.units..taken.units + text_units(cells, kinds, packed.kinds_hold)),
        };
        let js = self.wake.js;
        self.text = match (packed.latin1, packed.utf16) {
            (Some(text), _) => {
                let text = text
                    .get(units.clone().unwrap_or(taken.units..text.len()))
                    .unwrap_or_default();
                Some(js.latin1(text))
            }
            (None, Some(text)) => {
                let text = text
                    .get(units.clone().unwrap_or(taken.units..text.len()))
                    .unwrap_or_default();
                Some(js.utf16(text))
            }
            (None, None) => Some(js.latin1(&[])),
        };
        taken.rows += rows;
        taken.units = units.map_or(taken.units, |range| range.end);
        all
    }

    fn write(&mut self, record: &[i32]) {
        let words = self.wake.environment.words();
        if let Some(slots) = words.get_mut(self.length..self.length + record.len()) {
            slots.copy_from_slice(record);
            self.length += record.len();
        }
    }

    fn write_extra(&mut self, kind: i32, extra: Extra) {
        self.write(&[kind]);
        self.extra.push(extra);
    }

    /// Hands everything over. Nothing may be borrowed: JavaScript runs.
    pub(crate) fn flush(&mut self) {
        if self.length == 0 {
            return;
        }
        let js = self.wake.js;
        let extra = if self.extra.is_empty() {
            js.undefined()
        } else {
            let values: Vec<Value> = self
                .extra
                .drain(..)
                .map(|extra| self::extra(self.wake, extra))
                .collect();
            js.array(&values)
        };
        let text = self.text.take().unwrap_or_else(|| js.undefined());
        let length = std::mem::take(&mut self.length);
        self.has_rows = false;
        self.wake.call(
            Hook::Records,
            &[js.int(self.session), js.int(length as i32), text, extra],
        );
    }
}

/// How many units of the batch's string these cells use.
fn text_units(cells: &[i32], kinds: &[CellKind], kinds_hold: bool) -> usize {
    cells
        .iter()
        .zip(kinds.iter().cycle())
        .filter(|(_, kind)| match kind {
            CellKind::Text | CellKind::Bytes => true,
            CellKind::Int | CellKind::Bool => !kinds_hold,
            CellKind::Float8 | CellKind::Timestamptz | CellKind::High => false,
        })
        .map(|(cell, _)| usize::try_from(*cell).unwrap_or(0))
        .sum()
}

fn extra(wake: &Wake<'_>, extra: Extra) -> Value {
    let js = wake.js;
    match extra {
        Extra::Tag(tag) => js.string(&String::from_utf8_lossy(&tag)),
        Extra::Error(error) => errors::server_error(js, &error),
        Extra::Notify { pid, channel, payload } => {
            let object = js.object();
            js.set(object, c"channel", js.string(&channel));
            js.set(object, c"payload", js.string(&payload));
            js.set(object, c"processId", js.int(pid));
            object
        }
        Extra::Parameter { name, value } => js.array(&[js.string(&name), js.string(&value)]),
        Extra::Closed(Some(error)) => errors::raw_error(js, &error),
        Extra::Closed(None) => js.undefined(),
    }
}

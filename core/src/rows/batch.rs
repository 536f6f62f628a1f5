//! A batch: one string and one array of lengths for many rows.

use crate::proto::{RowSink, SinkState};

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
}

/// Packs DataRows for one result shape. Emptied and used again, it allocates nothing in the steady state.
#[derive(Debug, Default)]
pub struct Batch {}

/// What a batch holds, to be handed over and then cleared.
#[derive(Debug)]
pub struct Packed<'a> {
    /// Rows in the batch.
    pub rows: usize,
    /// rows × columns cells, row by row: see [`CellKind`].
    pub cells: &'a [i32],
    /// The text of all cells when every byte is ASCII (or the batch holds raw bytes): units are bytes.
    pub latin1: Option<&'a [u8]>,
    /// Else the same as UTF-16 code units, and lengths count these.
    pub utf16: Option<&'a [u16]>,
    /// Whether every cell could be packed as its column's kind. If not, all its columns are packed as Text (Bytes
    /// where the kind was Bytes).
    pub kinds_hold: bool,
}

impl Batch {
    /// Starts a result with these columns. Any earlier rows must have been taken.
    pub fn start(&mut self, _kinds: &[CellKind]) {
        todo!()
    }

    /// Whether no row is waiting.
    pub fn is_empty(&self) -> bool {
        todo!()
    }

    /// What is packed so far. Call [`Batch::clear`] after handing it over.
    pub fn packed(&mut self) -> Packed<'_> {
        todo!()
    }

    /// Empties the batch, keeps its columns and its memory.
    pub fn clear(&mut self) {
        todo!()
    }
}

impl RowSink for Batch {
    fn row(&mut self, _body: &[u8]) -> SinkState {
        todo!()
    }
}

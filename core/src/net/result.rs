//! What a query brought, by value.

use crate::Error;
use crate::error::Kind;
use crate::proto::{Event, RowSink, ServerError, SinkState};
use crate::rows::{Field, fields};

/// Notices kept of one request at most.
const NOTICES: usize = 100;

/// The result of one statement, all rows in memory.
#[derive(Debug, Default)]
pub struct QueryResult {
    fields: Vec<Field>,
    /// All values, one behind the other.
    data: Vec<u8>,
    /// Where each row begins in `data`.
    rows: Vec<usize>,
    /// rows × columns: where the value begins, from its row's start, and its length (-1 = NULL).
    cells: Vec<(u32, i32)>,
    tag: String,
}

impl QueryResult {
    /// Its columns; empty when the statement returns no rows.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The value's bytes in its column's format (text, unless asked otherwise); `None` = NULL, or out of range: see
    /// [`QueryResult::is_null`]. An empty value is `Some(&[])`.
    pub fn value(&self, row: usize, column: usize) -> Option<&[u8]> {
        let (start, length) = self.cell(row, column)?;
        let start = self.rows.get(row)?.checked_add(start as usize)?;
        let length = usize::try_from(length).ok()?;
        self.data.get(start..start.checked_add(length)?)
    }

    /// Whether the value is there and NULL; `None` = no such row or column.
    pub fn is_null(&self, row: usize, column: usize) -> Option<bool> {
        self.cell(row, column).map(|(_, length)| length < 0)
    }

    /// The value as text; `None` = NULL, out of range or not UTF-8.
    pub fn text(&self, row: usize, column: usize) -> Option<&str> {
        std::str::from_utf8(self.value(row, column)?).ok()
    }

    /// CommandComplete's tag (`INSERT 0 3`); empty for an empty query.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Rows affected or returned, where the tag says so.
    pub fn rows_affected(&self) -> Option<u64> {
        self.tag.rsplit(' ').next()?.parse().ok()
    }

    fn cell(&self, row: usize, column: usize) -> Option<(u32, i32)> {
        let columns = self.fields.len();
        match row < self.rows.len() && column < columns {
            true => self.cells.get(row.checked_mul(columns)?.checked_add(column)?).copied(),
            false => None,
        }
    }

    /// `body` is Int16 n, then n times Int32 length (-1 = NULL) and bytes, checked by the session.
    fn push(&mut self, body: &[u8]) {
        let start = self.data.len();
        self.rows.push(start);
        let mut rest = body.get(2..).unwrap_or_default();
        for _ in 0..self.fields.len() {
            let length = match rest.split_first_chunk::<4>() {
                Some((length, values)) => {
                    rest = values;
                    i32::from_be_bytes(*length)
                }
                None => -1,
            };
            // A message is shorter than 2^31 bytes.
            let offset = u32::try_from(self.data.len() - start).unwrap_or(u32::MAX);
            if let Some((value, others)) = usize::try_from(length).ok().and_then(|n| rest.split_at_checked(n)) {
                self.data.extend_from_slice(value);
                rest = others;
            }
            self.cells.push((offset, length));
        }
    }
}

/// Gathers what one request brings.
#[derive(Default)]
pub(super) struct Collector {
    /// Complete ones.
    results: Vec<QueryResult>,
    current: QueryResult,
    /// The first error.
    error: Option<ServerError>,
    copy_refused: bool,
    pub(super) notices: Vec<ServerError>,
}

impl Collector {
    /// Takes an event of the request; `Ok(true)` = it was its last.
    pub(super) fn event(&mut self, event: Event) -> Result<bool, Error> {
        match event {
            Event::Ready(_) => return Ok(true),
            Event::RowDescription(body) => {
                self.current = QueryResult {
                    fields: fields(&body)?,
                    ..QueryResult::default()
                };
            }
            Event::CommandComplete(tag) => {
                self.current.tag = String::from_utf8_lossy(&tag).into_owned();
                self.results.push(std::mem::take(&mut self.current));
            }
            Event::EmptyQuery => self.results.push(std::mem::take(&mut self.current)),
            Event::Error(error) => {
                self.error.get_or_insert(error);
            }
            Event::Notice(notice) if self.notices.len() < NOTICES => self.notices.push(notice),
            Event::CopyInRefused => self.copy_refused = true,
            _ => {}
        }
        Ok(false)
    }

    /// The server's error, if there was one.
    pub(super) fn take_error(&mut self) -> Option<Error> {
        let error = Error::from_server(self.error.take()?);
        Some(match self.copy_refused {
            false => error,
            true => Error::new(
                Kind::Usage,
                "COPY … FROM STDIN has no source here: nothing was copied; send the rows with INSERT, or use psql's \\copy",
            )
            .with_name(error.code().unwrap_or_default().to_owned())
            .with_source(error),
        })
    }

    pub(super) fn finish(mut self) -> Result<Vec<QueryResult>, Error> {
        match self.take_error() {
            Some(error) => Err(error),
            None => Ok(self.results),
        }
    }
}

impl RowSink for Collector {
    fn row(&mut self, body: &[u8]) -> SinkState {
        self.current.push(body);
        SinkState::Open
    }
}

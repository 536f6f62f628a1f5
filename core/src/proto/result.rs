//! What describes a result and its rows, checked before anybody believes it.

use super::NUMBER;
use super::reader::Reader;
use crate::statements::Column;
use crate::{Error, Result};

/// Whether the body of a DataRow has exactly `columns` cells, all inside it, and `fits` says yes to the length of each that
/// is not NULL.
#[inline]
pub(super) fn is_row(body: &[u8], columns: usize, fits: impl Fn(usize, i32) -> bool) -> bool {
    let Some((&count, mut rest)) = body.split_first_chunk() else {
        return false;
    };
    if usize::from(u16::from_be_bytes(count)) != columns {
        return false;
    }
    for column in 0..columns {
        let Some((&length, cell)) = rest.split_first_chunk() else {
            return false;
        };
        rest = match i32::from_be_bytes(length) {
            -1 => cell,
            length if !fits(column, length) => return false,
            length => match usize::try_from(length).ok().and_then(|length| cell.get(length..)) {
                Some(rest) => rest,
                None => return false,
            },
        };
    }
    rest.is_empty()
}

/// As [`is_row`]; those of the cells that are `numbers` have eight bytes.
pub(super) fn is_row_of_numbers(body: &[u8], columns: usize, numbers: &[bool]) -> bool {
    is_row(body, columns, |column, length| {
        length == 8 || numbers.get(column) != Some(&true)
    })
}

/// The next cell of a row, NULL as nothing.
pub(super) fn cell<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8]> {
    let length = usize::try_from(reader.i32()?).unwrap_or(0);
    reader.bytes(length)
}

pub(super) fn number(digits: &[u8]) -> Option<i32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Walks a RowDescription and says how many columns it has. `each` is told the offset and value of each one's format code,
/// and its type.
#[inline]
pub(super) fn walk_row_description(body: &[u8], mut each: impl FnMut(usize, i16, u32) -> Result<()>) -> Result<usize> {
    let mut reader = Reader::new(body);
    let columns = usize::try_from(reader.i16()?)
        .map_err(|_| Error::protocol("The server described a result with a negative number of columns"))?;
    for _ in 0..columns {
        reader.cstr()?;
        reader.array::<6>()?;
        let type_oid = reader.u32()?;
        reader.array::<6>()?;
        let format = reader.i16()?;
        each(body.len() - reader.rest().len() - 2, format, type_oid)?;
    }
    reader.end()?;
    Ok(columns)
}

/// Marks the columns in binary format of a RowDescription as numbers, in its copy and in `numbers`, and says how many it
/// has.
pub(super) fn mark_numbers(body: &[u8], copy: &mut [u8], numbers: &mut Vec<bool>) -> Result<usize> {
    walk_row_description(body, |at, format, type_oid| {
        let is_number = format == 1;
        if is_number && Column::of(type_oid) == Column::Text {
            return Err(Error::protocol(
                "The server sent a column in a format that nobody asked for",
            ));
        }
        numbers.push(is_number);
        if is_number && let Some(format) = copy.get_mut(at..at + 2) {
            format.copy_from_slice(&NUMBER.to_be_bytes());
        }
        Ok(())
    })
}

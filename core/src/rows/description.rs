//! RowDescription: per field String name; Int32 table, Int16 column, Int32 type, Int16 size, Int32 modifier, Int16 format.

use crate::Error;
use crate::proto::reader::Reader;

/// One column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Column name (label).
    pub name: String,
    /// The table's oid, 0 if the column is none of a table's.
    pub table: u32,
    /// The column's attribute number, or 0.
    pub column: i16,
    /// Oid of the data type.
    pub type_oid: u32,
    /// `pg_type.typlen`; negative = variable.
    pub type_size: i16,
    /// `pg_attribute.atttypmod`.
    pub type_modifier: i32,
    /// 0 text, 1 binary, or [`crate::proto::NUMBER`].
    pub format: i16,
}

/// The fields in the body of a RowDescription.
pub fn fields(body: &[u8]) -> crate::Result<Vec<Field>> {
    let mut reader = Reader::new(body);
    let count = usize::try_from(reader.i16()?)
        .map_err(|_| Error::protocol("The server described a result with a negative number of columns"))?;
    // Each field is at least 19 bytes long, so a short body cannot make much be reserved.
    let mut fields = Vec::with_capacity(count.min(body.len() / 19));
    for _ in 0..count {
        fields.push(Field {
            name: reader.string()?,
            table: reader.u32()?,
            column: reader.i16()?,
            type_oid: reader.u32()?,
            type_size: reader.i16()?,
            type_modifier: reader.i32()?,
            format: reader.i16()?,
        });
    }
    reader.end()?;
    Ok(fields)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_field_is_read_and_nothing_may_follow_or_lack() {
        let body = [
            b"\0\x02id\0" as &[u8],
            b"\xff\xff\xff\xfe\0\x03\0\0\0\x17\0\x04\xff\xff\xff\xff\0\x01",
            "имя\0".as_bytes(),
            b"\0\0\0\0\0\0\0\0\x04\x13\xff\xff\0\0\0\x44\0\0",
        ]
        .concat();
        let id = Field {
            name: "id".to_owned(),
            table: 4_294_967_294,
            column: 3,
            type_oid: 23,
            type_size: 4,
            type_modifier: -1,
            format: 1,
        };
        let name = Field {
            name: "имя".to_owned(),
            table: 0,
            column: 0,
            type_oid: 1043,
            type_size: -1,
            type_modifier: 68,
            format: 0,
        };
        assert_eq!(fields(&body).unwrap(), [id, name]);
        assert_eq!(fields(b"\0\0").unwrap(), []);
        assert!(fields(&[&body[..], b"\0"].concat()).is_err());
        for end in 0..body.len() {
            assert!(fields(&body[..end]).is_err(), "{end} bytes");
        }
        assert!(fields(b"\xff\xff").is_err(), "a negative count");
    }
}

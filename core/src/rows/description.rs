//! RowDescription: per field String name; Int32 table, Int16 column, Int32 type, Int16 size, Int32 modifier, Int16 format.

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
    /// 0 text, 1 binary.
    pub format: i16,
}

/// The fields in the body of a RowDescription.
pub fn fields(body: &[u8]) -> crate::Result<Vec<Field>> {
    let mut reader = Reader::new(body);
    let count = reader.i16()?;
    // Each field is at least 19 bytes long, so a short body cannot make much be reserved.
    let mut fields = Vec::with_capacity((body.len() / 19).min(usize::try_from(count).unwrap_or(0)));
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

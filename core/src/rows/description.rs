//! RowDescription: per field String name; Int32 table, Int16 column, Int32 type, Int16 size, Int32 modifier, Int16 format.

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
pub fn fields(_body: &[u8]) -> crate::Result<Vec<Field>> {
    todo!()
}

//! Columns that a named statement can deliver in binary format without anybody seeing a difference.

use memchr::memchr2_iter;

/// Types whose values are taken as numbers where their texts would give the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbers {
    /// float8: its text is the shortest one that gives the same double back where extra_float_digits is above 0
    /// (PostgreSQL documentation, chapter 20.11.2).
    pub float8: bool,
    /// timestamptz: its text names the same instant where DateStyle is ISO.
    pub timestamptz: bool,
}

/// How one column could come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Text,
    Float8,
    Timestamptz,
}

impl Column {
    /// By the oid of its type (pg_type.dat).
    pub(crate) fn of(type_oid: u32) -> Column {
        match type_oid {
            701 => Column::Float8,
            1184 => Column::Timestamptz,
            _ => Column::Text,
        }
    }

    /// Whether it is a number of eight bytes to whoever takes these.
    pub(super) fn is_among(self, numbers: Numbers) -> bool {
        match self {
            Column::Text => false,
            Column::Float8 => numbers.float8,
            Column::Timestamptz => numbers.timestamptz,
        }
    }
}

/// Whether a statement may change extra_float_digits, which the server does not report.
pub(crate) fn mentions_float_digits(sql: &[u8]) -> bool {
    const NAME: &[u8] = b"extra_float_digits";
    memchr2_iter(b'x', b'X', sql).any(|at| {
        let name = at.checked_sub(1).and_then(|start| sql.get(start..start + NAME.len()));
        name.is_some_and(|name| name.eq_ignore_ascii_case(NAME))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_found_in_any_case_and_nothing_else_is() {
        for sql in [
            "SET extra_float_digits = 0",
            "select set_config('EXTRA_float_DIGITS', '0', false)",
            "x xx extra_float_digits",
        ] {
            assert!(mentions_float_digits(sql.as_bytes()), "{sql}");
        }
        for sql in [
            "",
            "x",
            "extra",
            "SELECT extra FROM t",
            "extra_float_digit",
            "xtra_float_digits",
        ] {
            assert!(!mentions_float_digits(sql.as_bytes()), "{sql}");
        }
    }
}

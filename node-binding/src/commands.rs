//! Command tags (protocol chapter 55.7, CommandComplete) → the border's COMMANDS and counts.

/// In the border's order.
const COMMANDS: [&[u8]; 16] = [
    b"SELECT",
    b"INSERT",
    b"UPDATE",
    b"DELETE",
    b"BEGIN",
    b"COMMIT",
    b"ROLLBACK",
    b"SET",
    b"COPY",
    b"FETCH",
    b"MOVE",
    b"MERGE",
    b"CREATE",
    b"DROP",
    b"DO",
    b"CALL",
];

/// The command's index and its count of rows, if it has one. `None`: JavaScript gets the tag itself (an unknown
/// command, or an INSERT that names an oid).
pub(crate) fn parse(tag: &[u8]) -> Option<(i32, Option<u64>)> {
    let mut words = tag.split(|byte| *byte == b' ');
    let first = words.next()?;
    let command = COMMANDS.iter().position(|command| *command == first)?;
    let count = match (words.next(), words.next()) {
        (None, _) => None,
        // `CREATE TABLE`, `DROP INDEX`, … have no count.
        (Some(word), None) => number(word),
        // `INSERT oid rows`: the oid is 0 in every server that is still supported.
        (Some(b"0"), Some(rows)) if first == b"INSERT" => Some(number(rows)?),
        (Some(oid), Some(_)) => match number(oid) {
            Some(_) => return None,
            None => None,
        },
    };
    Some((command as i32, count))
}

fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

//! What a backend says, in bytes.

pub(super) fn message(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    out.push(tag);
    out.extend((body.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(body);
}

pub(super) fn error(out: &mut Vec<u8>, severity: &str, code: &str, text: &str) {
    let body = format!("S{severity}\0V{severity}\0C{code}\0M{text}\0\0");
    message(out, b'E', body.as_bytes());
}

/// A notice, which may come at any time between messages.
pub(crate) fn notice(out: &mut Vec<u8>) {
    message(out, b'N', b"SNOTICE\0VNOTICE\0C00000\0Mnever mind\0\0");
}

pub(super) fn parameter(out: &mut Vec<u8>, name: &str, value: &str) {
    message(out, b'S', format!("{name}\0{value}\0").as_bytes());
}

pub(super) fn row(out: &mut Vec<u8>, text: &str) {
    let mut body = vec![0, 1];
    body.extend((text.len() as u32).to_be_bytes());
    body.extend_from_slice(text.as_bytes());
    message(out, b'D', &body);
}

pub(super) fn describe_unless_utility(verb: &str, out: &mut Vec<u8>) {
    if !is_utility(verb) {
        // Int16 columns; String name, Int32 table, Int16 column, Int32 type (text), Int16 size, Int32 modifier, Int16 format.
        message(
            out,
            b'T',
            b"\0\x01id\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0",
        );
    }
}

pub(super) fn describe(verb: &str, out: &mut Vec<u8>) {
    if is_utility(verb) {
        message(out, b'n', &[]);
    } else {
        describe_unless_utility(verb, out);
    }
}

fn is_utility(verb: &str) -> bool {
    let returns_rows = matches!(verb, "echo" | "rows" | "big" | "pid");
    !returns_rows
}

//! Messages of a server.

pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend((body.len() as u32 + 4).to_be_bytes());
    out.extend(body);
    out
}

/// Strings one after the other, each with its NUL.
pub(crate) fn strings(texts: &[&str]) -> Vec<u8> {
    texts
        .iter()
        .flat_map(|text| [text.as_bytes(), b"\0"].concat())
        .collect()
}

pub(crate) fn authentication(code: i32, data: &[u8]) -> Vec<u8> {
    message(b'R', &[&code.to_be_bytes(), data].concat())
}

pub(crate) fn parameter(name: &str, value: &str) -> Vec<u8> {
    message(b'S', &strings(&[name, value]))
}

pub(crate) fn key(pid: i32, key: i32) -> Vec<u8> {
    message(b'K', &[pid.to_be_bytes(), key.to_be_bytes()].concat())
}

pub(crate) fn ready(status: u8) -> Vec<u8> {
    message(b'Z', &[status])
}

/// A RowDescription of text columns with this name and type.
pub(crate) fn columns(columns: &[(&str, u32)]) -> Vec<u8> {
    let mut body = (columns.len() as i16).to_be_bytes().to_vec();
    for (name, oid) in columns {
        body.extend(strings(&[name]));
        body.extend([0; 6]);
        body.extend(oid.to_be_bytes());
        body.extend([0, 4, 255, 255, 255, 255, 0, 0]);
    }
    message(b'T', &body)
}

pub(crate) fn row(cells: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = (cells.len() as i16).to_be_bytes().to_vec();
    for cell in cells {
        body.extend(cell.map_or(-1, |cell| cell.len() as i32).to_be_bytes());
        body.extend(cell.unwrap_or_default());
    }
    message(b'D', &body)
}

pub(crate) fn complete(tag: &str) -> Vec<u8> {
    message(b'C', &strings(&[tag]))
}

/// The body of an ErrorResponse or NoticeResponse.
pub(crate) fn fields(fields: &[(u8, &str)]) -> Vec<u8> {
    let mut body: Vec<u8> = fields
        .iter()
        .flat_map(|(code, text)| [&[*code], text.as_bytes(), b"\0"].concat())
        .collect();
    body.push(0);
    body
}

pub(crate) fn error(sqlstate: &str, text: &str) -> Vec<u8> {
    let all = [(b'S', "ERROR"), (b'V', "ERROR"), (b'C', sqlstate), (b'M', text)];
    message(b'E', &fields(&all))
}

/// AuthenticationOk, a parameter, BackendKeyData, ReadyForQuery.
pub(crate) fn hello() -> Vec<u8> {
    let version = parameter("server_version", "17.2");
    [authentication(0, b""), version, key(7, 11), ready(b'I')].concat()
}

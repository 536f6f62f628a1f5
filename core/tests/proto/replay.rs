//! Replays a server's bytes in pieces and writes down all that comes of them.

use heys_core::proto::{Event, NUMBER, RowSink, SinkState, Startup, Wire};
use heys_core::rows;

use crate::messages::hello;

/// Events, rows and bytes sent, one line each.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Transcript {
    pub(crate) lines: Vec<String>,
    pub(crate) sent: Vec<u8>,
    rows: usize,
}

impl Transcript {
    /// All lines, one after the other.
    pub(crate) fn text(&self) -> String {
        self.lines.join("\n")
    }
}

/// Writes rows down; is full at every second one.
impl RowSink for Transcript {
    fn row(&mut self, body: &[u8]) -> SinkState {
        let mut line = "row".to_owned();
        let mut rest = &body[2..];
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = i32::from_be_bytes(*length);
            let (cell, after) = after.split_at(length.max(0) as usize);
            line += if length < 0 { " NULL" } else { " " };
            line += &String::from_utf8_lossy(cell);
            rest = after;
        }
        self.lines.push(line);
        self.rows += 1;
        if self.rows.is_multiple_of(2) {
            SinkState::Full
        } else {
            SinkState::Open
        }
    }
}

pub(crate) fn describe(event: &Event) -> String {
    match event {
        Event::RowDescription(body) => {
            let fields = rows::fields(body).unwrap();
            let names = fields.iter().map(|field| {
                let number = if field.format == NUMBER { "/2" } else { "" };
                format!(" {}:{}{number}", field.name, field.type_oid)
            });
            format!("columns{}", names.collect::<String>())
        }
        Event::CommandComplete(tag) => format!("complete {}", String::from_utf8_lossy(tag)),
        Event::Error(error) => format!("error {} {} ({})", error.code(), error.message(), error.length()),
        Event::Notice(notice) => format!("notice {} {}", notice.code(), notice.message()),
        Event::ParameterStatus { name, value } => format!("parameter {name}={value}"),
        Event::Notification { pid, channel, payload } => format!("notification {pid} {channel} {payload}"),
        other => format!("{other:?}"),
    }
}

pub(crate) fn startup() -> Startup {
    Startup {
        params: vec![("user".into(), "ada".into()), ("database".into(), "heys".into())],
        ..Startup::default()
    }
}

/// Gives bytes to the wire, as much at once as it takes.
pub(crate) fn give(wire: &mut Wire, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let spare = wire.spare();
        let n = spare.len().min(bytes.len());
        spare[..n].copy_from_slice(&bytes[..n]);
        wire.filled(n).unwrap();
        bytes = &bytes[n..];
    }
}

/// Takes all that the wire wants to send.
pub(crate) fn take(wire: &mut Wire) -> Vec<u8> {
    let mut sent = Vec::new();
    loop {
        let output = wire.output().to_vec();
        if output.is_empty() {
            return sent;
        }
        sent.extend(&output);
        wire.sent(output.len());
    }
}

/// Polls until nothing comes; answers password requests with "secret". False when the session has failed.
pub(crate) fn poll(wire: &mut Wire, transcript: &mut Transcript) -> bool {
    loop {
        match wire.poll_event(transcript) {
            Ok(None) => break,
            Ok(Some(event)) => {
                transcript.lines.push(describe(&event));
                if matches!(event, Event::PasswordRequested(_)) {
                    wire.password(b"secret").unwrap();
                }
            }
            Err(error) => {
                transcript
                    .lines
                    .push(format!("failed {:?}: {}", error.kind(), error.message()));
                transcript.sent.extend(take(wire));
                return false;
            }
        }
    }
    transcript.sent.extend(take(wire));
    true
}

/// A session past its startup.
pub(crate) fn open() -> Wire {
    let mut wire = Wire::new(&startup(), None).unwrap();
    give(&mut wire, &hello());
    assert!(poll(&mut wire, &mut Transcript::default()));
    take(&mut wire);
    wire
}

/// The reply in pieces that end at these places.
fn run(wire: &mut Wire, reply: &[u8], ends: impl Iterator<Item = usize>) -> Transcript {
    let mut transcript = Transcript {
        sent: take(wire),
        ..Transcript::default()
    };
    let mut begin = 0;
    for end in ends.chain([reply.len()]) {
        give(wire, &reply[begin..end]);
        begin = end;
        if !poll(wire, &mut transcript) {
            break;
        }
    }
    // SCRAM's nonce is another one each time.
    if let Some(nonce) = transcript.sent.windows(5).position(|bytes| bytes == b"n=,r=") {
        transcript.sent[nonce + 5..].fill(b'?');
    }
    transcript
}

/// Replays `reply` whole, split in two at every byte, and byte by byte; all must come to the same, which is returned.
pub(crate) fn replay(prepare: impl Fn() -> Wire, reply: &[u8]) -> Transcript {
    let whole = run(&mut prepare(), reply, std::iter::empty());
    for split in 0..=reply.len() {
        let split_in_two = run(&mut prepare(), reply, std::iter::once(split));
        assert_eq!(split_in_two, whole, "split at byte {split}");
    }
    let bytewise = run(&mut prepare(), reply, 1..reply.len());
    assert_eq!(bytewise, whole, "byte by byte");
    whole
}

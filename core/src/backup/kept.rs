//! What a program says on a pipe, bounded: its beginning and its end.

use std::collections::VecDeque;
use std::io::Read;
use std::thread;

use tokio::sync::oneshot;

/// Bytes kept of the beginning and of the end.
const KEPT: usize = 8 << 10;

/// The beginning and the end of a stream of text, read by a thread of its own.
#[derive(Default)]
pub(super) struct Kept {
    begin: Vec<u8>,
    end: VecDeque<u8>,
    left_out: bool,
}

impl Kept {
    /// Reads `from` to its end; what does not fit is read and forgotten.
    pub(super) fn read(mut from: impl Read + Send + 'static) -> oneshot::Receiver<Kept> {
        let (done, kept) = oneshot::channel();
        let body = move || {
            let mut kept = Kept::default();
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                kept.push(buffer.get(..n).unwrap_or_default());
            }
            let _ = done.send(kept);
        };
        // Without a thread the receiver reports a closed channel, which reads as "nothing was said".
        let _ = thread::Builder::new().name("backup-stderr".to_owned()).spawn(body);
        kept
    }

    fn push(&mut self, bytes: &[u8]) {
        let (begin, rest) = bytes.split_at(bytes.len().min(KEPT - self.begin.len()));
        self.begin.extend(begin);
        self.end.extend(rest);
        let surplus = self.end.len().saturating_sub(KEPT);
        self.left_out |= surplus > 0;
        self.end.drain(..surplus);
    }

    /// Lines with something in them, each cut at 500 characters.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut bytes = self.begin.clone();
        if self.left_out {
            bytes.extend(b"\n");
        }
        bytes.extend(&self.end);
        String::from_utf8_lossy(&bytes)
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| line.trim_end().chars().take(500).collect())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_flood_on_stderr_keeps_its_beginning_and_end() {
        let mut kept = Kept::default();
        kept.push(b"first line\n");
        for _ in 0..10_000 {
            kept.push(b"noise noise noise\n");
        }
        kept.push(b"last line\n");
        let lines = kept.lines();
        assert_eq!(
            (lines[0].as_str(), lines[lines.len() - 1].as_str()),
            ("first line", "last line")
        );
        assert!(kept.begin.len() + kept.end.len() <= 2 * KEPT);
    }
}

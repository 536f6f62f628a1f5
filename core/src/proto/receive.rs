//! What came from the server and is not read yet: grows with what arrives, never with what a length word promises.

use crate::Result;

/// Size of the buffer in ordinary times.
const NORMAL: usize = 64 * 1024;
/// Reads from the socket are not made smaller than this.
const SPARE: usize = 16 * 1024;
/// A buffer larger than this does not outlive the message it grew for.
const KEEP: usize = 1024 * 1024;

/// Received bytes: `bytes[start..end]` are unread, `bytes[end..]` is where the next ones go.
#[derive(Debug, Default)]
pub(super) struct ReceiveBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The size of the message at `start`, header included, when it is known and not yet whole; else 0.
    awaited: usize,
}

/// A whole message within the buffer. Valid until the next [`ReceiveBuffer::spare`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) tag: u8,
    /// The length word: counts itself and the body.
    pub(super) length: u32,
    body: usize,
    end: usize,
}

impl ReceiveBuffer {
    /// Where the next bytes go: never empty, at least 16 KiB when nothing is unread. Doubles when a message has filled
    /// the buffer, so that at most about twice of what has come is ever reserved.
    pub(super) fn spare(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end, self.awaited) = (0, 0, 0);
            if self.bytes.len() > KEEP {
                self.bytes = Vec::new();
            }
        }
        if self.bytes.is_empty() {
            self.bytes = vec![0; NORMAL];
        }
        if self.bytes.len() - self.end < SPARE {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.bytes.len() - self.end < SPARE {
                let enough = self.awaited.max(self.end) + SPARE;
                self.bytes.resize(enough.min(self.bytes.len() * 2), 0);
            }
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// `n` bytes were put into [`ReceiveBuffer::spare`].
    pub(super) fn filled(&mut self, n: usize) {
        self.end = self.bytes.len().min(self.end + n);
    }

    /// Takes the next message if it has come whole. `check` sees each header first, with the body still missing.
    #[inline]
    pub(super) fn frame(&mut self, check: impl FnOnce(u8, u32) -> Result<()>) -> Result<Option<Frame>> {
        let Some((&[tag, a, b, c, d], rest)) = self.unread().split_first_chunk() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]);
        check(tag, length)?;
        if rest.len() + 4 < length as usize {
            self.awaited = length as usize + 1;
            return Ok(None);
        }
        let body = self.start + 5;
        self.start += length as usize + 1;
        self.awaited = 0;
        Ok(Some(Frame {
            tag,
            length,
            body,
            end: self.start,
        }))
    }

    /// The header of the next message, whether or not its body has come.
    pub(super) fn header(&self) -> Option<(u8, u32)> {
        let (&[tag, a, b, c, d], _) = self.unread().split_first_chunk()?;
        Some((tag, u32::from_be_bytes([a, b, c, d])))
    }

    /// The body of a message that was just taken.
    #[inline]
    pub(super) fn body(&self, frame: Frame) -> &[u8] {
        self.bytes.get(frame.body..frame.end).unwrap_or_default()
    }

    /// Drops at most `n` unread bytes and says how many.
    pub(super) fn skip(&mut self, n: usize) -> usize {
        let n = n.min(self.end - self.start);
        self.start += n;
        n
    }

    /// Takes all unread bytes.
    pub(super) fn take(&mut self) -> &[u8] {
        let start = std::mem::replace(&mut self.start, self.end);
        self.awaited = 0;
        self.bytes.get(start..self.end).unwrap_or_default()
    }

    /// Adds bytes behind the unread ones.
    pub(super) fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let spare = self.spare();
            let n = spare.len().min(bytes.len());
            let (now, later) = bytes.split_at(n);
            if let Some(spare) = spare.get_mut(..n) {
                spare.copy_from_slice(now);
            }
            self.filled(n);
            bytes = later;
        }
    }

    #[inline]
    pub(super) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Copies unread bytes to `out` and takes them.
    pub(super) fn read(&mut self, out: &mut [u8]) -> usize {
        let n = out.len().min(self.end - self.start);
        if let (Some(to), Some(from)) = (out.get_mut(..n), self.unread().get(..n)) {
            to.copy_from_slice(from);
        }
        self.start += n;
        n
    }

    /// Gives memory beyond the ordinary size back if nothing is unread.
    pub(super) fn shrink(&mut self) {
        if self.start == self.end && self.bytes.len() > NORMAL {
            *self = ReceiveBuffer::default();
        }
    }
}

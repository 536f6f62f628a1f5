//! Bodies: an object's files as a response, and a request's body of which some was read before.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::store::Object;

const CHUNK: usize = 256 * 1024;

/// A range of an object's bytes, read file after file.
#[derive(Debug)]
pub(super) struct ObjectBody {
    /// What is left: file, first byte, length.
    pieces: VecDeque<(PathBuf, u64, u64)>,
    open: Option<(File, u64)>,
    left: u64,
}

impl ObjectBody {
    pub(super) fn new(object: &Object, range: Range<u64>) -> ObjectBody {
        let mut pieces = VecDeque::new();
        let mut start = 0;
        for part in &object.parts {
            let end = start + part.size;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                pieces.push_back((part.file.clone(), from - start, to - from));
            }
            start = end;
        }
        ObjectBody {
            pieces,
            open: None,
            left: range.end.saturating_sub(range.start),
        }
    }

    fn read(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some((file, left)) = &mut self.open
                && *left > 0
            {
                let mut buffer = vec![0; CHUNK.min(usize::try_from(*left).unwrap_or(CHUNK))];
                let read = file.read(&mut buffer)?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                buffer.truncate(read);
                *left -= read as u64;
                self.left = self.left.saturating_sub(read as u64);
                return Ok(Some(buffer.into()));
            }
            let Some((path, first, length)) = self.pieces.pop_front() else {
                return Ok(None);
            };
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(first))?;
            self.open = Some((file, length));
        }
    }

    /// All of it in memory.
    pub(super) fn read_all(mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(bytes) = self.read()? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    /// All of it into a file.
    pub(super) fn copy_to(mut self, out: &mut impl io::Write) -> io::Result<()> {
        while let Some(bytes) = self.read()? {
            out.write_all(&bytes)?;
        }
        Ok(())
    }
}

impl Body for ObjectBody {
    type Data = Bytes;
    type Error = io::Error;

    /// Reads from the page cache and may block for a moment.
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.read().transpose().map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// A request's body; its first frames may have been read already.
#[derive(Debug)]
pub(super) struct RequestBody {
    read: VecDeque<Bytes>,
    rest: Incoming,
}

impl RequestBody {
    pub(super) fn new(rest: Incoming) -> RequestBody {
        RequestBody {
            read: VecDeque::new(),
            rest,
        }
    }

    /// Reads at least so many bytes, or all there are, and keeps them.
    pub(super) async fn fill(&mut self, bytes: usize) -> Result<(), hyper::Error> {
        let mut have: usize = self.read.iter().map(Bytes::len).sum();
        while have < bytes {
            let Some(frame) = self.rest.frame().await else { break };
            if let Ok(data) = frame?.into_data() {
                have += data.len();
                self.read.push_back(data);
            }
        }
        Ok(())
    }

    /// Reads and forgets.
    pub(super) async fn drain(mut self) -> Result<(), hyper::Error> {
        while let Some(frame) = self.rest.frame().await {
            frame?;
        }
        Ok(())
    }

    pub(super) async fn collect_all(self, limit: usize) -> Result<Vec<u8>, crate::http::BoxError> {
        let limited = http_body_util::Limited::new(self, limit);
        Ok(limited.collect().await?.to_bytes().to_vec())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.read.pop_front() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read: u64 = self.read.iter().map(|bytes| bytes.len() as u64).sum();
        let mut hint = self.rest.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + read);
        }
        hint.set_lower(hint.lower() + read);
        hint
    }
}

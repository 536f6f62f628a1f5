//! Bytes → one gzip file (RFC 1952), compressed on two threads.
//!
//! The input is cut into blocks; each becomes a segment of raw deflate that ends on a byte boundary (a sync flush), with
//! the 32 KiB before it as its dictionary, so cutting costs next to nothing. The segments in order, an empty last block
//! and a trailer with the combined CRC-32 are one member with one stream, which single-member readers take too.

use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress};
use tokio::sync::{mpsc as queue, oneshot};

use crate::Result;
use crate::error::{Error, Kind};

/// Input bytes in one segment.
const BLOCK: usize = 1 << 20;
/// Deflate looks back at most this far (RFC 1951, section 2).
const WINDOW: usize = 32 << 10;
const THREADS: usize = 2;
/// Blocks read ahead of the slower of compression and upload, those in work included.
const AHEAD: usize = 4;

/// ID1 ID2, CM = deflate, no flags, no time, XFL 0, OS unknown.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// A last block with fixed codes and nothing in it.
const LAST_BLOCK: [u8; 2] = [3, 0];

/// The gzip file of a source that is being read. Dropping it ends its threads at their next step; a thread blocked in
/// the source's `read` ends when that returns.
pub(super) struct Gzip {
    segments: queue::Receiver<Reply>,
    crc: Crc,
    raw_bytes: u64,
    stage: Stage,
}

#[derive(PartialEq)]
enum Stage {
    Header,
    Body,
    Done,
}

/// In the order of the input; the segment itself arrives when it is compressed.
enum Reply {
    Segment(oneshot::Receiver<Result<Segment>>),
    Failed(io::Error),
    End,
}

struct Segment {
    deflated: Vec<u8>,
    crc: Crc,
}

struct Job {
    block: Vec<u8>,
    dictionary: Vec<u8>,
    reply: oneshot::Sender<Result<Segment>>,
}

impl Gzip {
    /// Begins to read `source` to its end and to compress it. `level`: 1 (fast) to 9 (small).
    pub(super) fn start(source: impl Read + Send + 'static, level: u32) -> Result<Gzip> {
        let (jobs, work) = mpsc::sync_channel::<Job>(AHEAD);
        let (emptied, spare) = mpsc::sync_channel::<Vec<u8>>(AHEAD);
        let (replies, segments) = queue::channel(AHEAD);
        let work = Arc::new(Mutex::new(work));
        for _ in 0..THREADS {
            let (work, emptied) = (work.clone(), emptied.clone());
            spawn("backup-gzip", move || compress(&work, &emptied, level))?;
        }
        spawn("backup-read", move || {
            let end = match read(source, &jobs, &spare, &replies) {
                Ok(()) => Reply::End,
                Err(error) => Reply::Failed(error),
            };
            // Without a receiver the backup was given up, and nobody wants to know.
            let _ = replies.blocking_send(end);
        })?;
        Ok(Gzip {
            segments,
            crc: Crc::new(),
            raw_bytes: 0,
            stage: Stage::Header,
        })
    }

    /// The next bytes of the file; `None` after its last. An error of the source ends the file without a trailer, so
    /// that what was delivered can never be taken for a whole one.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        match self.stage {
            Stage::Header => {
                self.stage = Stage::Body;
                Ok(Some(Bytes::from_static(&HEADER)))
            }
            Stage::Body => match self.segments.recv().await {
                Some(Reply::Segment(segment)) => {
                    let segment = segment.await.map_err(|_| died())??;
                    self.raw_bytes += u64::from(segment.crc.amount());
                    self.crc.combine(&segment.crc);
                    Ok(Some(segment.deflated.into()))
                }
                Some(Reply::End) => {
                    self.stage = Stage::Done;
                    let mut tail = Vec::with_capacity(LAST_BLOCK.len() + 8);
                    tail.extend(LAST_BLOCK);
                    tail.extend(self.crc.sum().to_le_bytes());
                    tail.extend(self.crc.amount().to_le_bytes()); // length modulo 2^32
                    Ok(Some(tail.into()))
                }
                Some(Reply::Failed(error)) => {
                    Err(Error::new(Kind::Dump, format!("the dump could not be read: {error}")).with_source(error))
                }
                None => Err(died()),
            },
            Stage::Done => Ok(None),
        }
    }

    /// Input bytes in what [`Gzip::next`] has delivered.
    pub(super) fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }
}

fn died() -> Error {
    Error::new(Kind::Dump, "a compression thread ended before its work was done")
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    match thread::Builder::new().name(name.to_owned()).spawn(body) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::new(Kind::Io, format!("no thread for the backup: {error}")).with_source(error)),
    }
}

/// Cuts the source into blocks. A closed channel means that the backup was given up: that ends reading quietly.
fn read(
    mut source: impl Read,
    jobs: &SyncSender<Job>,
    spare: &Receiver<Vec<u8>>,
    replies: &queue::Sender<Reply>,
) -> io::Result<()> {
    let mut dictionary = Vec::new();
    loop {
        let mut block = spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(BLOCK));
        block.clear();
        (&mut source).take(BLOCK as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(());
        }
        let window = block
            .get(block.len().saturating_sub(WINDOW)..)
            .unwrap_or(&block)
            .to_vec();
        let (reply, segment) = oneshot::channel();
        let job = Job {
            block,
            dictionary: std::mem::replace(&mut dictionary, window),
            reply,
        };
        if replies.blocking_send(Reply::Segment(segment)).is_err() || jobs.send(job).is_err() {
            return Ok(());
        }
    }
}

/// One compression thread: until the reader is gone.
fn compress(work: &Mutex<Receiver<Job>>, emptied: &SyncSender<Vec<u8>>, level: u32) {
    let mut deflate = Compress::new(Compression::new(level), false);
    loop {
        let job = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job {
            block,
            dictionary,
            reply,
        }) = job
        else {
            return;
        };
        let _ = reply.send(segment(&mut deflate, &dictionary, &block));
        let _ = emptied.try_send(block);
    }
}

fn segment(deflate: &mut Compress, dictionary: &[u8], block: &[u8]) -> Result<Segment> {
    let failed = |error: flate2::CompressError| Error::new(Kind::Dump, "compression failed").with_source(error);
    let mut crc = Crc::new();
    crc.update(block);
    deflate.reset();
    if !dictionary.is_empty() {
        deflate.set_dictionary(dictionary).map_err(failed)?;
    }
    let mut deflated = Vec::with_capacity(block.len() / 3);
    loop {
        let taken = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX);
        let rest = block.get(taken..).unwrap_or_default();
        if deflated.capacity() - deflated.len() < 4096 {
            deflated.reserve(block.len() / 4 + 4096);
        }
        deflate
            .compress_vec(rest, &mut deflated, FlushCompress::Sync)
            .map_err(failed)?;
        // Room left over means that the flush is complete, too (zlib.h, deflate()).
        if deflate.total_in() == block.len() as u64 && deflated.len() < deflated.capacity() {
            return Ok(Segment { deflated, crc });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    async fn gzip(raw: Vec<u8>, level: u32) -> Vec<u8> {
        let length = raw.len() as u64;
        let mut gzip = Gzip::start(io::Cursor::new(raw), level).unwrap();
        let mut out = Vec::new();
        while let Some(bytes) = gzip.next().await.unwrap() {
            out.extend(bytes);
        }
        assert_eq!(gzip.raw_bytes(), length);
        out
    }

    fn gunzip(file: Vec<u8>) -> Vec<u8> {
        let mut child = Command::new("gunzip")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = thread::spawn(move || stdin.write_all(&file));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success());
        output.stdout
    }

    /// Lines that compress about as table rows do.
    fn rows(bytes: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes + 64);
        let mut seed = 7_u64;
        while out.len() < bytes {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let text = format!("{}\tclient {}\t{:x}\n", out.len(), seed >> 54, seed >> 24);
            out.extend(text.as_bytes());
        }
        out.truncate(bytes);
        out
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut seed = 1_u64;
        std::iter::repeat_with(|| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as u8
        })
        .take(bytes)
        .collect()
    }

    #[tokio::test]
    async fn gunzip_reads_every_length_around_the_block_and_the_window() {
        for length in [0, 1, WINDOW, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5] {
            let raw = rows(length);
            assert!(gunzip(gzip(raw.clone(), 6).await) == raw, "{length} bytes");
        }
    }

    #[tokio::test]
    async fn bytes_that_do_not_compress_survive() {
        let raw = noise(2 * BLOCK + 77);
        // Level 1 writes literals in fixed codes of 8 and 9 bits; the others fall back to stored blocks.
        for (level, bound) in [(1, 1.06), (6, 1.01), (9, 1.01)] {
            let file = gzip(raw.clone(), level).await;
            assert!(
                (file.len() as f64) < raw.len() as f64 * bound,
                "{} at {level}",
                file.len()
            );
            assert!(gunzip(file) == raw);
        }
    }

    #[tokio::test]
    async fn a_reader_of_a_single_member_gets_everything() {
        let raw = rows(5 * BLOCK);
        let file = gzip(raw.clone(), 6).await;
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(file.as_slice())
            .read_to_end(&mut out)
            .unwrap();
        assert!(out == raw);
    }

    #[tokio::test]
    async fn cutting_into_blocks_costs_less_than_a_hundredth() {
        let raw = rows(8 * BLOCK);
        let mut whole = flate2::write::GzEncoder::new(Vec::new(), Compression::new(6));
        whole.write_all(&raw).unwrap();
        let whole = whole.finish().unwrap().len();
        let cut = gzip(raw, 6).await.len();
        assert!(cut < whole + whole / 100, "{cut} against {whole}");
    }

    #[tokio::test]
    async fn an_error_of_the_source_ends_the_file_without_a_trailer() {
        struct Broken(usize);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let n = self.0.min(buffer.len());
                self.0 -= n;
                match n {
                    0 => Err(io::Error::other("torn")),
                    n => Ok(n),
                }
            }
        }
        let mut gzip = Gzip::start(Broken(BLOCK + 3), 6).unwrap();
        let error = loop {
            match gzip.next().await {
                Ok(bytes) => assert!(bytes.is_some()),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("torn"));
    }

    #[tokio::test]
    async fn a_slow_taker_holds_the_reader_back() {
        struct Counted(Arc<Mutex<usize>>);
        impl Read for Counted {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                *self.0.lock().unwrap() += buffer.len();
                Ok(buffer.len())
            }
        }
        let count = Arc::new(Mutex::new(0));
        let mut gzip = Gzip::start(Counted(count.clone()), 1).unwrap();
        for _ in 0..40 {
            gzip.next().await.unwrap();
        }
        // 39 blocks were taken; what was read beyond them is bounded, however long nobody takes.
        assert!(*count.lock().unwrap() <= (39 + AHEAD + THREADS + 2) * BLOCK);
    }
}

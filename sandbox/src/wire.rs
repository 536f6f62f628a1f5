//! A server's side of a connection that can be cut or held at a byte.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What happens to the bytes of a connection; shared by the connection and whoever scripts it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Bytes that may still be written before `then` happens.
    budget: Option<usize>,
    then: Then,
    reset: bool,
    writer: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Then {
    #[default]
    Reset,
    Hold,
}

impl Script {
    /// Ends the connection with a TCP reset.
    pub(crate) fn reset(&self) {
        let mut state = self.lock();
        state.reset = true;
        wake(&mut state);
    }

    /// Resets the connection once so many more bytes have been written.
    pub(crate) fn reset_after(&self, bytes: usize) {
        self.limit(bytes, Then::Reset);
    }

    /// Holds whatever comes after so many more written bytes, until [`Script::release`].
    pub(crate) fn hold_after(&self, bytes: usize) {
        self.limit(bytes, Then::Hold);
    }

    /// Forgets a limit; held bytes go on.
    pub(crate) fn release(&self) {
        let mut state = self.lock();
        state.budget = None;
        wake(&mut state);
    }

    fn limit(&self, bytes: usize, then: Then) {
        let mut state = self.lock();
        state.budget = Some(bytes);
        state.then = then;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(state: &mut State) {
    if let Some(waker) = state.writer.take() {
        waker.wake();
    }
}

/// An accepted connection under a [`Script`].
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    script: Script,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, script: Script) -> Wire {
        Wire { stream, script }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.script.lock().reset {
            // Closing now sends RST instead of FIN.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.script.lock().reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut state = this.script.lock();
        if state.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let allowed = match (state.budget, state.then) {
            (None, _) => buf.len(),
            (Some(0), Then::Reset) => {
                state.reset = true;
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            (Some(0), Then::Hold) => {
                state.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            (Some(budget), _) => budget.min(buf.len()),
        };
        let written = Pin::new(&mut this.stream).poll_write(cx, buf.get(..allowed).unwrap_or(buf));
        if let (Poll::Ready(Ok(written)), Some(budget)) = (&written, state.budget.as_mut()) {
            *budget -= *written;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

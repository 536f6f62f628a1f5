//! A non-blocking socket's system calls. None raises SIGPIPE.

use std::ffi::c_int;
use std::io;
use std::os::fd::RawFd;

use crate::uv;

/// Repeats a call that a signal interrupted.
fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(n) => return Ok(n),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Bytes into `into`; 0 = end of file.
pub(crate) fn receive(fd: RawFd, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the slice's own memory; a wrong descriptor is an error, no more.
    retry(|| unsafe { libc::recv(fd, into.as_mut_ptr().cast(), into.len(), libc::MSG_DONTWAIT) })
}

/// How many bytes the socket took.
pub(crate) fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: as above.
    retry(|| unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// Whether there is nothing to read, no end of file and no error.
pub(crate) fn is_quiet(fd: RawFd) -> bool {
    let mut byte = [0u8; 1];
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: one byte of the array's own memory.
    let peeked = retry(|| unsafe { libc::recv(fd, byte.as_mut_ptr().cast(), 1, flags) });
    matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Which of the `uv_poll` events in `wanted` are there now; all of them when the socket has an error or was hung up.
pub(crate) fn ready(fd: RawFd, wanted: c_int) -> io::Result<c_int> {
    let pairs = [(uv::UV_READABLE, libc::POLLIN), (uv::UV_WRITABLE, libc::POLLOUT)];
    let asked = pairs.iter().filter(|(event, _)| wanted & event != 0);
    let events = asked.fold(0, |events, (_, flag)| events | flag);
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one entry, which outlives the call; no wait.
    retry(|| unsafe { libc::poll(&mut poll, 1, 0) as isize })?;
    if poll.revents & !events != 0 {
        return Ok(wanted);
    }
    let there = pairs.iter().filter(|(_, flag)| poll.revents & flag != 0);
    Ok(there.fold(0, |found, (event, _)| found | event))
}

/// Tells the peer that no more will come.
pub(crate) fn shutdown_write(fd: RawFd) {
    // SAFETY: a plain call; a socket that is gone already is an error that changes nothing.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}

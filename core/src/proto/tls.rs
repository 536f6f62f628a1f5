//! OpenSSL over memory buffers: ciphertext in and out, plaintext out and in.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf, BytesMut};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::ssl::{ErrorCode, Ssl, SslRef, SslStream};

use super::receive::ReceiveBuffer;
use super::tls_error;
use crate::error::Kind;
use crate::{Error, Result};

/// Ciphertext that may wait to be sent before more plaintext is encrypted.
const MAX_OUTPUT: usize = 64 * 1024;

/// A TLS client session without a socket.
pub struct Tls {
    stream: SslStream<Buffers>,
    /// The chain had no issuer for a leaf that came alone, which Node tells apart.
    lone_leaf: Arc<AtomicBool>,
    end_point: Option<Vec<u8>>,
}

/// What a read of plaintext came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    /// This many bytes.
    Bytes(usize),
    /// The peer must send more first.
    Blocked,
    /// The peer closed the TLS session (close_notify).
    Closed,
}

/// The "socket" that OpenSSL sees.
struct Buffers {
    incoming: ReceiveBuffer,
    outgoing: BytesMut,
}

impl Read for Buffers {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.incoming.read(out) {
            0 if !out.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Write for Buffers {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tls {
    /// A session that will speak first. `ssl` comes configured (verification, server name) from `net`'s trust.
    pub fn new(mut ssl: Ssl) -> Result<Tls> {
        let lone_leaf = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&lone_leaf);
        let mode = ssl.verify_mode();
        ssl.set_verify_callback(mode, move |accepted, context| {
            if context.error().as_raw() == tls_error::NO_LOCAL_ISSUER {
                seen.store(context.chain().is_some_and(|chain| chain.len() == 1), Ordering::Relaxed);
            }
            accepted
        });
        ssl.set_connect_state();
        let buffers = Buffers {
            incoming: ReceiveBuffer::default(),
            outgoing: BytesMut::new(),
        };
        let stream = SslStream::new(ssl, buffers)
            .map_err(|error| Error::new(Kind::Tls, "The TLS session could not be made").with_source(error))?;
        Ok(Tls {
            stream,
            lone_leaf,
            end_point: None,
        })
    }

    /// Ciphertext from the peer. Bounded: read and drive before feeding more than 64 KiB.
    pub fn feed(&mut self, mut bytes: &[u8]) {
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

    /// Goes on with the handshake: `true` when it is done, `false` when the peer must speak first.
    pub fn handshake(&mut self) -> Result<bool> {
        match self.stream.do_handshake() {
            Ok(()) => {
                self.end_point = server_end_point(self.stream.ssl());
                Ok(true)
            }
            Err(error) if is_blocked(error.code()) => Ok(false),
            Err(error) => {
                let lone_leaf = self.lone_leaf.load(Ordering::Relaxed);
                Err(tls_error::handshake(self.stream.ssl(), lone_leaf, error))
            }
        }
    }

    /// Ciphertext for the peer.
    pub fn output(&self) -> &[u8] {
        &self.stream.get_ref().outgoing
    }

    /// `n` bytes of [`Tls::output`] were sent.
    pub fn sent(&mut self, n: usize) {
        let outgoing = &mut self.stream.get_mut().outgoing;
        outgoing.advance(n.min(outgoing.len()));
    }

    /// `tls-server-end-point` (RFC 5929): the hash of the server's certificate, for SCRAM-SHA-256-PLUS. `None` before
    /// the handshake is done, and for signatures that name no hash (Ed25519, RSA-PSS).
    pub fn server_end_point(&self) -> Option<Vec<u8>> {
        self.end_point.clone()
    }

    /// The session, for its facts (protocol version, cipher, verify result).
    pub fn ssl(&self) -> &SslRef {
        self.stream.ssl()
    }

    pub(super) fn end_point(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }

    /// Where ciphertext from the socket goes.
    pub(super) fn spare(&mut self) -> &mut [u8] {
        self.stream.get_mut().incoming.spare()
    }

    /// `n` bytes were put into [`Tls::spare`].
    pub(super) fn filled(&mut self, n: usize) {
        self.stream.get_mut().incoming.filled(n);
    }

    /// Whether ciphertext waits that is not a whole record.
    pub(super) fn has_unread(&self) -> bool {
        !self.stream.get_ref().incoming.unread().is_empty()
    }

    /// Decrypts into `out`.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<Plain> {
        match self.stream.ssl_read(out) {
            Ok(n) => Ok(Plain::Bytes(n)),
            Err(error) if error.code() == ErrorCode::ZERO_RETURN => Ok(Plain::Closed),
            Err(error) if is_blocked(error.code()) => Ok(Plain::Blocked),
            Err(error) => Err(tls_error::record(error)),
        }
    }

    /// Encrypts from the front of `plain` while little ciphertext waits, and takes what it encrypted.
    pub(crate) fn write(&mut self, plain: &mut BytesMut) -> Result<()> {
        while !plain.is_empty() && self.output().len() < MAX_OUTPUT {
            let chunk = plain.get(..MAX_OUTPUT.min(plain.len())).unwrap_or_default();
            match self.stream.ssl_write(chunk) {
                Ok(n) => plain.advance(n),
                Err(error) if is_blocked(error.code()) => return Ok(()),
                Err(error) => return Err(tls_error::record(error)),
            }
        }
        Ok(())
    }
}

fn is_blocked(code: ErrorCode) -> bool {
    code == ErrorCode::WANT_READ || code == ErrorCode::WANT_WRITE
}

/// RFC 5929, section 4.1: the hash of the certificate's own signature, SHA-256 where that is MD5 or SHA-1.
fn server_end_point(ssl: &SslRef) -> Option<Vec<u8>> {
    let certificate = ssl.peer_certificate()?;
    let signature = certificate.signature_algorithm().object().nid();
    let digest = match signature.signature_algorithms()?.digest {
        Nid::MD5 | Nid::SHA1 => MessageDigest::sha256(),
        digest => MessageDigest::from_nid(digest)?,
    };
    Some(certificate.digest(digest).ok()?.to_vec())
}

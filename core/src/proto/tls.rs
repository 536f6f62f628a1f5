//! OpenSSL over memory buffers: ciphertext in and out, plaintext out and in.

use openssl::ssl::{Ssl, SslStream};

/// A TLS client session without a socket.
pub struct Tls {
    _stream: SslStream<Buffers>,
}

struct Buffers;

impl std::io::Read for Buffers {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        todo!()
    }
}

impl std::io::Write for Buffers {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        todo!()
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Tls {
    /// A session that will speak first. `ssl` comes configured (verification, server name) from `net`'s trust.
    pub fn new(_ssl: Ssl) -> crate::Result<Tls> {
        todo!()
    }

    /// Ciphertext from the peer. Bounded: read and drive before feeding more than 64 KiB.
    pub fn feed(&mut self, _bytes: &[u8]) {
        todo!()
    }

    /// Goes on with the handshake: `true` when it is done, `false` when the peer must speak first.
    pub fn handshake(&mut self) -> crate::Result<bool> {
        todo!()
    }

    /// Ciphertext for the peer.
    pub fn output(&self) -> &[u8] {
        todo!()
    }

    /// `n` bytes of [`Tls::output`] were sent.
    pub fn sent(&mut self, _n: usize) {
        todo!()
    }

    /// `tls-server-end-point` (RFC 5929): the hash of the server's certificate, for SCRAM-SHA-256-PLUS.
    pub fn server_end_point(&self) -> Option<Vec<u8>> {
        todo!()
    }

    /// The session, for its facts (protocol version, cipher, verify result).
    pub fn ssl(&self) -> &openssl::ssl::SslRef {
        todo!()
    }
}

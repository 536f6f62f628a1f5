//! TLS failures with the names that Node's users know and what to do about each.

use openssl::ssl::{self, SslRef};
use openssl::x509::X509VerifyResult;

use crate::Error;
use crate::error::Kind;

/// The handshake failed: because of the certificate, or because of the peer.
pub(super) fn handshake(session: &SslRef, lone_leaf: bool, error: ssl::Error) -> Error {
    let result = session.verify_result();
    if result == X509VerifyResult::OK {
        return record(error);
    }
    let (name, advice) = explain(result.as_raw(), lone_leaf);
    let reason = if name == LEAF {
        "unable to verify the first certificate"
    } else {
        result.error_string()
    };
    let message = format!("The server's certificate was not accepted: {reason}. {advice}");
    Error::new(Kind::Tls, message).with_name(name).with_source(error)
}

/// A record could not be read or written: an alert, broken ciphertext.
pub(super) fn record(error: ssl::Error) -> Error {
    let reason = match error.ssl_error().and_then(|stack| stack.errors().last()) {
        Some(last) => last.reason().unwrap_or("unknown reason").to_owned(),
        None => error.to_string(),
    };
    Error::new(Kind::Tls, format!("TLS failed: {reason}")).with_source(error)
}

/// X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY.
pub(super) const NO_LOCAL_ISSUER: i32 = 20;
const LEAF: &str = "UNABLE_TO_VERIFY_LEAF_SIGNATURE";
const TRUST: &str = "Name the authority that signed it: `ssl.ca`, PG_SSLROOTCERT or NODE_EXTRA_CA_CERTS.";
const SELF_SIGNED: &str =
    "If it is the right server, name its own authority: `ssl.ca`, PG_SSLROOTCERT or NODE_EXTRA_CA_CERTS.";
const CLOCK: &str = "The server needs a new certificate; or is this machine's clock wrong?";
const HOST: &str = "Connect by the name that the certificate is for, or give that name as `ssl.servername`.";
const SERVER: &str = "The server needs another certificate.";

/// Node's name for an X509_V_ERR code (x509_vfy.h; Node's src/crypto/crypto_common.cc), and advice.
fn explain(code: i32, lone_leaf: bool) -> (&'static str, &'static str) {
    match code {
        2 => ("UNABLE_TO_GET_ISSUER_CERT", TRUST),
        3 => ("UNABLE_TO_GET_CRL", SERVER),
        4 => ("UNABLE_TO_DECRYPT_CERT_SIGNATURE", SERVER),
        6 => ("UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY", SERVER),
        7 => ("CERT_SIGNATURE_FAILURE", SERVER),
        9 => ("CERT_NOT_YET_VALID", CLOCK),
        10 => ("CERT_HAS_EXPIRED", CLOCK),
        13 => ("ERROR_IN_CERT_NOT_BEFORE_FIELD", SERVER),
        14 => ("ERROR_IN_CERT_NOT_AFTER_FIELD", SERVER),
        17 => ("OUT_OF_MEM", SERVER),
        18 => ("DEPTH_ZERO_SELF_SIGNED_CERT", SELF_SIGNED),
        19 => ("SELF_SIGNED_CERT_IN_CHAIN", SELF_SIGNED),
        NO_LOCAL_ISSUER if lone_leaf => (LEAF, TRUST),
        NO_LOCAL_ISSUER => ("UNABLE_TO_GET_ISSUER_CERT_LOCALLY", TRUST),
        21 => (LEAF, TRUST),
        22 => ("CERT_CHAIN_TOO_LONG", SERVER),
        23 => ("CERT_REVOKED", SERVER),
        24 | 79 => ("INVALID_CA", SERVER),
        25 => ("PATH_LENGTH_EXCEEDED", SERVER),
        26 => ("INVALID_PURPOSE", SERVER),
        27 => ("CERT_UNTRUSTED", TRUST),
        28 => ("CERT_REJECTED", SERVER),
        62 | 64 => ("ERR_TLS_CERT_ALTNAME_INVALID", HOST),
        _ => ("CERT_REJECTED", SERVER),
    }
}

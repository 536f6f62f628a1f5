//! Why a certificate was not accepted, with the facts that help: its names, its dates, the roots in use.

use std::net::IpAddr;

use openssl::asn1::Asn1Time;
use openssl::nid::Nid;
use openssl::ssl::SslRef;
use openssl::stack::StackRef;
use openssl::x509::{X509, X509NameRef, X509Ref, X509VerifyResult};

use crate::Error;
use crate::config::trust::Source;
use crate::error::Kind;

/// Names shown of a certificate at most.
const NAMES: usize = 20;

/// Whose certificate it is, for the advice.
#[derive(Clone, Copy)]
pub(crate) enum Service {
    Postgres,
    Https,
}

/// `error` with what to do about it, after a handshake that failed in `session`. `host` is the name that was to be
/// verified. Errors that are not about the certificate stay as they are.
pub(super) fn explain(error: Error, session: &SslRef, source: &Source, host: &str, service: Service) -> Error {
    let result = session.verify_result();
    // The chain that the server sent is kept, though it was not accepted; its own certificate comes first.
    let chain = session.peer_cert_chain();
    let leaf = chain.and_then(|chain| chain.get(0));
    let (Some(leaf), Some(chain), false) = (leaf, chain, result == X509VerifyResult::OK) else {
        return error;
    };
    let mut out = Error::new(Kind::Tls, refusal(result, leaf, chain, source, host, service));
    if let Some(code) = error.code() {
        out = out.with_name(code.to_owned());
    }
    out.with_source(error)
}

/// Why the certificate `leaf`, sent with `chain`, was refused with `result`, and what to do.
pub(crate) fn refusal(
    result: X509VerifyResult,
    leaf: &X509Ref,
    chain: &StackRef<X509>,
    source: &Source,
    host: &str,
    service: Service,
) -> String {
    match result.as_raw() {
        // X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
        62 | 64 => format!(
            "Hostname/IP does not match certificate's altnames: {host} is not in the server's certificate, which is for \
             {}; connect by such a name{}",
            names(leaf),
            match service {
                Service::Postgres => ", or set sslmode to verify-ca if this server may have any name",
                Service::Https => "",
            }
        ),
        // X509_V_ERR_CERT_HAS_EXPIRED: perhaps not the server's own.
        10 => {
            let now = Asn1Time::days_from_now(0).ok();
            let is_over = |c: &&X509Ref| now.as_ref().is_some_and(|now| c.not_after() < now);
            let expired = chain.iter().find(is_over).unwrap_or(leaf);
            format!(
                "certificate has expired: {} was valid until {}; the server needs a new certificate (or this machine's \
                 clock is wrong)",
                name(expired.subject_name()),
                expired.not_after()
            )
        }
        // X509_V_ERR_CERT_NOT_YET_VALID
        9 => format!(
            "certificate is not yet valid: {} is valid from {}; is this machine's clock right?",
            name(leaf.subject_name()),
            leaf.not_before()
        ),
        _ => format!(
            "{}: the server's certificate ({}, issued by {}) does not lead to a trusted root; trusted is {source}; set \
             {} to the CA certificate of this server",
            result.error_string(),
            name(leaf.subject_name()),
            name(leaf.issuer_name()),
            match service {
                Service::Postgres => "PG_SSLROOTCERT (or ca)",
                Service::Https => "AWS_CA_BUNDLE",
            }
        ),
    }
}

/// `DNS:db.example, IP Address:10.0.0.1`, or the common name where there are no others.
fn names(certificate: &X509Ref) -> String {
    let mut names = Vec::new();
    for alt in certificate.subject_alt_names().into_iter().flatten() {
        if let Some(dns) = alt.dnsname() {
            names.push(format!("DNS:{}", printable(dns)));
        } else if let Some(address) = alt.ipaddress().and_then(address) {
            names.push(format!("IP Address:{address}"));
        }
    }
    if names.is_empty() {
        let common = certificate.subject_name().entries_by_nid(Nid::COMMONNAME);
        names.extend(common.filter_map(|entry| Some(format!("CN={}", printable(&entry.data().to_string().ok()?)))));
    }
    names.truncate(NAMES);
    match names.is_empty() {
        true => "no name".to_owned(),
        false => names.join(", "),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
        (Ok(four), _) => Some(IpAddr::from(four)),
        (_, Ok(sixteen)) => Some(IpAddr::from(sixteen)),
        _ => None,
    }
}

/// `CN=db.example, O=Example`.
fn name(name: &X509NameRef) -> String {
    let mut parts = Vec::new();
    for entry in name.entries().take(NAMES) {
        let key = entry.object().nid().short_name().unwrap_or("?");
        if let Ok(text) = entry.data().to_string() {
            parts.push(format!("{key}={}", printable(&text)));
        }
    }
    parts.join(", ")
}

/// A peer's text, safe in a log line.
fn printable(text: &str) -> String {
    let safe = |c: char| if c.is_control() { '?' } else { c };
    text.chars().take(200).map(safe).collect()
}

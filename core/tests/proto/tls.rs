//! TLS over memory, against OpenSSL's own server side.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use heys_core::error::Kind;
use heys_core::proto::{Startup, Tls, Wire};
use heys_core::{Error, Result};
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{ErrorCode, Ssl, SslAcceptor, SslConnector, SslMethod, SslStream, SslVerifyMode, SslVersion};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};

use crate::messages::*;
use crate::replay::{Transcript, give, poll, startup, take};
use crate::startup::ScramServer;

// ---- certificates

struct Identity {
    key: PKey<Private>,
    certificate: X509,
}

/// What a certificate says.
struct Says<'a> {
    name: &'a str,
    host: &'a str,
    is_authority: bool,
    days: (i64, i64),
    digest: MessageDigest,
}

impl Default for Says<'_> {
    fn default() -> Self {
        Says {
            name: "server",
            host: "db.example",
            is_authority: false,
            days: (-1, 1),
            digest: MessageDigest::sha256(),
        }
    }
}

fn day(offset: i64) -> Asn1Time {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    Asn1Time::from_unix(now.as_secs() as i64 + offset * 86_400).unwrap()
}

/// A certificate signed by `issuer`, or by itself.
fn identity(says: &Says<'_>, issuer: Option<&Identity>) -> Identity {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", says.name).unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder
        .set_issuer_name(issuer.map_or(&name, |issuer| issuer.certificate.subject_name()))
        .unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&day(says.days.0)).unwrap();
    builder.set_not_after(&day(says.days.1)).unwrap();
    let mut constraints = BasicConstraints::new();
    if says.is_authority {
        constraints.ca();
    }
    builder.append_extension(constraints.build().unwrap()).unwrap();
    let names = SubjectAlternativeName::new()
        .dns(says.host)
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(names).unwrap();
    builder
        .sign(issuer.map_or(&key, |issuer| &issuer.key), says.digest)
        .unwrap();
    Identity {
        key,
        certificate: builder.build(),
    }
}

fn authority(name: &str) -> Identity {
    identity(
        &Says {
            name,
            is_authority: true,
            ..Says::default()
        },
        None,
    )
}

// ---- the server's side

/// Bytes between the two sides.
#[derive(Clone, Default)]
struct Pipe {
    to_server: Rc<RefCell<Vec<u8>>>,
    to_client: Rc<RefCell<Vec<u8>>>,
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.to_server.borrow_mut();
        if bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = out.len().min(bytes.len());
        out[..n].copy_from_slice(&bytes[..n]);
        bytes.drain(..n);
        Ok(n)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to_client.borrow_mut().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Server {
    stream: SslStream<Pipe>,
    pipe: Pipe,
}

impl Server {
    /// Shows `chain`, the server's own certificate first.
    fn new(chain: &[&Identity], version: SslVersion) -> Server {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
        acceptor.set_private_key(&chain[0].key).unwrap();
        acceptor.set_certificate(&chain[0].certificate).unwrap();
        for link in &chain[1..] {
            acceptor.add_extra_chain_cert(link.certificate.clone()).unwrap();
        }
        acceptor.set_max_proto_version(Some(version)).unwrap();
        let mut ssl = Ssl::new(acceptor.build().context()).unwrap();
        ssl.set_accept_state();
        let pipe = Pipe::default();
        Server {
            stream: SslStream::new(ssl, pipe.clone()).unwrap(),
            pipe,
        }
    }

    fn handshake(&mut self) {
        match self.stream.do_handshake() {
            Ok(()) => {}
            // A client that refuses the certificate says so by an alert.
            Err(error) => assert!(matches!(error.code(), ErrorCode::WANT_READ | ErrorCode::SSL)),
        }
    }

    /// All plaintext that has come.
    fn read(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(n) = self.stream.ssl_read(&mut buffer) {
            all.extend(&buffer[..n]);
        }
        all
    }

    /// The ciphertext of `plain`.
    fn encrypt(&mut self, plain: &[u8]) -> Vec<u8> {
        self.stream.write_all(plain).unwrap();
        std::mem::take(&mut self.pipe.to_client.borrow_mut())
    }

    /// The ciphertext of a close_notify.
    fn close(&mut self) -> Vec<u8> {
        self.stream.shutdown().unwrap();
        std::mem::take(&mut self.pipe.to_client.borrow_mut())
    }
}

// ---- the client's side

/// A client that trusts `trusted`.
fn client(trusted: Option<&Identity>, host: &str) -> Tls {
    let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
    match trusted {
        Some(authority) => connector
            .cert_store_mut()
            .add_cert(authority.certificate.clone())
            .unwrap(),
        None => connector.set_verify(SslVerifyMode::NONE),
    }
    Tls::new(connector.build().configure().unwrap().into_ssl(host).unwrap()).unwrap()
}

/// Hands all bytes over in pieces of `size` until both sides have nothing more to say.
fn connect(client: &mut Tls, server: &mut Server, size: usize) -> Result<()> {
    let mut done = client.handshake()?;
    loop {
        let hello = client.output().to_vec();
        client.sent(hello.len());
        for piece in hello.chunks(size) {
            server.pipe.to_server.borrow_mut().extend(piece);
            server.handshake();
        }
        let answer = std::mem::take(&mut *server.pipe.to_client.borrow_mut());
        if answer.is_empty() {
            return if done {
                Ok(())
            } else {
                Err(Error::new(Kind::Tls, "stuck"))
            };
        }
        for piece in answer.chunks(size) {
            client.feed(piece);
            done = done || client.handshake()?;
        }
    }
}

const VERSIONS: [SslVersion; 2] = [SslVersion::TLS1_2, SslVersion::TLS1_3];
const SIZES: [usize; 5] = [1, 7, 1000, 16_384, usize::MAX];

/// A session in TLS, with its startup message read by the server.
fn session(version: SslVersion, size: usize, startup: &Startup) -> (Wire, Server) {
    let identity = identity(&Says::default(), None);
    let (mut tls, mut server) = (client(None, "db.example"), Server::new(&[&identity], version));
    connect(&mut tls, &mut server, size).unwrap();
    let mut wire = Wire::new(startup, Some(tls)).unwrap();
    server.pipe.to_server.borrow_mut().extend(take(&mut wire));
    assert!(server.read().ends_with(b"database\0heys\0\0"));
    (wire, server)
}

#[test]
fn a_session_in_tls_is_the_same_at_every_piece_size() {
    let rows = row(&[Some(&[b'x'; 20_000])]).repeat(5);
    let reply = [columns(&[("a", 25)]), rows, complete("SELECT 5"), ready(b'I')].concat();
    let sql = "s".repeat(100_000);
    for version in VERSIONS {
        for size in SIZES {
            let (mut wire, mut server) = session(version, size, &startup());
            assert!(wire.is_tls());
            let transcript = &mut Transcript::default();
            for piece in server.encrypt(&hello()).chunks(size) {
                give(&mut wire, piece);
                assert!(poll(&mut wire, transcript));
            }
            wire.query(&sql).unwrap();
            for piece in take(&mut wire).chunks(size) {
                server.pipe.to_server.borrow_mut().extend(piece);
            }
            assert_eq!(server.read(), message(b'Q', &strings(&[&sql])));
            for piece in server.encrypt(&reply).chunks(size) {
                give(&mut wire, piece);
                assert!(poll(&mut wire, transcript));
            }
            let row = format!("row {}", "x".repeat(20_000));
            let lines = [
                "parameter server_version=17.2",
                "Ready(Idle)",
                "columns a:25",
                &row,
                &row,
                "SinkFull",
                &row,
                &row,
                "SinkFull",
                &row,
                "complete SELECT 5",
                "Ready(Idle)",
            ];
            assert_eq!(transcript.lines, lines);
        }
    }
}

#[test]
fn ciphertext_waiting_to_be_sent_is_bounded() {
    let (mut wire, mut server) = session(SslVersion::TLS1_3, 1000, &startup());
    give(&mut wire, &server.encrypt(&hello()));
    assert!(poll(&mut wire, &mut Transcript::default()));
    let sql = "s".repeat(5_000_000);
    wire.query(&sql).unwrap();
    let mut read = Vec::new();
    loop {
        let output = wire.output().to_vec();
        assert!(output.len() < 160 * 1024, "{} bytes wait", output.len());
        if output.is_empty() {
            break;
        }
        let n = output.len().min(9999);
        wire.sent(n);
        server.pipe.to_server.borrow_mut().extend(&output[..n]);
        read.extend(server.read());
    }
    assert_eq!(read.len(), sql.len() + 6);
}

#[test]
fn the_end_of_tls_comes_after_all_that_was_said() {
    for version in VERSIONS {
        let (mut wire, mut server) = session(version, 1000, &startup());
        let last = server.encrypt(&[hello(), error("57P01", "bye")].concat());
        give(&mut wire, &[last, server.close()].concat());
        let transcript = &mut Transcript::default();
        assert!(!poll(&mut wire, transcript));
        assert_eq!(
            transcript.lines[2..],
            ["error 57P01 bye (31)", "failed Closed: The session is closed"]
        );
    }
}

#[test]
fn broken_ciphertext_ends_the_session_after_all_that_came_before() {
    for version in VERSIONS {
        let (mut wire, mut server) = session(version, 1000, &startup());
        let good = server.encrypt(&hello());
        let mut bad = server.encrypt(&parameter("a", "b"));
        *bad.last_mut().unwrap() ^= 1;
        give(&mut wire, &[good, bad].concat());
        let transcript = &mut Transcript::default();
        assert!(!poll(&mut wire, transcript));
        assert_eq!(transcript.lines[..2], ["parameter server_version=17.2", "Ready(Idle)"]);
        assert!(
            transcript.lines[2].starts_with("failed Tls: TLS failed: "),
            "{transcript:?}"
        );
        assert!(!poll(&mut wire, transcript));
        assert!(transcript.lines[3].starts_with("failed Closed"), "{transcript:?}");
    }
}

#[test]
fn a_server_without_tls_is_an_error() {
    let mut tls = client(None, "db.example");
    assert!(!tls.handshake().unwrap());
    tls.feed(b"HTTP/1.1 400 Bad Request\r\n");
    assert_eq!(tls.handshake().unwrap_err().kind(), Kind::Tls);
}

// ---- whom to trust

/// The handshake's error at a client of `host` that trusts `trusted`.
fn refusal(chain: &[&Identity], trusted: &Identity, host: &str) -> (String, String) {
    let server = &mut Server::new(chain, SslVersion::TLS1_3);
    let error = connect(&mut client(Some(trusted), host), server, 999).unwrap_err();
    assert_eq!(error.kind(), Kind::Tls);
    (error.code().unwrap_or_default().to_owned(), error.message().to_owned())
}

#[test]
fn a_trusted_certificate_for_the_host_is_accepted() {
    let root = authority("root");
    let leaf = identity(&Says::default(), Some(&root));
    for version in VERSIONS {
        for size in SIZES {
            let mut tls = client(Some(&root), "db.example");
            connect(&mut tls, &mut Server::new(&[&leaf], version), size).unwrap();
            assert_eq!(tls.ssl().verify_result().as_raw(), 0);
        }
    }
}

#[test]
fn each_refusal_has_nodes_name_and_says_what_to_do() {
    let (root, other) = (authority("root"), authority("other"));
    let leaf = identity(&Says::default(), Some(&root));
    let between = identity(
        &Says {
            name: "between",
            is_authority: true,
            ..Says::default()
        },
        Some(&root),
    );
    let far = identity(&Says::default(), Some(&between));
    let expired = identity(
        &Says {
            days: (-9, -2),
            ..Says::default()
        },
        Some(&root),
    );
    let early = identity(
        &Says {
            days: (2, 9),
            ..Says::default()
        },
        Some(&root),
    );
    let alone = identity(&Says::default(), None);
    let cases: [(&[&Identity], &Identity, &str, &str, &str); 8] = [
        (
            &[&leaf],
            &other,
            "db.example",
            "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
            "PG_SSLROOTCERT",
        ),
        (
            &[&leaf, &root],
            &other,
            "db.example",
            "SELF_SIGNED_CERT_IN_CHAIN",
            "PG_SSLROOTCERT",
        ),
        (
            &[&far, &between],
            &other,
            "db.example",
            "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
            "PG_SSLROOTCERT",
        ),
        (&[&alone], &other, "db.example", "DEPTH_ZERO_SELF_SIGNED_CERT", "ssl.ca"),
        (&[&expired], &root, "db.example", "CERT_HAS_EXPIRED", "clock"),
        (&[&early], &root, "db.example", "CERT_NOT_YET_VALID", "clock"),
        (
            &[&leaf],
            &root,
            "db2.example",
            "ERR_TLS_CERT_ALTNAME_INVALID",
            "ssl.servername",
        ),
        (
            &[&leaf],
            &root,
            "127.0.0.1",
            "ERR_TLS_CERT_ALTNAME_INVALID",
            "ssl.servername",
        ),
    ];
    for (chain, trusted, host, name, advice) in cases {
        let (code, message) = refusal(chain, trusted, host);
        assert_eq!(code, name, "{message}");
        assert!(message.contains(advice), "{message}");
    }
}

// ---- channel binding

#[test]
fn the_end_point_is_the_hash_that_the_signature_names() {
    for (digest, bound) in [
        (MessageDigest::sha1(), MessageDigest::sha256()),
        (MessageDigest::sha256(), MessageDigest::sha256()),
        (MessageDigest::sha384(), MessageDigest::sha384()),
    ] {
        let identity = identity(
            &Says {
                digest,
                ..Says::default()
            },
            None,
        );
        let mut tls = client(None, "db.example");
        assert_eq!(tls.server_end_point(), None);
        connect(&mut tls, &mut Server::new(&[&identity], SslVersion::TLS1_2), 1000).unwrap();
        let expected = identity.certificate.digest(bound).unwrap().to_vec();
        assert_eq!(tls.server_end_point(), Some(expected));
    }
}

/// The mechanism and gs2 header that the client chooses, and whether its proof fits.
fn scram(channel_binding: bool, mechanisms: &'static [&'static str]) -> (String, String, bool) {
    let startup = Startup {
        channel_binding,
        ..startup()
    };
    let (mut wire, mut server) = session(SslVersion::TLS1_3, 1000, &startup);
    let certificate = server
        .stream
        .ssl()
        .certificate()
        .unwrap()
        .digest(MessageDigest::sha256())
        .unwrap();
    let mut scram = ScramServer {
        mechanisms,
        ..ScramServer::default()
    };
    let mut ask = |wire: &mut Wire, question: &[u8]| {
        give(wire, &server.encrypt(question));
        let mut transcript = Transcript::default();
        assert!(poll(wire, &mut transcript), "{transcript:?}");
        server.pipe.to_server.borrow_mut().extend(&transcript.sent);
        (transcript.text(), server.read())
    };
    let (mechanism, header, nonce) = scram.begin(&ask(&mut wire, &scram.offer()).1);
    if mechanism.ends_with("PLUS") {
        scram.end_point = certificate.to_vec();
    }
    let proof = ask(&mut wire, &scram.challenge(&nonce)).1;
    let Some(signature) = scram.finish(&header, &nonce, &proof) else {
        return (mechanism, header, false);
    };
    let verifier = authentication(12, format!("v={signature}").as_bytes());
    let (lines, _) = ask(&mut wire, &[verifier, hello()].concat());
    (mechanism, header, lines.ends_with("Ready(Idle)"))
}

#[test]
fn scram_is_bound_to_the_certificate_when_both_sides_can() {
    const BOTH: &[&str] = &["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", ""];
    const PLAIN: &[&str] = &["SCRAM-SHA-256", ""];
    let cases = [
        (true, BOTH, "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,"),
        (true, PLAIN, "SCRAM-SHA-256", "y,,"),
        (false, BOTH, "SCRAM-SHA-256", "n,,"),
        (false, PLAIN, "SCRAM-SHA-256", "n,,"),
    ];
    for (channel_binding, offered, mechanism, header) in cases {
        let chosen = scram(channel_binding, offered);
        assert_eq!(chosen, (mechanism.to_owned(), header.to_owned(), true));
    }
}

#[test]
fn a_session_moves_between_threads() {
    fn moves<T: Send>() {}
    moves::<Wire>();
    moves::<Tls>();
}

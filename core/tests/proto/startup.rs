//! The startup and each authentication.

use heys_core::error::Kind;
use heys_core::proto::{Startup, Wire};
use openssl::base64::{decode_block, encode_block};
use openssl::hash::MessageDigest;
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::sign::Signer;

use crate::messages::*;
use crate::replay::{Transcript, give, poll, replay, startup, take};

fn begun() -> Wire {
    Wire::new(&startup(), None).unwrap()
}

/// What came before AuthenticationOk is checked by each test; this comes after.
fn rest_of_hello() -> Vec<u8> {
    [parameter("server_version", "17.2"), key(7, 11), ready(b'I')].concat()
}

const REST_OF_HELLO: &str = "parameter server_version=17.2\nReady(Idle)";

fn last(transcript: &Transcript) -> &str {
    transcript.lines.last().map_or("", String::as_str)
}

#[test]
fn the_startup_message_has_the_parameters_in_order() {
    let body = strings(&["user", "ada", "database", "heys", ""]);
    let expected = [
        &(body.len() as i32 + 8).to_be_bytes()[..],
        &196_608i32.to_be_bytes(),
        &body,
    ]
    .concat();
    assert_eq!(take(&mut begun()), expected);
}

#[test]
fn a_startup_message_that_the_server_would_refuse_is_not_written() {
    let with = |name: &str, value: &str| Startup {
        params: vec![("user".into(), "ada".into()), (name.into(), value.into())],
        ..Startup::default()
    };
    let cases = [
        Startup::default(),
        with("options", "a\0b"),
        with("options", &"x".repeat(10_000)),
    ];
    for startup in cases {
        assert_eq!(Wire::new(&startup, None).err().unwrap().kind(), Kind::Config);
    }
}

#[test]
fn trust_asks_for_no_password() {
    let notice = message(b'N', &fields(&[(b'C', "01000"), (b'M', "hi")]));
    let transcript = replay(begun, &[authentication(0, b""), notice, rest_of_hello()].concat());
    assert_eq!(transcript.text(), format!("notice 01000 hi\n{REST_OF_HELLO}"));
}

#[test]
fn a_pooler_may_send_no_key() {
    let mut wire = begun();
    give(&mut wire, &[authentication(0, b""), ready(b'I')].concat());
    assert!(poll(&mut wire, &mut Transcript::default()));
    assert_eq!(wire.backend_key(), None);
}

#[test]
fn cleartext_sends_the_password() {
    let reply = [authentication(3, b""), authentication(0, b""), rest_of_hello()].concat();
    let transcript = replay(begun, &reply);
    assert_eq!(
        transcript.text(),
        format!("PasswordRequested(Cleartext)\n{REST_OF_HELLO}")
    );
    assert!(transcript.sent.ends_with(&message(b'p', b"secret\0")));
}

#[test]
fn md5_sends_the_salted_hash() {
    let reply = [
        authentication(5, b"\x01\x02\x03\x04"),
        authentication(0, b""),
        rest_of_hello(),
    ]
    .concat();
    let transcript = replay(begun, &reply);
    assert_eq!(transcript.text(), format!("PasswordRequested(Md5)\n{REST_OF_HELLO}"));
    // md5(md5('secret' || 'ada') || salt).
    assert!(
        transcript
            .sent
            .ends_with(&message(b'p', b"md5164dbcd37c01a78e869e72965960a754\0"))
    );
}

#[test]
fn a_refused_password_is_the_servers_error_and_the_end() {
    let reply = [authentication(3, b""), error("28P01", "no"), authentication(0, b"")].concat();
    let transcript = replay(begun, &reply);
    assert_eq!(
        transcript.text(),
        "PasswordRequested(Cleartext)\nerror 28P01 no (30)\nfailed Closed: The session is closed"
    );
}

#[test]
fn each_method_that_cannot_be_done_is_named() {
    for (code, name) in [
        (2, "Kerberos V5"),
        (6, "SCM"),
        (7, "GSSAPI"),
        (9, "SSPI"),
        (77, "code 77"),
    ] {
        let transcript = replay(begun, &authentication(code, b""));
        assert!(last(&transcript).starts_with("failed Auth:"), "{transcript:?}");
        assert!(last(&transcript).contains(name), "{transcript:?}");
    }
    let transcript = replay(
        begun,
        &authentication(10, &strings(&["OAUTHBEARER", "SCRAM-SHA-512", ""])),
    );
    assert!(
        last(&transcript).ends_with("(SCRAM-SHA-256): OAUTHBEARER, SCRAM-SHA-512"),
        "{transcript:?}"
    );
}

#[test]
fn nothing_else_may_come_before_authentication_is_done() {
    let cases = [
        ready(b'I'),
        key(1, 2),
        parameter("a", "b"),
        complete("SELECT 1"),
        row(&[]),
        message(b'A', b"\0\0\0\0a\0b\0"),
    ];
    for reply in cases {
        let transcript = replay(begun, &reply);
        assert!(transcript.text().starts_with("failed Protocol:"), "{transcript:?}");
    }
}

#[test]
fn a_query_before_the_first_ready_is_refused() {
    let mut wire = begun();
    assert_eq!(wire.query("SELECT 1").unwrap_err().kind(), Kind::Usage);
    assert_eq!(wire.password(b"early").unwrap_err().kind(), Kind::Usage);
}

#[test]
fn an_unknown_protocol_option_is_named_and_a_bare_negotiation_tolerated() {
    let negotiate = |options: &[&str]| {
        let count = options.len() as i32;
        let head = [196_608i32.to_be_bytes(), count.to_be_bytes()].concat();
        message(b'v', &[head, strings(options)].concat())
    };
    let transcript = replay(
        begun,
        &[negotiate(&[]), authentication(0, b""), rest_of_hello()].concat(),
    );
    assert_eq!(transcript.text(), REST_OF_HELLO);
    let transcript = replay(begun, &negotiate(&["_pq_.a", "_pq_.b"]));
    assert_eq!(
        transcript.text(),
        "failed Config: The server does not know these startup options: _pq_.a _pq_.b"
    );
}

// ---- SCRAM

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let key = PKey::hmac(key).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    signer.sign_oneshot_to_vec(text).unwrap().try_into().unwrap()
}

/// The server's side of RFC 5802 and RFC 7677.
pub(crate) struct ScramServer {
    pub(crate) password: &'static str,
    pub(crate) iterations: u32,
    /// What it offers.
    pub(crate) mechanisms: &'static [&'static str],
    /// Its certificate's hash, for SCRAM-SHA-256-PLUS.
    pub(crate) end_point: Vec<u8>,
}

impl Default for ScramServer {
    fn default() -> ScramServer {
        ScramServer {
            password: "secret",
            iterations: 4096,
            mechanisms: &["SCRAM-SHA-256", ""],
            end_point: Vec::new(),
        }
    }
}

/// The one message in `sent`, tag `p`.
fn response(sent: &[u8]) -> &[u8] {
    assert_eq!(sent[0], b'p');
    assert_eq!(
        u32::from_be_bytes(sent[1..5].try_into().unwrap()) as usize,
        sent.len() - 1
    );
    &sent[5..]
}

impl ScramServer {
    /// AuthenticationSASL.
    pub(crate) fn offer(&self) -> Vec<u8> {
        authentication(10, &strings(self.mechanisms))
    }

    /// Reads SASLInitialResponse: the mechanism, the gs2 header and the client's nonce.
    pub(crate) fn begin(&self, sent: &[u8]) -> (String, String, String) {
        let body = response(sent);
        let name = body.iter().position(|&byte| byte == 0).unwrap();
        let message = std::str::from_utf8(&body[name + 5..]).unwrap();
        let length = u32::from_be_bytes(body[name + 1..name + 5].try_into().unwrap());
        assert_eq!(length as usize, message.len());
        let (header, nonce) = message.split_once("n=,r=").unwrap();
        (
            String::from_utf8(body[..name].to_vec()).unwrap(),
            header.to_owned(),
            nonce.to_owned(),
        )
    }

    fn first(&self, nonce: &str) -> String {
        format!(
            "r={nonce}server,s={},i={}",
            encode_block(b"salt of 16 bytes"),
            self.iterations
        )
    }

    /// AuthenticationSASLContinue for this client nonce.
    pub(crate) fn challenge(&self, nonce: &str) -> Vec<u8> {
        authentication(11, self.first(nonce).as_bytes())
    }

    /// Checks the client's proof and gives the signature for AuthenticationSASLFinal; `None` for a wrong proof.
    pub(crate) fn finish(&self, header: &str, nonce: &str, sent: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(response(sent)).unwrap();
        let (without_proof, proof) = text.split_once(",p=").unwrap();
        let binding = [header.as_bytes(), &self.end_point].concat();
        assert_eq!(without_proof, format!("c={},r={nonce}server", encode_block(&binding)));
        let mut salted = [0; 32];
        let (password, iterations) = (self.password.as_bytes(), self.iterations as usize);
        pbkdf2_hmac(
            password,
            b"salt of 16 bytes",
            iterations,
            MessageDigest::sha256(),
            &mut salted,
        )
        .unwrap();
        let message = format!("n=,r={nonce},{},{without_proof}", self.first(nonce));
        let stored = sha256(&hmac(&salted, b"Client Key"));
        let signature = hmac(&stored, message.as_bytes());
        let key: Vec<u8> = decode_block(proof)
            .unwrap()
            .iter()
            .zip(signature)
            .map(|(a, b)| a ^ b)
            .collect();
        (sha256(&key) == stored).then(|| encode_block(&hmac(&hmac(&salted, b"Server Key"), message.as_bytes())))
    }
}

/// Runs SCRAM up to the client's final message; the server's signature for it.
fn until_final(wire: &mut Wire, server: &ScramServer, transcript: &mut Transcript) -> Option<String> {
    take(wire);
    give(wire, &server.offer());
    assert!(poll(wire, transcript));
    let (mechanism, header, nonce) = server.begin(&transcript.sent);
    assert_eq!((mechanism.as_str(), header.as_str()), ("SCRAM-SHA-256", "n,,"));
    transcript.sent.clear();
    give(wire, &server.challenge(&nonce));
    poll(wire, transcript).then(|| server.finish(&header, &nonce, &transcript.sent))?
}

fn verifier(signature: &str) -> Vec<u8> {
    authentication(12, format!("v={signature}").as_bytes())
}

#[test]
fn scram_proves_both_sides() {
    let (mut wire, transcript) = (begun(), &mut Transcript::default());
    let signature = until_final(&mut wire, &ScramServer::default(), transcript).unwrap();
    give(
        &mut wire,
        &[verifier(&signature), authentication(0, b""), rest_of_hello()].concat(),
    );
    assert!(poll(&mut wire, transcript));
    assert_eq!(transcript.text(), format!("PasswordRequested(Scram)\n{REST_OF_HELLO}"));
}

#[test]
fn scram_without_tls_takes_the_plain_mechanism_of_both() {
    let server = ScramServer {
        mechanisms: &["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", ""],
        ..ScramServer::default()
    };
    let startup = Startup {
        channel_binding: true,
        ..startup()
    };
    let mut wire = Wire::new(&startup, None).unwrap();
    assert!(until_final(&mut wire, &server, &mut Transcript::default()).is_some());
}

#[test]
fn a_wrong_password_gives_a_wrong_proof() {
    let server = ScramServer {
        password: "other",
        ..ScramServer::default()
    };
    assert_eq!(until_final(&mut begun(), &server, &mut Transcript::default()), None);
}

#[test]
fn a_server_that_does_not_know_the_password_is_refused() {
    let wrong = encode_block(&[0; 32]);
    for reply in [
        verifier(&wrong),
        verifier("garbage"),
        authentication(12, b"e=other-error"),
        authentication(12, b""),
    ] {
        let (mut wire, transcript) = (begun(), &mut Transcript::default());
        until_final(&mut wire, &ScramServer::default(), transcript).unwrap();
        give(&mut wire, &reply);
        assert!(!poll(&mut wire, transcript));
        assert!(
            last(transcript).starts_with("failed Auth: The server could not prove"),
            "{transcript:?}"
        );
    }
}

#[test]
fn authentication_ok_without_the_servers_proof_is_refused() {
    let impostor = "failed Auth: The server ended SCRAM without proving that it knows the password";
    let transcript = replay(
        begun,
        &[ScramServer::default().offer(), authentication(0, b"")].concat(),
    );
    assert!(last(&transcript).starts_with(impostor), "{transcript:?}");
    let (mut wire, transcript) = (begun(), &mut Transcript::default());
    until_final(&mut wire, &ScramServer::default(), transcript).unwrap();
    give(&mut wire, &authentication(0, b""));
    assert!(!poll(&mut wire, transcript));
    assert!(last(transcript).starts_with(impostor), "{transcript:?}");
}

#[test]
fn a_server_cannot_fall_back_to_a_weaker_method() {
    let offer = ScramServer::default().offer();
    for weaker in [authentication(3, b""), authentication(5, b"salt"), offer.clone()] {
        let transcript = replay(begun, &[offer.as_slice(), &weaker].concat());
        assert!(last(&transcript).starts_with("failed Protocol:"), "{transcript:?}");
        let transcript = replay(begun, &[authentication(3, b"").as_slice(), &weaker].concat());
        assert!(last(&transcript).starts_with("failed Protocol:"), "{transcript:?}");
    }
}

#[test]
fn a_server_that_asks_again_before_the_answer_is_refused() {
    for first in [authentication(3, b""), ScramServer::default().offer()] {
        for second in [
            authentication(0, b""),
            authentication(3, b""),
            authentication(5, b"salt"),
        ] {
            let mut wire = begun();
            give(&mut wire, &[first.as_slice(), &second].concat());
            let transcript = &mut Transcript::default();
            assert!(wire.poll_event(transcript).unwrap().is_some());
            assert!(wire.poll_event(transcript).is_err());
        }
    }
}

#[test]
fn too_many_iterations_are_refused_before_they_are_done() {
    let cases = [(10_000, 10_001), (10_000, u32::MAX), (0, 100_001), (10_000, 0)];
    for (scram_max_iterations, iterations) in cases {
        let server = ScramServer {
            iterations,
            ..ScramServer::default()
        };
        let mut wire = Wire::new(
            &Startup {
                scram_max_iterations,
                ..startup()
            },
            None,
        )
        .unwrap();
        let transcript = &mut Transcript::default();
        assert_eq!(until_final(&mut wire, &server, transcript), None);
        let refusal = format!("failed Auth: The server asks for {iterations} SCRAM iterations");
        assert!(last(transcript).starts_with(&refusal), "{transcript:?}");
    }
}

#[test]
fn as_many_iterations_as_allowed_are_done() {
    let server = ScramServer {
        iterations: 5000,
        ..ScramServer::default()
    };
    let mut wire = Wire::new(
        &Startup {
            scram_max_iterations: 5000,
            ..startup()
        },
        None,
    )
    .unwrap();
    assert!(until_final(&mut wire, &server, &mut Transcript::default()).is_some());
}

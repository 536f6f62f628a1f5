//! The HTTPS client against scripted servers on loopback.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use heys_core::error::Kind;
use heys_core::net::https::{Client, HttpsOptions};
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{Ssl, SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A server that answers every request with the same bytes and then closes, and tells what it was sent.
struct Server {
    port: u16,
    requests: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Server {
    async fn start(answer: &[u8], tls: Option<Arc<SslAcceptor>>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, requests) = mpsc::unbounded_channel();
        let answer = answer.to_vec();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, answer, tls) = (sender.clone(), answer.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &answer, sender).await,
                        Some(acceptor) => {
                            let ssl = Ssl::new(acceptor.context()).unwrap();
                            let mut stream = tokio_openssl::SslStream::new(ssl, stream).unwrap();
                            if std::pin::Pin::new(&mut stream).accept().await.is_ok() {
                                serve(stream, &answer, sender).await;
                            }
                        }
                    }
                });
            }
        });
        Server { port, requests }
    }

    async fn request(&mut self) -> Vec<u8> {
        self.requests.recv().await.unwrap()
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8], seen: mpsc::UnboundedSender<Vec<u8>>) {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let _ = seen.send(request);
    match answer.is_empty() {
        true => std::future::pending().await,
        false => {
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some(head) = text.find("\r\n\r\n") else {
        return false;
    };
    let length = text.get(..head).unwrap().to_ascii_lowercase();
    let length = length
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    request.len() >= head + 4 + length.unwrap_or(0)
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-one: 1\r\n\r\nhello";

/// A CA and a certificate for `dns`, signed by it.
fn tls(dns: &str) -> (Vec<u8>, Arc<SslAcceptor>) {
    let (ca, ca_key) = certificate("test CA", None, None);
    let (leaf, key) = certificate("server", Some(dns), Some((&ca, &ca_key)));
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor.set_certificate(&leaf).unwrap();
    acceptor.set_private_key(&key).unwrap();
    (ca.to_pem().unwrap(), Arc::new(acceptor.build()))
}

fn certificate(name: &str, dns: Option<&str>, issuer: Option<(&X509, &PKey<Private>)>) -> (X509, PKey<Private>) {
    let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(openssl::ec::EcKey::generate(&group).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let mut serial = openssl::bn::BigNum::new().unwrap();
    serial.rand(64, openssl::bn::MsbOption::MAYBE_ZERO, false).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder
        .set_issuer_name(issuer.map_or(&subject, |(ca, _)| ca.subject_name()))
        .unwrap();
    builder.set_pubkey(&key).unwrap();
    builder
        .set_not_before(&Asn1Time::from_unix(1_600_000_000).unwrap())
        .unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(30).unwrap()).unwrap();
    let mut constraints = BasicConstraints::new();
    constraints.critical();
    if issuer.is_none() {
        constraints.ca();
    }
    builder.append_extension(constraints.build().unwrap()).unwrap();
    if let Some(dns) = dns {
        let context = builder.x509v3_context(None, None);
        let names = SubjectAlternativeName::new().dns(dns).build(&context).unwrap();
        builder.append_extension(names).unwrap();
    }
    builder
        .sign(issuer.map_or(&key, |(_, key)| key), MessageDigest::sha256())
        .unwrap();
    (builder.build(), key)
}

/// A file that is gone with its value.
struct Bundle(PathBuf);

impl Bundle {
    fn new(name: &str, pem: &[u8]) -> Bundle {
        let path = std::env::temp_dir().join(format!("heys-https-{}-{name}.pem", std::process::id()));
        std::fs::write(&path, pem).unwrap();
        Bundle(path)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn client(options: HttpsOptions) -> Client {
    Client::new(options).unwrap()
}

fn plain() -> Client {
    client(HttpsOptions::default())
}

#[tokio::test]
async fn a_plain_request_brings_status_headers_and_body() {
    let mut server = Server::start(OK, None).await;
    let answer = plain()
        .post_json(&format!("http://127.0.0.1:{}/a?b=c", server.port), r#"{"x":1}"#)
        .await
        .unwrap();
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"hello"[..]));
    assert_eq!(answer.headers()["x-one"], "1");
    let request = String::from_utf8(server.request().await).unwrap();
    assert!(request.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{request}");
    assert!(
        request.contains("content-type: application/json") && request.ends_with("\r\n\r\n{\"x\":1}"),
        "{request}"
    );
    let url = format!("http://127.0.0.1:{}/", server.port);
    plain().get(&url, &[("metadata-flavor", "Google")]).await.unwrap();
    assert!(
        String::from_utf8(server.request().await)
            .unwrap()
            .contains("metadata-flavor: Google")
    );
}

#[tokio::test]
async fn any_status_is_an_answer() {
    let server = Server::start(
        b"HTTP/1.1 429 Slow\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n",
        None,
    )
    .await;
    let answer = plain()
        .post_json(&format!("http://127.0.0.1:{}/", server.port), "{}")
        .await
        .unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["retry-after"].as_bytes()),
        (429, &b"3"[..])
    );
}

#[tokio::test]
async fn an_answer_is_bounded_in_length_and_time() {
    let long = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n".to_vec(),
        vec![b'x'; 3000],
    ]
    .concat();
    let server = Server::start(&long, None).await;
    let small = client(HttpsOptions {
        max_body: 1000,
        ..HttpsOptions::default()
    });
    let error = small
        .get(&format!("http://127.0.0.1:{}/", server.port), &[])
        .await
        .unwrap_err();
    assert!(error.message().contains("longer than 1000 bytes"), "{error}");
    let silent = Server::start(b"", None).await;
    let hasty = client(HttpsOptions {
        request_timeout: Duration::from_millis(100),
        ..HttpsOptions::default()
    });
    let error = hasty
        .get(&format!("http://127.0.0.1:{}/", silent.port), &[])
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("ETIMEDOUT"));
}

#[tokio::test]
async fn no_error_shows_the_path() {
    let broken = Server::start(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhel", None).await;
    let rubbish = Server::start(b"SSH-2.0-x\r\n", None).await;
    for url in [
        format!("http://127.0.0.1:{}/botSECRET/send", broken.port),
        format!("http://127.0.0.1:{}/botSECRET/send", rubbish.port),
        "http://127.0.0.1:1/botSECRET/send".to_owned(),
        "http://no-such-host.invalid/botSECRET/send".to_owned(),
        "ftp://127.0.0.1/botSECRET/send".to_owned(),
        "http://127.0.0.1/botSECRET/ send".to_owned(),
    ] {
        let error = plain().post_json(&url, "{}").await.unwrap_err();
        let mut text = format!("{error} {error:?}");
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            text.push_str(&format!(" {inner} {inner:?}"));
            source = inner.source();
        }
        assert!(!text.contains("SECRET"), "{text}");
    }
}

#[tokio::test]
async fn a_refused_connection_keeps_nodes_name() {
    let error = plain().get("http://127.0.0.1:1/", &[]).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (Kind::Io, Some("ECONNREFUSED")));
    assert!(error.message().contains("connect ECONNREFUSED 127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn a_certificate_of_the_ca_bundle_is_accepted_and_another_is_not() {
    let (ca, acceptor) = tls("localhost");
    let bundle = Bundle::new("good", &ca);
    let server = Server::start(OK, Some(acceptor)).await;
    let url = format!("https://localhost:{}/", server.port);
    let trusting = client(HttpsOptions {
        ca_bundle: Some(bundle.0.clone()),
        ..HttpsOptions::default()
    });
    assert_eq!(&trusting.get(&url, &[]).await.unwrap().body()[..], b"hello");
    let (other, _) = tls("localhost");
    let other = Bundle::new("other", &other);
    let error = client(HttpsOptions {
        ca_bundle: Some(other.0.clone()),
        ..HttpsOptions::default()
    })
    .get(&url, &[])
    .await
    .unwrap_err();
    assert_eq!(error.kind(), Kind::Tls);
    assert!(error.message().contains("AWS_CA_BUNDLE"), "{error}");
}

#[tokio::test]
async fn the_right_ca_with_the_wrong_host_is_refused() {
    let (ca, acceptor) = tls("storage.example");
    let bundle = Bundle::new("host", &ca);
    let server = Server::start(OK, Some(acceptor)).await;
    let trusting = client(HttpsOptions {
        ca_bundle: Some(bundle.0.clone()),
        ..HttpsOptions::default()
    });
    for host in ["localhost", "127.0.0.1"] {
        let error = trusting
            .get(&format!("https://{host}:{}/", server.port), &[])
            .await
            .unwrap_err();
        assert!(error.message().contains("DNS:storage.example"), "{error}");
    }
}

#[tokio::test]
async fn a_named_bundle_that_is_missing_is_an_error_that_names_it() {
    let missing = client(HttpsOptions {
        ca_bundle: Some("/no/such/bundle.pem".into()),
        ..HttpsOptions::default()
    });
    let (_, acceptor) = tls("localhost");
    let server = Server::start(OK, Some(acceptor)).await;
    let error = missing
        .get(&format!("https://localhost:{}/", server.port), &[])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(
        error.message().contains("/no/such/bundle.pem") && error.message().contains("AWS_CA_BUNDLE"),
        "{error}"
    );
}

#[tokio::test]
async fn the_aws_sdk_sends_a_large_object_whole() {
    let (ca, acceptor) = tls("localhost");
    let bundle = Bundle::new("sdk", &ca);
    let mut server = Server::start(
        b"HTTP/1.1 200 OK\r\netag: \"1\"\r\ncontent-length: 0\r\n\r\n",
        Some(acceptor),
    )
    .await;
    let https = client(HttpsOptions {
        ca_bundle: Some(bundle.0.clone()),
        ..HttpsOptions::default()
    });
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("ru-central1"))
        .endpoint_url(format!("https://localhost:{}", server.port))
        .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
        .force_path_style(true)
        .request_checksum_calculation(aws_sdk_s3::config::RequestChecksumCalculation::WhenRequired)
        .http_client(https.smithy())
        .build();
    let body: Vec<u8> = (0..1_500_000u32).map(|i| b'a' + (i % 23) as u8).collect();
    let put = aws_sdk_s3::Client::from_conf(config)
        .put_object()
        .bucket("b")
        .key("k")
        .body(ByteStream::from(body.clone()))
        .send()
        .await
        .unwrap();
    assert_eq!(put.e_tag(), Some("\"1\""));
    let request = server.request().await;
    assert!(request.starts_with(b"PUT /b/k"));
    assert!(request.ends_with(&body));
}

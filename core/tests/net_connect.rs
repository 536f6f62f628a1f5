//! Connecting to a real server: login, TLS by sslmode, certificates, host lists, timeouts, cancel.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use heys_core::Error;
use heys_core::config::{Config, SslMode, TargetSessionAttrs};
use heys_core::error::Kind;
use heys_core::net::{Address, Established, PasswordProvider, cancel, connect};
use heys_core::proto::{Event, PasswordRequest, RowSink, SinkState};
use heys_sandbox::{Postgres, PostgresOptions, ServerCertificate, StopMode};

/// The sandbox's server, its URL read without any environment.
fn config(postgres: &Postgres, role: &str) -> Config {
    Config::parse(&postgres.url(role), &|_| None).unwrap()
}

async fn try_connect(config: Config) -> Result<Established, Error> {
    connect(Arc::new(config), None).await
}

async fn good(config: Config) -> Session {
    Session(try_connect(config).await.unwrap())
}

async fn bad(config: Config) -> Error {
    try_connect(config).await.err().unwrap()
}

/// Drives an established session over its blocking socket, as simple as can be.
struct Session(Established);

#[derive(Default)]
struct Rows(Vec<String>);

impl RowSink for Rows {
    fn row(&mut self, body: &[u8]) -> SinkState {
        let length = i32::from_be_bytes(body[2..6].try_into().unwrap());
        let value = body.get(6..6 + usize::try_from(length.max(0)).unwrap()).unwrap();
        self.0.push(String::from_utf8(value.to_vec()).unwrap());
        SinkState::Open
    }
}

impl Session {
    /// The first column of a query's rows, or its error's SQLSTATE.
    fn query(&mut self, sql: &str) -> Result<Vec<String>, String> {
        self.0.wire.query(sql).unwrap();
        self.finish()
    }

    fn finish(&mut self) -> Result<Vec<String>, String> {
        let heys_core::net::Socket::Tcp(socket) = &mut self.0.socket else {
            panic!("TCP expected");
        };
        socket.set_nonblocking(false).unwrap();
        let mut rows = Rows::default();
        let mut failed = None;
        loop {
            while !self.0.wire.output().is_empty() {
                let n = socket.write(self.0.wire.output()).unwrap();
                self.0.wire.sent(n);
            }
            match self.0.wire.poll_event(&mut rows).unwrap() {
                Some(Event::Ready(_)) => return failed.map_or(Ok(rows.0), Err),
                Some(Event::Error(error)) => failed = Some(error.code().to_owned()),
                Some(_) => {}
                None => {
                    let n = socket.read(self.0.wire.spare()).unwrap();
                    assert_ne!(n, 0, "the server closed");
                    self.0.wire.filled(n).unwrap();
                }
            }
        }
    }

    fn is_tls(&self) -> bool {
        self.0.wire.is_tls()
    }
}

/// A port on which nobody listens.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

async fn server_with(certificate: ServerCertificate) -> Postgres {
    Postgres::start(PostgresOptions {
        certificate,
        ..PostgresOptions::default()
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn every_way_to_log_in_leads_to_a_session() {
    let postgres = Postgres::shared().await;
    for role in ["admin", "md5", "cleartext", "trust"] {
        let mut session = good(config(postgres, role)).await;
        assert!(session.is_tls());
        let user = postgres.info().roles[role].user.clone();
        assert_eq!(session.query("SELECT current_user"), Ok(vec![user]));
    }
    let info = postgres.info();
    let mut with_certificate = config(postgres, "cert");
    with_certificate.tls.cert_file = Some(info.certificates.client_cert_path.clone());
    with_certificate.tls.key_file = Some(info.certificates.client_key_path.clone());
    good(with_certificate).await;
}

#[tokio::test]
async fn scram_is_bound_to_the_tls_channel_where_asked() {
    let postgres = Postgres::shared().await;
    let mut config = config(postgres, "admin");
    config.channel_binding = true;
    good(config.clone()).await;
    config.channel_binding = false;
    good(config).await;
}

#[tokio::test]
async fn startup_parameters_reach_the_server() {
    let postgres = Postgres::shared().await;
    let mut config = config(postgres, "admin");
    config.params = vec![
        ("application_name".to_owned(), "nét".to_owned()),
        ("options".to_owned(), "-c statement_timeout=4321".to_owned()),
    ];
    let mut session = good(config).await;
    assert_eq!(session.query("SHOW statement_timeout"), Ok(vec!["4321ms".to_owned()]));
    assert_eq!(session.query("SHOW client_encoding"), Ok(vec!["UTF8".to_owned()]));
}

#[tokio::test]
async fn the_password_is_asked_for_only_when_the_server_wants_one() {
    let postgres = Postgres::shared().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let provider = |answer: Option<String>| -> PasswordProvider {
        let asked = Arc::clone(&asked);
        Arc::new(move |request| {
            assert_eq!(request, PasswordRequest::Scram);
            asked.fetch_add(1, Ordering::SeqCst);
            let answer = answer.clone();
            Box::pin(async move { Ok(answer) })
        })
    };
    connect(Arc::new(config(postgres, "trust")), Some(provider(None)))
        .await
        .unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    let mut config = config(postgres, "admin");
    let password = config.password.take();
    let config = Arc::new(config);
    connect(Arc::clone(&config), Some(provider(password))).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let error = connect(Arc::clone(&config), Some(provider(None))).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Auth);
    assert!(error.message().contains("PG_PASSWORD"), "{error}");
    let error = connect(config, Some(provider(Some("wrong".to_owned()))))
        .await
        .err()
        .unwrap();
    assert_eq!(error.code(), Some("28P01"));
}

#[tokio::test]
async fn each_sslmode_means_what_it_means_in_libpq() {
    use SslMode::{Allow, Disable, NoVerify, Prefer, Require, VerifyCa, VerifyFull};
    let postgres = Postgres::shared().await;
    for (mode, any, ssl_only, plain_only) in [
        (Disable, Some(false), None, Some(false)),
        (Allow, Some(false), Some(true), Some(false)),
        (Prefer, Some(true), Some(true), Some(false)),
        (NoVerify, Some(true), Some(true), None),
        (Require, Some(true), Some(true), None),
        (VerifyCa, Some(true), Some(true), None),
        (VerifyFull, Some(true), Some(true), None),
    ] {
        for (role, wanted) in [("admin", any), ("sslOnly", ssl_only), ("plainOnly", plain_only)] {
            let mut config = config(postgres, role);
            config.ssl_mode = mode;
            let got = try_connect(config).await;
            let tls = got.as_ref().ok().map(|session| session.wire.is_tls());
            assert_eq!(tls, wanted, "{mode:?} as {role}: {:?}", got.err());
        }
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let postgres = Postgres::start(PostgresOptions {
        ssl: false,
        ..PostgresOptions::default()
    })
    .await
    .unwrap();
    for mode in [SslMode::NoVerify, SslMode::Require, SslMode::VerifyFull] {
        let mut config = config(&postgres, "admin");
        config.ssl_mode = mode;
        let error = bad(config).await;
        assert_eq!(error.message(), "The server does not support SSL connections");
        assert_eq!(error.kind(), Kind::Tls);
    }
    for mode in [SslMode::Disable, SslMode::Allow, SslMode::Prefer] {
        let mut config = config(&postgres, "admin");
        config.ssl_mode = mode;
        assert!(!good(config).await.is_tls());
    }
}

#[tokio::test]
async fn a_wrong_ca_is_refused_and_the_error_names_the_roots_in_use() {
    let postgres = Postgres::shared().await;
    let other = postgres.info().certificates.other_ca_path.clone();
    let mut config = config(postgres, "admin");
    config.tls.ca_file = Some(other.clone());
    for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
        config.ssl_mode = mode;
        let error = bad(config.clone()).await;
        assert_eq!(error.kind(), Kind::Tls);
        assert!(
            matches!(
                error.code(),
                Some(
                    "UNABLE_TO_VERIFY_LEAF_SIGNATURE"
                        | "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"
                        | "SELF_SIGNED_CERT_IN_CHAIN"
                )
            ),
            "{error:?}"
        );
        let text = error.message();
        assert!(
            text.contains(&other.display().to_string()) && text.contains("PG_SSLROOTCERT"),
            "{text}"
        );
    }
    config.ssl_mode = SslMode::NoVerify;
    assert!(good(config).await.is_tls());
}

#[tokio::test]
async fn the_right_ca_with_the_wrong_host_is_refused_with_the_certificates_names() {
    let postgres = server_with(ServerCertificate::WrongHost).await;
    let mut config = config(&postgres, "admin");
    let error = bad(config.clone()).await;
    assert_eq!(error.code(), Some("ERR_TLS_CERT_ALTNAME_INVALID"));
    let text = error.message();
    assert!(
        text.starts_with("Hostname/IP does not match certificate's altnames: 127.0.0.1"),
        "{text}"
    );
    assert!(
        text.contains("DNS:db.example.invalid") && text.contains("verify-ca"),
        "{text}"
    );
    config.tls.server_name = Some("db.example.invalid".to_owned());
    good(config.clone()).await;
    config.tls.server_name = None;
    config.ssl_mode = SslMode::VerifyCa;
    good(config).await;
}

#[tokio::test]
async fn a_host_name_and_an_address_are_both_verified() {
    let postgres = Postgres::shared().await;
    for host in ["localhost", "127.0.0.1"] {
        let mut config = config(postgres, "admin");
        config.hosts[0].host = host.to_owned();
        let session = good(config).await;
        assert!(matches!(session.0.address, Address::Tcp { host: h, .. } if h == host));
    }
}

#[tokio::test]
async fn an_expired_certificate_is_refused_with_its_date() {
    let postgres = server_with(ServerCertificate::Expired).await;
    let error = bad(config(&postgres, "admin")).await;
    assert_eq!(error.code(), Some("CERT_HAS_EXPIRED"));
    assert!(
        error.message().contains("was valid until") && error.message().contains("GMT"),
        "{error}"
    );
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused() {
    let postgres = server_with(ServerCertificate::SelfSigned).await;
    let error = bad(config(&postgres, "admin")).await;
    assert_eq!(error.code(), Some("DEPTH_ZERO_SELF_SIGNED_CERT"));
    assert!(error.message().contains("PG_SSLROOTCERT"), "{error}");
}

#[tokio::test]
async fn a_ca_in_a_bundle_of_the_systems_kind_is_found() {
    let postgres = Postgres::shared().await;
    let certificates = &postgres.info().certificates;
    let mut bundle = Vec::new();
    for _ in 0..20 {
        bundle.extend(std::fs::read(&certificates.other_ca_path).unwrap());
    }
    if let Ok(Some(system)) = heys_core::config::trust::system() {
        bundle.extend(system.to_pem().unwrap());
    }
    let mut config = config(postgres, "admin");
    config.tls.ca_file = None;
    config.tls.ca = Some(bundle.clone());
    assert_eq!(bad(config.clone()).await.kind(), Kind::Tls);
    bundle.extend(certificates.ca.as_bytes());
    config.tls.ca = Some(bundle);
    good(config).await;
}

#[tokio::test]
async fn a_root_file_that_was_replaced_is_read_again_after_a_failure() {
    let postgres = Postgres::shared().await;
    let certificates = &postgres.info().certificates;
    let folder = std::env::temp_dir().join(format!("heys-rotate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("root.crt");
    std::fs::copy(&certificates.other_ca_path, &file).unwrap();
    let mut config = config(postgres, "admin");
    config.tls.ca_file = Some(file.clone());
    bad(config.clone()).await;
    std::fs::copy(&certificates.ca_path, &file).unwrap();
    good(config).await;
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_refused_connection_says_so_in_nodes_words() {
    let port = closed_port();
    let mut config = Config::new("127.0.0.1", port, "x", "x");
    config.ssl_mode = SslMode::Disable;
    let error = bad(config).await;
    assert_eq!(error.message(), format!("connect ECONNREFUSED 127.0.0.1:{port}"));
    assert_eq!((error.kind(), error.code()), (Kind::Io, Some("ECONNREFUSED")));
    let place = error.place().unwrap();
    assert_eq!((place.syscall, place.port), (Some("connect"), Some(port)));
    assert_eq!(place.address.as_deref(), Some("127.0.0.1"));
    assert!(error.io().unwrap().raw_os_error().is_some());
}

#[tokio::test]
async fn an_unknown_host_says_so_in_nodes_words() {
    let mut config = Config::new("no-such-host.invalid", 5432, "x", "x");
    config.ssl_mode = SslMode::Disable;
    let error = bad(config).await;
    assert_eq!(error.kind(), Kind::Dns);
    assert!(matches!(error.code(), Some("ENOTFOUND" | "EAI_AGAIN")), "{error:?}");
    assert_eq!(error.place().unwrap().hostname.as_deref(), Some("no-such-host.invalid"));
}

#[tokio::test]
async fn a_host_list_goes_on_to_the_next_and_names_every_failure() {
    let postgres = Postgres::shared().await;
    let mut several = config(postgres, "admin");
    let mut dead = several.hosts[0].clone();
    dead.port = closed_port();
    several.hosts.insert(0, dead.clone());
    let session = good(several.clone()).await;
    assert!(matches!(session.0.address, Address::Tcp { addr, .. } if addr.port() == postgres.info().port));
    several.hosts = vec![dead.clone(), dead.clone()];
    several.hosts[1].port = closed_port();
    let error = bad(several.clone()).await;
    assert_eq!(error.code(), Some("ECONNREFUSED"));
    for host in &several.hosts {
        assert!(error.message().contains(&host.to_string()), "{error}");
    }
    assert!(error.io().is_some());
}

#[tokio::test]
async fn a_wrong_password_ends_the_attempt_at_the_first_host() {
    let postgres = Postgres::shared().await;
    let mut config = config(postgres, "admin");
    config.password = Some("wrong".to_owned());
    let mut dead = config.hosts[0].clone();
    dead.port = closed_port();
    config.hosts.push(dead);
    let error = bad(config).await;
    assert_eq!((error.kind(), error.code()), (Kind::Server, Some("28P01")));
}

#[tokio::test]
async fn target_session_attrs_choose_the_server() {
    use TargetSessionAttrs::{Any, PreferStandby, Primary, ReadOnly, ReadWrite, Standby};
    let read_only = server_with(ServerCertificate::Good).await;
    let mut options = PostgresOptions::default();
    let setting = ("default_transaction_read_only".to_owned(), "on".to_owned());
    options.settings.extend([setting]);
    read_only.restart(StopMode::Fast, Some(options)).await.unwrap();
    let postgres = Postgres::shared().await;
    let mut config = config(postgres, "admin");
    // Passwords differ: use the role that needs none, and trust both servers' CAs.
    config.user = postgres.info().roles["trust"].user.clone();
    config.tls.ca_file = None;
    config.tls.ca = Some(
        [&*postgres.info().certificates.ca, &*read_only.info().certificates.ca]
            .concat()
            .into(),
    );
    let mut other = config.hosts[0].clone();
    other.port = read_only.info().port;
    config.hosts.insert(0, other);
    for (wanted, port) in [
        (Any, Some(read_only.info().port)),
        (ReadWrite, Some(postgres.info().port)),
        (ReadOnly, Some(read_only.info().port)),
        (Primary, Some(read_only.info().port)),
        (PreferStandby, Some(read_only.info().port)),
        (Standby, None),
    ] {
        config.target_session_attrs = wanted;
        match try_connect(config.clone()).await {
            Ok(session) => {
                let Address::Tcp { addr, .. } = session.address else {
                    panic!("TCP expected")
                };
                assert_eq!(Some(addr.port()), port, "{wanted:?}");
            }
            Err(error) => {
                assert_eq!(port, None, "{wanted:?}: {error}");
                assert!(error.message().contains("not in hot standby mode"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_tried_again_after_it_came_back() {
    let postgres = server_with(ServerCertificate::Good).await;
    postgres.stop(StopMode::Fast).await.unwrap();
    assert_eq!(bad(config(&postgres, "admin")).await.code(), Some("ECONNREFUSED"));
    postgres.start_again().await.unwrap();
    good(config(&postgres, "admin")).await;
}

#[tokio::test]
async fn a_unix_socket_is_used_without_tls() {
    let postgres = Postgres::shared().await;
    let mut config = config(postgres, "trust");
    config.hosts[0].host = postgres.info().socket_dir.display().to_string();
    let session = try_connect(config).await.unwrap();
    assert!(!session.wire.is_tls());
    assert!(
        matches!(session.address, Address::Unix(path) if path.ends_with(format!(".s.PGSQL.{}", postgres.info().port)))
    );
}

#[tokio::test]
async fn the_connect_timeout_holds_and_says_what_it_waited_for() {
    // Takes connections (in its backlog) and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = Config::new("127.0.0.1", silent.local_addr().unwrap().port(), "x", "x");
    config.connect_timeout = Some(Duration::from_millis(200));
    config.ssl_mode = SslMode::NoVerify;
    let start = Instant::now();
    let error = bad(config.clone()).await;
    assert_eq!(error.kind(), Kind::ConnectTimeout);
    assert!(
        error.message().contains("TLS") && error.message().contains("200 ms"),
        "{error}"
    );
    assert!(start.elapsed() < Duration::from_secs(2));
    config.ssl_mode = SslMode::Disable;
    assert!(bad(config).await.message().contains("the login"));
}

#[tokio::test]
async fn a_silent_host_leaves_time_for_the_next() {
    let postgres = Postgres::shared().await;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(postgres, "admin");
    let mut first = config.hosts[0].clone();
    first.port = silent.local_addr().unwrap().port();
    config.hosts.insert(0, first);
    config.connect_timeout = Some(Duration::from_secs(4));
    good(config).await;
}

#[tokio::test]
async fn plain_bytes_behind_the_servers_s_are_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 8];
        stream.read_exact(&mut request).unwrap();
        stream.write_all(b"SE\0\0\0\x04").unwrap();
        let _ = stream.read(&mut request);
    });
    let mut config = Config::new("127.0.0.1", port, "x", "x");
    config.ssl_mode = SslMode::NoVerify;
    let error = bad(config).await;
    assert_eq!(error.kind(), Kind::Protocol);
    assert!(error.message().contains("unencrypted data"), "{error}");
    server.join().unwrap();
}

#[tokio::test]
async fn a_cancel_ends_the_running_statement_and_resolves_when_the_server_closed() {
    let postgres = Postgres::shared().await;
    for mode in [SslMode::VerifyFull, SslMode::Disable] {
        let mut config = config(postgres, "admin");
        config.ssl_mode = mode;
        let config = Arc::new(config);
        let mut session = Session(connect(Arc::clone(&config), None).await.unwrap());
        let key = session.0.wire.backend_key().unwrap();
        let address = session.0.address.clone();
        let running = tokio::task::spawn_blocking(move || {
            let result = session.query("SELECT pg_sleep(60)");
            (session, result)
        });
        // The statement may not run yet: cancel until it did.
        let (mut session, result) = loop {
            cancel(Arc::clone(&config), &address, key).await.unwrap();
            tokio::task::yield_now().await;
            if running.is_finished() {
                break running.await.unwrap();
            }
        };
        assert_eq!(result, Err("57014".to_owned()));
        assert_eq!(session.query("SELECT 1"), Ok(vec!["1".to_owned()]));
    }
}

#[tokio::test]
async fn direct_tls_to_an_old_server_fails_with_an_error() {
    let postgres = Postgres::shared().await;
    let mut config = config(postgres, "admin");
    config.tls.direct = true;
    config.connect_timeout = Some(Duration::from_secs(5));
    let error = bad(config).await;
    assert!(matches!(error.kind(), Kind::Tls | Kind::Io), "{error:?}");
}

/// A server that takes TLS at once, shows a certificate of its own and lets everybody in.
fn direct_server(alpn: &'static [u8]) -> u16 {
    let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
    let key = openssl::pkey::PKey::from_ec_key(openssl::ec::EcKey::generate(&group).unwrap()).unwrap();
    let mut certificate = openssl::x509::X509::builder().unwrap();
    certificate.set_pubkey(&key).unwrap();
    let day = |n| openssl::asn1::Asn1Time::days_from_now(n).unwrap();
    certificate.set_not_before(&day(0)).unwrap();
    certificate.set_not_after(&day(1)).unwrap();
    certificate.sign(&key, openssl::hash::MessageDigest::sha256()).unwrap();
    let mut acceptor = openssl::ssl::SslAcceptor::mozilla_intermediate_v5(openssl::ssl::SslMethod::tls()).unwrap();
    acceptor.set_certificate(&certificate.build()).unwrap();
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_alpn_select_callback(move |_, offered| {
        openssl::ssl::select_next_proto(alpn, offered).ok_or(openssl::ssl::AlpnError::NOACK)
    });
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = acceptor.accept(stream).unwrap();
        let mut startup = [0; 1024];
        if stream.read(&mut startup).unwrap_or(0) > 8 {
            stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").unwrap();
            let _ = stream.read(&mut startup);
        }
    });
    port
}

#[tokio::test]
async fn direct_tls_needs_the_servers_agreement_on_the_protocol() {
    let mut config = Config::new("127.0.0.1", direct_server(b"\x0apostgresql"), "x", "x");
    config.ssl_mode = SslMode::NoVerify;
    config.tls.direct = true;
    assert!(good(config.clone()).await.is_tls());
    config.hosts[0].port = direct_server(b"\x02h2");
    let error = bad(config).await;
    assert!(error.message().contains("ALPN"), "{error}");
}

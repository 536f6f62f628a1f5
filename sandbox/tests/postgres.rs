//! The cluster starts as any user, lets each role in its own way, survives what tests do to it and leaves nothing.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use heys_sandbox::{Postgres, PostgresOptions, ServerCertificate, StopMode};

/// Logs in over TCP with psql and returns `user ssl`, or what went wrong.
fn log_in(postgres: &Postgres, kind: &str, conninfo: &str) -> Result<String, String> {
    let info = postgres.info();
    let role = &info.roles[kind];
    let conninfo = format!(
        "host={} port={} user={} dbname={} {conninfo}",
        info.host, info.port, role.user, info.database
    );
    let sql = "SELECT current_user || ' ' || ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let output = Command::new(info.bin_dir.join("psql"))
        .args(["-XAt", "-c", sql, &conninfo])
        .env("PGPASSWORD", role.password.as_deref().unwrap_or_default())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

fn verify_full(postgres: &Postgres) -> String {
    format!(
        "sslmode=verify-full sslrootcert={}",
        postgres.info().certificates.ca_path.display()
    )
}

fn refused(result: Result<String, String>, why: &str) {
    let error = result.unwrap_err();
    assert!(error.contains(why), "{error}");
}

#[tokio::test]
async fn every_role_logs_in_its_own_way() {
    let postgres = Postgres::shared().await;
    let certificates = &postgres.info().certificates;
    let tls = verify_full(postgres);
    for kind in ["admin", "superuser", "md5", "cleartext", "trust"] {
        let user = &postgres.info().roles[kind].user;
        assert_eq!(
            log_in(postgres, kind, "sslmode=disable").unwrap(),
            format!("{user} false")
        );
        assert_eq!(log_in(postgres, kind, &tls).unwrap(), format!("{user} true"));
    }
    assert_eq!(
        log_in(postgres, "plainOnly", "sslmode=disable").unwrap(),
        "heys_plain_only false"
    );
    refused(log_in(postgres, "plainOnly", &tls), "pg_hba.conf rejects connection");
    assert_eq!(log_in(postgres, "sslOnly", &tls).unwrap(), "heys_ssl_only true");
    refused(
        log_in(postgres, "sslOnly", "sslmode=disable"),
        "pg_hba.conf rejects connection",
    );
    let (cert, key) = (
        certificates.client_cert_path.display(),
        certificates.client_key_path.display(),
    );
    assert_eq!(
        log_in(postgres, "cert", &format!("{tls} sslcert={cert} sslkey={key}")).unwrap(),
        "heys_cert true"
    );
    refused(log_in(postgres, "cert", &tls), "valid client certificate");
    let other = format!(
        "sslmode=verify-full sslrootcert={}",
        certificates.other_ca_path.display()
    );
    refused(log_in(postgres, "admin", &other), "certificate verify failed");
    assert!(postgres.url("admin").starts_with("postgresql://heys_admin:"));
}

#[tokio::test]
async fn the_database_is_the_owners_and_pgcrypto_can_be_had() {
    let postgres = Postgres::shared().await;
    let sql = "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = current_database()";
    assert_eq!(
        postgres.sql("heys_production", sql).await.unwrap(),
        "heys_admin|UTF8|C.UTF-8"
    );
    let sql = "SET ROLE heys_admin; CREATE EXTENSION IF NOT EXISTS pgcrypto; SELECT length(gen_salt('bf'))";
    assert_eq!(postgres.sql("heys_production", sql).await.unwrap(), "29");
    assert_eq!(
        postgres.sql("heys_production", "SHOW max_connections").await.unwrap(),
        "100"
    );
    assert!(
        postgres
            .sql("heys_production", "SELEC 1")
            .await
            .unwrap_err()
            .to_string()
            .contains("syntax error")
    );
}

#[tokio::test]
async fn a_restart_keeps_port_passwords_and_data_and_takes_new_options() {
    let postgres = Postgres::start(PostgresOptions::default()).await.unwrap();
    postgres
        .sql("heys_production", "CREATE TABLE kept (id int)")
        .await
        .unwrap();
    for mode in [StopMode::Fast, StopMode::Immediate, StopMode::Kill] {
        postgres.restart(mode, None).await.unwrap();
        assert_eq!(
            postgres
                .sql("heys_production", "SELECT count(*) FROM kept")
                .await
                .unwrap(),
            "0",
            "{mode:?}"
        );
    }
    for (certificate, why) in [
        (ServerCertificate::Expired, "certificate verify failed"),
        (ServerCertificate::WrongHost, "does not match host name"),
        (ServerCertificate::SelfSigned, "certificate verify failed"),
    ] {
        let options = PostgresOptions {
            certificate,
            ..PostgresOptions::default()
        };
        postgres.restart(StopMode::Fast, Some(options)).await.unwrap();
        refused(log_in(&postgres, "admin", &verify_full(&postgres)), why);
        log_in(&postgres, "admin", "sslmode=require").unwrap();
    }
    let settings = BTreeMap::from([("default_transaction_read_only".to_owned(), "on".to_owned())]);
    let options = PostgresOptions {
        ssl: false,
        settings,
        ..PostgresOptions::default()
    };
    postgres.restart(StopMode::Fast, Some(options)).await.unwrap();
    refused(log_in(&postgres, "admin", "sslmode=require"), "does not support SSL");
    let error = postgres
        .sql("heys_production", "CREATE TABLE refused ()")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("read-only transaction"));

    postgres.stop(StopMode::Fast).await.unwrap();
    assert!(TcpStream::connect(("127.0.0.1", postgres.info().port)).is_err());
    let broken = BTreeMap::from([("no_such_setting".to_owned(), "1".to_owned())]);
    let options = PostgresOptions {
        settings: broken,
        ..PostgresOptions::default()
    };
    let error = postgres.restart(StopMode::Fast, Some(options)).await.unwrap_err();
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn a_dropped_cluster_leaves_nothing() {
    let postgres = Postgres::start(PostgresOptions::default()).await.unwrap();
    let info = postgres.info().clone();
    let data = info.folder.join("pg/data");
    assert!(!processes_in(&data).is_empty());
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&info.socket_dir).unwrap());
    assert_eq!(mode & 0o777, 0o700);
    drop(postgres);
    assert!(!info.folder.exists());
    assert!(processes_in(&data).is_empty());
    assert!(TcpStream::connect(("127.0.0.1", info.port)).is_err());
}

/// Processes that work in a folder, also a removed one.
fn processes_in(folder: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|process| {
            let cwd = std::fs::read_link(process.path().join("cwd")).unwrap_or_default();
            cwd.to_string_lossy().starts_with(&*folder.to_string_lossy())
        })
        .map(|process| process.file_name().to_string_lossy().into_owned())
        .collect()
}

//! The preflight of the database, and pg_dump on the very server that it reached.

use heys_core::error::Kind;
use heys_sandbox::Postgres;

use crate::bench::{Bench, SHORT};

/// A database of its own.
async fn create(postgres: &Postgres, name: &str, sql: &str) {
    let owner = &postgres.info().user;
    postgres
        .sql("postgres", &format!("CREATE DATABASE {name} OWNER {owner}"))
        .await
        .unwrap();
    postgres.sql(name, sql).await.unwrap();
}

#[tokio::test]
async fn unreadable_tables_are_named_with_what_mends_them() {
    let mut bench = Bench::new().await;
    create(
        bench.postgres,
        "unreadable",
        "CREATE TABLE open (a int); GRANT SELECT ON open TO PUBLIC;
         CREATE TABLE \"Pay roll\" (a int); CREATE SEQUENCE numbers;
         CREATE SCHEMA hidden; CREATE TABLE hidden.inner (a int); GRANT SELECT ON hidden.inner TO PUBLIC",
    )
    .await;
    bench.settings.database.database = "unreadable".to_owned();
    let error = bench.run().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Dump);
    for part in [
        "GRANT SELECT ON TABLE public.\"Pay roll\" TO",
        "GRANT SELECT ON SEQUENCE public.numbers TO",
        "GRANT USAGE ON SCHEMA hidden TO",
    ] {
        assert!(error.message().contains(part), "{error}");
    }
    assert!(!error.message().contains("public.open"), "{error}");
    assert!(bench.keys().is_empty() && bench.s3.uploads().unwrap().is_empty());
    bench.told_once(&error);
}

#[tokio::test]
async fn row_security_is_found_before_the_dump() {
    let mut bench = Bench::new().await;
    create(
        bench.postgres,
        "secured",
        "CREATE TABLE rows (a int); GRANT SELECT ON rows TO PUBLIC; ALTER TABLE rows ENABLE ROW LEVEL SECURITY",
    )
    .await;
    bench.settings.database.database = "secured".to_owned();
    let error = bench.run().await.unwrap_err();
    assert!(
        error.message().contains("public.rows") && error.message().contains("BYPASSRLS"),
        "{error}"
    );
}

#[tokio::test]
async fn tables_of_extensions_need_no_permission() {
    let mut bench = Bench::new().await;
    create(
        bench.postgres,
        "extended",
        "CREATE EXTENSION pgcrypto; CREATE TABLE member (a int); ALTER EXTENSION pgcrypto ADD TABLE member",
    )
    .await;
    bench.settings.database.database = "extended".to_owned();
    bench.run().await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_says_which_setting() {
    let mut bench = Bench::new().await;
    bench.settings.database.password = Some("not-the-password".to_owned());
    let error = bench.fails().await;
    assert_eq!(error.code(), Some("28P01"));
    assert!(error.message().contains("PG_PASSWORD"), "{error}");
    assert!(!error.message().contains("not-the-password"), "{error}");
}

#[tokio::test]
async fn a_database_that_is_not_there_says_which_setting() {
    let mut bench = Bench::new().await;
    bench.settings.database.database = "nowhere".to_owned();
    let error = bench.run().await.unwrap_err();
    assert_eq!(error.code(), Some("3D000"));
    assert!(error.message().contains("PG_DATABASE"), "{error}");
}

#[tokio::test]
async fn another_ca_is_an_error_about_trust() {
    let mut bench = Bench::new().await;
    bench.settings.database.tls.ca_file = Some(bench.postgres.info().certificates.other_ca_path.clone());
    let error = bench.fails().await;
    assert_eq!(error.kind(), Kind::Tls);
    let message = error.message();
    assert!(
        message.contains("self-signed certificate in certificate chain: the server's certificate (CN=localhost"),
        "{error}"
    );
    assert!(message.contains("PG_SSLROOTCERT"), "{error}");
    assert!(!message.contains("error:0A"), "{error}");
}

#[tokio::test]
async fn another_host_than_the_certificates_is_named() {
    let mut bench = Bench::new().await;
    bench.settings.database.tls.server_name = Some("other.example".to_owned());
    let error = bench.fails().await;
    assert!(
        error
            .message()
            .contains("other.example is not in the server's certificate"),
        "{error}"
    );
}

#[tokio::test]
async fn pg_dump_goes_to_the_address_that_the_preflight_reached() {
    let port = Bench::new().await.postgres.info().port;
    // Nobody listens on the first; both are this machine.
    let hosts = format!("127.0.0.2:{port},localhost:{port}");
    let mut bench = Bench::with_variables(&[("PG_HOST", &hosts)]).await;
    let env = bench.folder.path().join("env");
    bench.use_dump("99.0", &format!("env > {}; {SHORT}", env.display()));
    bench.run().await.unwrap();
    let env = std::fs::read_to_string(env).unwrap();
    for line in [
        "PGHOST=localhost\n",
        "PGHOSTADDR=127.0.0.1\n",
        &format!("PGPORT={port}\n"),
        "PGSSLMODE=verify-full\n",
    ] {
        assert!(env.contains(line), "{line} in {env}");
    }
}

#[tokio::test]
async fn a_standby_is_wanted_but_there_is_none() {
    let bench = Bench::with_variables(&[("PGTARGETSESSIONATTRS", "standby")]).await;
    let error = bench.fails().await;
    assert!(error.message().contains("not a standby"), "{error}");
}

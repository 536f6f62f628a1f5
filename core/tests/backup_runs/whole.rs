//! Backups that succeed: what was in the database is in the object.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use heys_core::backup::Progress;
use heys_sandbox::Postgres;

use crate::bench::{Bench, SHORT};

/// Types, partitions, large objects, generated columns, and rows enough for several parts.
const SEED: &str = "
CREATE TABLE clients (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, born date, tags text[],
  payload jsonb, photo bytea, doubled int GENERATED ALWAYS AS (length(name) * 2) STORED, UNIQUE (name));
INSERT INTO clients (name, born, tags, payload, photo)
  SELECT 'client ' || n, date '1970-01-01' + n, ARRAY['a', n::text, NULL], jsonb_build_object('n', n, 'ы', 'ю'),
    decode(repeat(md5(n::text), 8), 'hex') FROM generate_series(1, 5000) n;
CREATE TABLE noise (id int PRIMARY KEY, bytes bytea);
INSERT INTO noise SELECT n, decode((SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 128) m WHERE n > 0), 'hex')
  FROM generate_series(1, 6000) n;
CREATE TABLE events (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE events_rest PARTITION OF events DEFAULT;
INSERT INTO events SELECT date '2025-12-01' + n, 'tab' || chr(9) || 'line' || chr(10) || '\\N' FROM generate_series(1, 100) n;
CREATE VIEW young AS SELECT * FROM clients WHERE born > '1980-01-01';
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM clients;
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 2';
CREATE TABLE nothing ();
SELECT lo_from_bytea(0, 'a large object');
";

fn tool(postgres: &Postgres, program: &str, database: &str) -> Command {
    let info = postgres.info();
    let role = &info.roles["superuser"];
    let mut command = Command::new(info.bin_dir.join(program));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", info.port.to_string())
        .env("PGUSER", &role.user)
        .env("PGPASSWORD", role.password.as_deref().unwrap_or(""))
        .args(["-d", database]);
    command
}

fn checked(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    output
}

/// The whole database as SQL, without the words that differ from call to call.
fn as_sql(postgres: &Postgres, database: &str) -> Vec<String> {
    let output = checked(&mut tool(postgres, "pg_dump", database));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .map(str::to_owned)
        .collect()
}

fn restore(postgres: &Postgres, file: &Path, database: &str) {
    let mut gunzip = Command::new("gunzip")
        .arg("-c")
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut restore = tool(postgres, "pg_restore", database);
    checked(restore.args(["--exit-on-error"]).stdin(gunzip.stdout.take().unwrap()));
    assert!(gunzip.wait().unwrap().success());
}

#[tokio::test]
async fn a_backup_is_restored_to_the_same_database() {
    let mut bench = Bench::with_variables(&[("S3_SSE", "AES256")]).await;
    let (postgres, owner) = (bench.postgres, &bench.postgres.info().user);
    for database in ["full_source", "full_target"] {
        let create = format!("CREATE DATABASE {database} OWNER {owner}");
        postgres.sql("postgres", &create).await.unwrap();
    }
    postgres
        .sql("full_source", &format!("SET ROLE {owner}; {SEED}"))
        .await
        .unwrap();
    bench.settings.database.database = "full_source".to_owned();
    bench.settings.prefix = "nightly/".to_owned();

    let report = bench.run().await.unwrap();
    assert!(report.key.starts_with("nightly/full-source-20"), "{}", report.key);
    assert_eq!(report.warnings, [] as [String; 0]);
    let objects = bench.s3.objects().unwrap();
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0].key, report.key);
    assert_eq!(objects[0].size, report.bytes);
    assert_eq!(objects[0].parts as u32, report.parts);
    assert!(report.parts >= 2, "{} bytes", report.bytes);
    assert_eq!(objects[0].storage_class.as_deref(), Some("COLD"));
    assert_eq!(objects[0].encryption.as_deref(), Some("AES256"));
    assert_eq!(report.encryption.as_deref(), Some("AES256"));
    assert!(bench.s3.uploads().unwrap().is_empty());

    let file = bench.folder.path().join("backup.gz");
    bench.s3.save_object(&report.key, &file).unwrap();
    let body = std::fs::read(&file).unwrap();
    let sum = checked(Command::new("sha256sum").arg(&file));
    assert!(String::from_utf8(sum.stdout).unwrap().starts_with(&report.sha256));

    let plain = checked(tool(postgres, "pg_dump", "full_source").arg("-Fc"));
    assert!(
        body.len() as f64 <= plain.stdout.len() as f64 * 1.05,
        "{} against pg_dump -Fc's {}",
        body.len(),
        plain.stdout.len()
    );

    restore(postgres, &file, "full_target");
    assert!(as_sql(postgres, "full_source") == as_sql(postgres, "full_target"));
}

#[tokio::test]
async fn an_empty_database_is_one_part() {
    let mut bench = Bench::new().await;
    bench.postgres.sql("postgres", "CREATE DATABASE void").await.unwrap();
    bench.settings.database.database = "void".to_owned();
    let report = bench.run().await.unwrap();
    assert_eq!(report.parts, 1);
    assert_eq!(bench.keys(), [report.key]);
}

#[tokio::test]
async fn progress_comes_in_order_and_ends_with_the_length() {
    let bench = Bench::with_dump(crate::bench::TWENTY_MEGABYTES).await;
    let report = bench.run().await.unwrap();
    let told = bench.told.lock().unwrap();
    assert!(matches!(&told[0], Progress::StoreReady { key, .. } if *key == report.key));
    assert!(matches!(&told[1], Progress::DatabaseReady { host, .. } if host.contains("localhost")));
    let mut last = 0;
    for progress in told.iter() {
        if let Progress::Dumping { raw_bytes, .. } = progress {
            assert!(*raw_bytes >= last);
            last = *raw_bytes;
        }
    }
    assert_eq!(last, report.raw_bytes);
    assert_eq!(report.raw_bytes, 20_000_005);
    assert_eq!(told[told.len() - 2], Progress::Completing);
    assert_eq!(told[told.len() - 1], Progress::Stored { bytes: report.bytes });
}

#[tokio::test]
async fn a_ca_held_in_memory_reaches_pg_dump() {
    let mut bench = Bench::new().await;
    let tls = &mut bench.settings.database.tls;
    tls.ca_file = None;
    tls.ca = Some(bench.postgres.info().certificates.ca.clone().into_bytes());
    bench.settings.database.database = "postgres".to_owned();
    let report = bench.run().await.unwrap();
    assert!(report.raw_bytes > 0);
}

#[tokio::test]
async fn a_client_certificate_in_memory_reaches_pg_dump() {
    let mut bench = Bench::new().await;
    let certificates = &bench.postgres.info().certificates;
    let database = &mut bench.settings.database;
    database.user = bench.postgres.info().roles["cert"].user.clone();
    database.password = None;
    database.tls.cert = Some(std::fs::read(&certificates.client_cert_path).unwrap());
    database.tls.key = Some(std::fs::read(&certificates.client_key_path).unwrap());
    database.database = "postgres".to_owned();
    bench.run().await.unwrap();
}

#[tokio::test]
async fn every_sslmode_works() {
    let mut bench = Bench::new().await;
    for mode in ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] {
        bench.s3.clear();
        bench.settings.database.ssl_mode = heys_core::config::SslMode::parse(mode).unwrap();
        bench.settings.database.database = "postgres".to_owned();
        if let Err(error) = bench.run().await {
            panic!("{mode}: {error}");
        }
    }
}

#[tokio::test]
async fn two_runs_in_one_second_make_two_objects() {
    let bench = Bench::with_dump(SHORT).await;
    let first = bench.run().await.unwrap();
    let second = bench.run().await.unwrap();
    assert_ne!(first.key, second.key);
    assert_eq!(bench.keys().len(), 2);
}

//! Servers and settings for one test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heys_core::backup::{self, CancelToken, Progress, Report, Retry, Settings};
use heys_core::{Error, Result};
use heys_sandbox::{Postgres, S3, S3Options, Telegram, TelegramOptions};

/// Body of a fake pg_dump whose output makes two whole parts and a rest of a third.
pub(crate) const TWENTY_MEGABYTES: &str = "printf PGDMP; head -c 20000000 /dev/urandom";
/// The same in one part.
pub(crate) const SHORT: &str = "printf PGDMP; head -c 300000 /dev/urandom";

/// One test's servers, and what the run told.
pub(crate) struct Bench {
    pub(crate) postgres: &'static Postgres,
    pub(crate) s3: S3,
    pub(crate) telegram: Telegram,
    pub(crate) settings: Settings,
    pub(crate) folder: Folder,
    pub(crate) told: Arc<Mutex<Vec<Progress>>>,
}

impl Bench {
    pub(crate) async fn new() -> Bench {
        Bench::with_variables(&[]).await
    }

    /// With further environment variables; later ones win.
    pub(crate) async fn with_variables(more: &[(&str, &str)]) -> Bench {
        let postgres = Postgres::shared().await;
        let s3 = S3::start(S3Options::default()).await.unwrap();
        let telegram = Telegram::start(TelegramOptions::default()).await.unwrap();
        let mut variables = variables(postgres, &s3, &telegram);
        variables.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let mut settings = Settings::from_environment(&|name| lookup(&variables, name)).unwrap();
        settings.store.retry = quick();
        Bench {
            postgres,
            s3,
            telegram,
            settings,
            folder: Folder::new(),
            told: Arc::default(),
        }
    }

    /// With a pg_dump that does as `script` says; of a version that suits every server.
    pub(crate) async fn with_dump(script: &str) -> Bench {
        let mut bench = Bench::new().await;
        bench.use_dump("99.0", script);
        bench
    }

    pub(crate) fn use_dump(&mut self, version: &str, script: &str) {
        let version = format!("case \"$1\" in --version) echo 'pg_dump (PostgreSQL) {version}'; exit 0;; esac");
        self.settings.pg_dump.explicit = Some(self.folder.script("pg_dump", &format!("{version}\n{script}")));
    }

    pub(crate) async fn run(&self) -> Result<Report> {
        self.run_with(CancelToken::new()).await
    }

    pub(crate) async fn run_with(&self, cancel: CancelToken) -> Result<Report> {
        let told = self.told.clone();
        backup::run(
            self.settings.clone(),
            move |progress| told.lock().unwrap().push(progress),
            cancel,
        )
        .await
    }

    /// A run that is to fail, and everything that must hold then: no new object, old ones untouched, no open upload, one
    /// message with the error, no secret anywhere.
    pub(crate) async fn fails(&self) -> Error {
        self.fails_with(CancelToken::new()).await
    }

    pub(crate) async fn fails_with(&self, cancel: CancelToken) -> Error {
        let old = "heys-production-2001-01-01T00-00-00.dump.gz";
        self.s3.put_object(old, b"old", None).unwrap();
        let error = self.run_with(cancel).await.unwrap_err();
        assert_eq!(self.keys(), [old], "{error}");
        assert_eq!(self.s3.uploads().unwrap().len(), 0, "{error}");
        self.told_once(&error);
        error
    }

    /// Exactly one message was delivered; it holds the error, and neither holds a secret.
    pub(crate) fn told_once(&self, error: &Error) {
        let delivered: Vec<_> = self.telegram.messages().into_iter().filter(|m| m.delivered).collect();
        assert_eq!(delivered.len(), 1, "{error}: {delivered:?}");
        assert!(
            delivered[0].text.contains(error.message()),
            "{error}: {}",
            delivered[0].text
        );
        self.assert_no_secret(&delivered[0].text);
        self.assert_no_secret(&format!("{error} {error:?} {:?}", self.told.lock().unwrap()));
    }

    pub(crate) fn assert_no_secret(&self, text: &str) {
        let (s3, telegram) = (self.s3.info(), self.telegram.info());
        for secret in [
            &self.postgres.info().password,
            &s3.access_key_id,
            &s3.secret_access_key,
            &telegram.token,
            &telegram.chat_id,
        ] {
            assert!(!text.contains(secret.as_str()), "{secret} in {text}");
        }
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.s3
            .objects()
            .unwrap()
            .into_iter()
            .map(|object| object.key)
            .collect()
    }
}

/// The environment of a backup against the sandbox.
pub(crate) fn variables(postgres: &Postgres, s3: &S3, telegram: &Telegram) -> Vec<(String, String)> {
    let (pg, s3, telegram) = (postgres.info(), s3.info(), telegram.info());
    [
        ("PG_HOST", "localhost".to_owned()),
        ("PG_PORT", pg.port.to_string()),
        ("PG_DATABASE", pg.database.clone()),
        ("PG_USER", pg.user.clone()),
        ("PG_PASSWORD", pg.password.clone()),
        ("PG_SSLROOTCERT", pg.certificates.ca_path.display().to_string()),
        ("S3_ENDPOINT", s3.endpoint.clone()),
        ("S3_REGION", s3.region.clone()),
        ("S3_BUCKET", s3.bucket.clone()),
        ("S3_ACCESS_KEY_ID", s3.access_key_id.clone()),
        ("S3_SECRET_ACCESS_KEY", s3.secret_access_key.clone()),
        ("TELEGRAM_BOT_TOKEN", telegram.token.clone()),
        ("TELEGRAM_CHAT_ID", telegram.chat_id.clone()),
        ("TELEGRAM_API_BASE", telegram.api_base.clone()),
        ("PATH", std::env::var("PATH").unwrap()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// The last word counts.
pub(crate) fn lookup(variables: &[(String, String)], name: &str) -> Option<String> {
    let (_, value) = variables.iter().rev().find(|(key, _)| key == name)?;
    Some(value.clone())
}

/// As many repetitions as needed, without the waiting.
pub(crate) fn quick() -> Retry {
    Retry {
        attempts: 4,
        first_delay: Duration::from_millis(5),
        attempt_timeout: Duration::from_secs(3),
        bytes_per_second: 4 << 20,
        ..Retry::default()
    }
}

/// A folder that goes with its value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!(
            "heys-backup-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(unique);
        std::fs::create_dir(&folder).unwrap();
        Folder(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A shell script. Another process writes it: a descriptor of ours that is open for writing could be inherited by a
    /// child that some other test starts just now, and then the script could not be run (ETXTBSY).
    pub(crate) fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.0.join(name);
        let write = "printf '#!/bin/sh\n%s\n' \"$1\" > \"$0\" && chmod 755 \"$0\"";
        let status = Command::new("/bin/sh")
            .args(["-c", write])
            .arg(&path)
            .arg(body)
            .status();
        assert!(status.unwrap().success());
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

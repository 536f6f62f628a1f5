//! What a backup needs to know, from an environment.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::find::Search;
use super::retention::Retention;
use crate::Result;
use crate::config::Config;
use crate::error::{Error, Kind};
use crate::net::https::HttpsOptions;

/// Everything about one backup. Its Debug shows no secret.
#[derive(Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The database.
    pub database: Config,
    /// The store.
    pub store: StoreSettings,
    /// What stands before each key; a folder ends in `/`.
    pub prefix: String,
    /// How long backups stay.
    pub retention: Retention,
    /// 1 (fast) to 9 (small).
    pub gzip_level: u32,
    /// Where to look for pg_dump.
    pub pg_dump: Search,
    /// Whom to tell; `None` = nobody.
    pub telegram: Option<Telegram>,
    /// Trust for the store and Telegram. Set `extra_roots` where the system may have no store of roots.
    pub https: HttpsOptions,
    /// When the caller's time ends. The run stops early enough to abort its upload and to tell about it.
    pub deadline: Option<Instant>,
    /// What was odd in the environment, but not wrong.
    pub warnings: Vec<String>,
}

/// The object store.
#[derive(Clone)]
#[non_exhaustive]
pub struct StoreSettings {
    /// `https://host[:port]`, without a path.
    pub endpoint: String,
    /// Takes part in the signature.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// The public half of the credentials.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: String,
    /// Any word that the store knows; `None` = the store's own default.
    pub storage_class: Option<String>,
    /// Server-side encryption (`AES256`, `aws:kms`); `None` = do not ask for it.
    pub encryption: Option<String>,
    /// The key for `aws:kms`; `None` = the store's default key.
    pub kms_key_id: Option<String>,
    /// How requests are repeated.
    pub retry: Retry,
}

/// How requests are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts of one request in all.
    pub attempts: u32,
    /// Before the second attempt; doubles each time.
    pub first_delay: Duration,
    /// The longest delay.
    pub max_delay: Duration,
    /// For one attempt of a request that carries no data.
    pub attempt_timeout: Duration,
    /// What a part is granted on top: its length at this speed.
    pub bytes_per_second: u64,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            attempts: 8,
            first_delay: Duration::from_millis(250),
            max_delay: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(30),
            // The slowest line on which a nightly backup still makes sense.
            bytes_per_second: 256 << 10,
        }
    }
}

/// A chat that is told about failures, and on Sundays about success.
#[derive(Clone)]
pub struct Telegram {
    /// The bot's token.
    pub token: String,
    /// The chat.
    pub chat_id: String,
    /// `https://api.telegram.org` unless a test says otherwise.
    pub api_base: String,
}

impl Settings {
    /// Reads the environment through `lookup`; an empty variable counts as not set. Opens no file and no socket.
    pub fn from_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Settings> {
        let env = Environment { lookup };
        let mut warnings = Vec::new();
        let encryption = match env.text("S3_SSE").as_deref() {
            None | Some("off" | "none" | "false") => None,
            Some("true" | "on" | "kms") => Some("aws:kms".to_owned()),
            Some(other) => Some(other.to_owned()),
        };
        let kms_key_id = env.text("S3_SSE_KMS_KEY_ID");
        if kms_key_id.is_some() && encryption.is_none() {
            warnings
                .push("S3_SSE_KMS_KEY_ID is set, but S3_SSE is off: the backup is not encrypted by the store".into());
        }
        let store = StoreSettings {
            endpoint: env.url("S3_ENDPOINT", "https://storage.yandexcloud.net")?,
            region: env.text("S3_REGION").unwrap_or_else(|| "ru-central1".to_owned()),
            bucket: env.text("S3_BUCKET").unwrap_or_else(|| "heys-backups".to_owned()),
            access_key_id: env.required("S3_ACCESS_KEY_ID", "the static access key of a service account")?,
            secret_access_key: env.required("S3_SECRET_ACCESS_KEY", "the secret of that access key")?,
            storage_class: Some(env.text("S3_STORAGE_CLASS").unwrap_or_else(|| "COLD".to_owned())),
            encryption,
            kms_key_id,
            retry: Retry::default(),
        };
        let telegram = Telegram::from_environment(lookup)?;
        if telegram.is_none() && (env.text("TELEGRAM_BOT_TOKEN").is_some() || env.text("TELEGRAM_CHAT_ID").is_some()) {
            warnings.push("Telegram is off: it needs both TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID".into());
        }
        Ok(Settings {
            database: Config::from_environment(lookup)?,
            store,
            prefix: env.prefix()?,
            retention: Retention {
                days: env.number("BACKUP_RETENTION_DAYS", 7, 1, 36_500)?,
                min_keep: env.number("BACKUP_MIN_KEEP", 3, 1, 1_000_000)?,
            },
            gzip_level: env.number("BACKUP_GZIP_LEVEL", 6, 1, 9)?,
            pg_dump: Search {
                explicit: env.text("PG_DUMP_PATH").map(PathBuf::from),
                path: env.text("PATH").map(Into::into),
                folders: std::env::current_dir().into_iter().collect(),
            },
            telegram,
            https: https(lookup),
            deadline: None,
            warnings,
        })
    }

    /// What no message may contain.
    pub(super) fn secrets(&self) -> Secrets {
        let store = &self.store;
        let mut secrets = vec![store.access_key_id.clone(), store.secret_access_key.clone()];
        secrets.extend(self.database.password.clone());
        secrets.extend(self.database.tls.passphrase.clone());
        secrets.extend(self.telegram.as_ref().map(|telegram| telegram.token.clone()));
        Secrets::new(secrets)
    }
}

impl Telegram {
    /// TELEGRAM_BOT_TOKEN, TELEGRAM_CHAT_ID, TELEGRAM_API_BASE; `None` unless token and chat are both set.
    pub(super) fn from_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Option<Telegram>> {
        let env = Environment { lookup };
        let (Some(token), Some(chat_id)) = (env.text("TELEGRAM_BOT_TOKEN"), env.text("TELEGRAM_CHAT_ID")) else {
            return Ok(None);
        };
        if !token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-'))
        {
            let why = "TELEGRAM_BOT_TOKEN is not a bot's token: it looks like 123456:letters-and-digits";
            return Err(Error::new(Kind::Config, why));
        }
        let api_base = env.url("TELEGRAM_API_BASE", "https://api.telegram.org")?;
        Ok(Some(Telegram {
            token,
            chat_id,
            api_base,
        }))
    }
}

/// AWS_CA_BUNDLE on top of the defaults.
pub(super) fn https(lookup: &dyn Fn(&str) -> Option<String>) -> HttpsOptions {
    HttpsOptions {
        ca_bundle: Environment { lookup }.text("AWS_CA_BUNDLE").map(PathBuf::from),
        ..HttpsOptions::default()
    }
}

/// Takes secrets out of texts.
#[derive(Clone)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    pub(super) fn new(mut secrets: Vec<String>) -> Secrets {
        // Shorter ones would tear ordinary words; longest first, because one may contain another.
        secrets.retain(|secret| secret.len() >= 4);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Secrets(secrets)
    }

    pub(super) fn scrub(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "***");
            }
        }
        text
    }

    /// The same error without secrets; a cause that might hold one is left out.
    pub(super) fn scrubbed(&self, error: Error) -> Error {
        if self.scrub(error.message()) == error.message() {
            return error;
        }
        let mut clean = Error::new(error.kind(), self.scrub(error.message()));
        if let Some(code) = error.code() {
            clean = clean.with_name(code.to_owned());
        }
        clean
    }
}

struct Environment<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl Environment<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    fn required(&self, name: &str, what: &str) -> Result<String> {
        self.text(name)
            .ok_or_else(|| Error::new(Kind::Config, format!("{name} is not set: it holds {what}")))
    }

    fn number(&self, name: &str, default: u32, min: u32, max: u32) -> Result<u32> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        match text.parse::<u32>() {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => {
                let shown: String = text.chars().take(40).collect();
                let why = format!("{name}={shown:?} is not valid: it must be a whole number from {min} to {max}");
                Err(Error::new(Kind::Config, why))
            }
        }
    }

    fn url(&self, name: &str, default: &str) -> Result<String> {
        let text = self.text(name).unwrap_or_else(|| default.to_owned());
        let uri: Option<http::Uri> = text.parse().ok();
        let good = uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri
                    .authority()
                    .is_some_and(|authority| !authority.as_str().contains('@'))
                && uri.query().is_none()
        });
        match good {
            true => Ok(text.trim_end_matches('/').to_owned()),
            // The value is not shown: somebody may have put credentials into it.
            false => Err(Error::new(
                Kind::Config,
                format!("{name} is not valid: it must look like {default}, without user, password and query"),
            )),
        }
    }

    fn prefix(&self) -> Result<String> {
        let prefix = self.text("BACKUP_PREFIX").unwrap_or_default();
        // Of the 1,024 bytes of a key (S3), the database's name (63) and the time need about 100.
        if prefix.len() > 900 || prefix.starts_with('/') || prefix.chars().any(char::is_control) {
            let why =
                "BACKUP_PREFIX is not valid: it must be at most 900 bytes and not begin with a slash, like nightly/";
            return Err(Error::new(Kind::Config, why));
        }
        Ok(prefix)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("database", &self.database)
            .field("store", &self.store)
            .field("prefix", &self.prefix)
            .field("retention", &self.retention)
            .field("gzip_level", &self.gzip_level)
            .field("pg_dump", &self.pg_dump)
            .field("telegram", &self.telegram.is_some())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StoreSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreSettings")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("bucket", &self.bucket)
            .field("storage_class", &self.storage_class)
            .field("encryption", &self.encryption)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Telegram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telegram")
            .field("api_base", &self.api_base)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const KEYS: &[(&str, &str)] = &[("S3_ACCESS_KEY_ID", "the-key"), ("S3_SECRET_ACCESS_KEY", "the-secret")];

    fn settings(more: &[(&str, &str)]) -> Result<Settings> {
        let all: Vec<(String, String)> = KEYS
            .iter()
            .chain(more)
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        // The last word counts.
        Settings::from_environment(&move |name| all.iter().rev().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let settings = settings(&[("S3_REGION", "")]).unwrap();
        assert_eq!(settings.store.endpoint, "https://storage.yandexcloud.net");
        assert_eq!(settings.store.region, "ru-central1");
        assert_eq!(settings.store.bucket, "heys-backups");
        assert_eq!(settings.store.storage_class.as_deref(), Some("COLD"));
        assert_eq!(settings.store.encryption, None);
        assert_eq!((settings.retention.days, settings.retention.min_keep), (7, 3));
        assert_eq!(settings.gzip_level, 6);
        assert_eq!(settings.prefix, "");
        assert!(settings.telegram.is_none());
        assert_eq!(settings.warnings, [] as [String; 0]);
    }

    #[test]
    fn each_bad_value_is_named() {
        for (name, value) in [
            ("S3_ACCESS_KEY_ID", " "),
            ("S3_SECRET_ACCESS_KEY", ""),
            ("S3_ENDPOINT", "storage.yandexcloud.net"),
            ("S3_ENDPOINT", "https://user:hush@host"),
            ("BACKUP_RETENTION_DAYS", "0"),
            ("BACKUP_RETENTION_DAYS", "week"),
            ("BACKUP_MIN_KEEP", "0"),
            ("BACKUP_MIN_KEEP", "-1"),
            ("BACKUP_GZIP_LEVEL", "10"),
            ("BACKUP_PREFIX", "/x"),
            ("TELEGRAM_API_BASE", "ftp://x"),
            ("TELEGRAM_BOT_TOKEN", "1/../2"),
        ] {
            let telegram = [("TELEGRAM_BOT_TOKEN", "1:a"), ("TELEGRAM_CHAT_ID", "1")];
            let all: Vec<_> = telegram.into_iter().chain([(name, value)]).collect();
            let error = settings(&all).unwrap_err();
            assert_eq!(error.kind(), Kind::Config, "{name}");
            assert!(error.message().contains(name), "{name}: {error}");
            assert!(!error.message().contains("hush"));
        }
    }

    #[test]
    fn half_a_telegram_is_a_warning() {
        let settings = settings(&[("TELEGRAM_BOT_TOKEN", "1:a")]).unwrap();
        assert!(settings.telegram.is_none());
        assert!(settings.warnings[0].contains("TELEGRAM_CHAT_ID"));
    }

    #[test]
    fn debug_shows_no_secret() {
        let settings = settings(&[
            ("PG_PASSWORD", "pass-word"),
            ("TELEGRAM_BOT_TOKEN", "12:to-ken"),
            ("TELEGRAM_CHAT_ID", "987654"),
        ])
        .unwrap();
        let text = format!("{settings:?}");
        for secret in ["the-key", "the-secret", "pass-word", "to-ken", "987654"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }

    #[test]
    fn scrubbing_takes_the_longer_secret_first() {
        let secrets = Secrets::new(vec!["abcd".into(), "abcdefgh".into(), "x".into()]);
        assert_eq!(secrets.scrub("an abcdefgh, an abcd, an x"), "an ***, an ***, an x");
    }
}

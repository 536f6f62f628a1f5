//! A throw-away PostgreSQL cluster with TLS, SCRAM and a role for each way to authenticate.

mod cluster;
mod system;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::certificates::{Certificates, ServerCertificate};
use crate::error::{Context, Result};
use cluster::Cluster;

/// How to start a cluster, or to start it again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PostgresOptions {
    /// Without TLS the server answers `N` to SSLRequest.
    pub ssl: bool,
    /// Which certificate it shows.
    pub certificate: ServerCertificate,
    /// The server's own limit (three of them are kept for superusers).
    pub max_connections: u32,
    /// Further lines of postgresql.conf; the last word.
    pub settings: BTreeMap<String, String>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        PostgresOptions {
            ssl: true,
            certificate: ServerCertificate::Good,
            max_connections: 100,
            settings: BTreeMap::new(),
        }
    }
}

/// A role that may log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Role {
    /// Its name.
    pub user: String,
    /// Its password; a role without one does not need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// Where the server is and who may enter.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PostgresInfo {
    /// 127.0.0.1; the certificate is for `localhost`, 127.0.0.1 and ::1.
    pub host: String,
    /// TCP port, and the number of the unix socket.
    pub port: u16,
    /// Folder of the unix socket; only the server's user and root may enter.
    pub socket_dir: PathBuf,
    /// `heys_production`.
    pub database: String,
    /// `heys_admin`, the database's owner, over SCRAM-SHA-256.
    pub user: String,
    /// Its password.
    pub password: String,
    /// By kind: `admin` and `superuser` (scram), `md5`, `cleartext`, `trust`, `cert` (client certificate over TLS),
    /// `sslOnly` and `plainOnly` (scram, but only with or without TLS).
    pub roles: BTreeMap<String, Role>,
    /// Whether it was first started with TLS.
    pub ssl: bool,
    /// What a client needs for TLS.
    #[serde(flatten)]
    pub certificates: Certificates,
    /// Folder of the server's programs; pg_dump and pg_restore of the same version live there.
    pub bin_dir: PathBuf,
    /// The server's log.
    pub log_path: PathBuf,
    /// The whole cluster's folder.
    pub folder: PathBuf,
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StopMode {
    /// SIGINT: clients get 57P01 and are cut, then a checkpoint.
    #[default]
    Fast,
    /// SIGQUIT: clients get 57P02 and are cut; the next start recovers.
    Immediate,
    /// SIGKILL of the postmaster: connections end without a word.
    Kill,
}

/// A running cluster. Dropping it stops the server and removes its folder (which takes a moment and blocks).
#[derive(Debug, Clone)]
pub struct Postgres {
    cluster: Arc<Cluster>,
}

impl Postgres {
    /// Makes and starts a cluster; resolves when it accepts connections and its roles exist.
    pub async fn start(options: PostgresOptions) -> Result<Postgres> {
        let cluster = blocking(move || Cluster::create(options)).await?;
        Ok(Postgres {
            cluster: Arc::new(cluster),
        })
    }

    /// One cluster for all tests of a process, made at first use. It ends with the process.
    pub async fn shared() -> &'static Postgres {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED
            .get_or_init(|| async {
                match Postgres::start(PostgresOptions::default()).await {
                    Ok(postgres) => postgres,
                    Err(error) => panic!("{error}"),
                }
            })
            .await
    }

    /// Where it is and who may enter. Ports and passwords stay the same over restarts.
    pub fn info(&self) -> &PostgresInfo {
        self.cluster.info()
    }

    /// A `postgresql://` URL for a kind of role of [`PostgresInfo::roles`]; TLS verified with the sandbox's CA.
    pub fn url(&self, kind: &str) -> String {
        let info = self.info();
        let role = info.roles.get(kind);
        let user = role.map_or(info.user.as_str(), |role| role.user.as_str());
        let password = role
            .and_then(|role| role.password.as_deref())
            .map(|it| format!(":{it}"))
            .unwrap_or_default();
        format!(
            "postgresql://{user}{password}@{}:{}/{}?sslmode=verify-full&sslrootcert={}",
            info.host,
            info.port,
            info.database,
            info.certificates.ca_path.display()
        )
    }

    /// Stops the server; resolves when its process has ended.
    pub async fn stop(&self, mode: StopMode) -> Result<()> {
        let cluster = self.cluster.clone();
        blocking(move || cluster.stop(mode)).await
    }

    /// Starts a stopped server on its old port; resolves when it accepts connections.
    pub async fn start_again(&self) -> Result<()> {
        let cluster = self.cluster.clone();
        blocking(move || cluster.start()).await
    }

    /// Stops it, takes new options if given, starts it.
    pub async fn restart(&self, mode: StopMode, options: Option<PostgresOptions>) -> Result<()> {
        let cluster = self.cluster.clone();
        blocking(move || {
            cluster.stop(mode)?;
            if let Some(options) = options {
                cluster.configure(&options)?;
            }
            cluster.start()
        })
        .await
    }

    /// The server's log so far.
    pub async fn log(&self) -> Result<String> {
        let path = self.info().log_path.clone();
        blocking(move || Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())).await
    }

    /// Runs SQL as the superuser through psql and returns what it printed (unaligned, tuples only).
    pub async fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let (cluster, database, sql) = (self.cluster.clone(), database.to_owned(), sql.to_owned());
        blocking(move || cluster.psql(&database, &sql)).await
    }
}

/// How long the server may take for a start or a stop.
const PATIENCE: Duration = Duration::from_secs(60);

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .context(|| "the sandbox's task ended early".into())?
}

//! The database before the dump: which server answers, how old it is, and whether everything in it may be read.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod};
use postgres_openssl::MakeTlsConnector;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::config::{ChannelBinding, SslMode as WireSslMode, SslNegotiation};

use super::tls::Tls;
use crate::Result;
use crate::config::{Config, Host, SslMode, TargetSessionAttrs, trust};
use crate::error::{Error, Kind};

/// How the server shows this connection, unless the settings name it otherwise.
const APPLICATION_NAME: &str = "heys-db backup";
/// For one address, when the settings have no limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Unreadable tables that an error names.
const NAMED: usize = 5;

/// The server that the preflight reached: pg_dump is sent to the same one.
pub(super) struct Server {
    pub(super) target: Target,
    /// `15.18 (Debian 15.18-0+deb12u1)`.
    pub(super) version: String,
    pub(super) major: u32,
    /// What the database takes on the server's disk, where the user may know it.
    pub(super) database_bytes: Option<u64>,
}

/// Everything that pg_dump needs to connect.
pub(super) struct Target {
    host: String,
    address: Option<IpAddr>,
    port: u16,
    config: Config,
    /// PEM, when the server's certificate is verified.
    pub(super) roots: Option<Vec<u8>>,
    pub(super) certificate: Option<Vec<u8>>,
    pub(super) key: Option<Vec<u8>>,
}

impl Target {
    /// `host:port`, for people.
    pub(super) fn shown(&self) -> String {
        match self.address {
            Some(address) if address.to_string() != self.host => format!("{}:{} ({address})", self.host, self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    /// libpq's variables for this server (PostgreSQL documentation, 34.15). Certificates that are held in memory are
    /// not among them.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        let config = &self.config;
        let tls = &config.tls;
        let mode = match config.ssl_mode {
            SslMode::NoVerify => SslMode::Require,
            mode => mode,
        };
        let seconds = config.connect_timeout.unwrap_or(CONNECT_TIMEOUT).as_secs().max(2);
        let mut variables = vec![
            ("PGPORT", self.port.to_string()),
            ("PGDATABASE", config.database.clone()),
            ("PGUSER", config.user.clone()),
            ("PGSSLMODE", mode.name().to_owned()),
            ("PGGSSENCMODE", "disable".to_owned()),
            ("PGCONNECT_TIMEOUT", seconds.to_string()),
            (
                "PGAPPNAME",
                parameter(config, "application_name")
                    .unwrap_or(APPLICATION_NAME)
                    .to_owned(),
            ),
        ];
        if let Some(address) = self.address {
            // libpq connects to the address and verifies the name.
            variables.push(("PGHOSTADDR", address.to_string()));
            variables.push(("PGHOST", tls.server_name.clone().unwrap_or_else(|| self.host.clone())));
        } else {
            variables.push(("PGHOST", self.host.clone()));
        }
        variables.extend(config.password.clone().map(|password| ("PGPASSWORD", password)));
        variables.extend(parameter(config, "options").map(|options| ("PGOPTIONS", options.to_owned())));
        if tls.direct {
            variables.push(("PGSSLNEGOTIATION", "direct".to_owned()));
        }
        let shown = |file: &PathBuf| file.to_string_lossy().into_owned();
        variables.extend(tls.cert_file.as_ref().map(|file| ("PGSSLCERT", shown(file))));
        variables.extend(tls.key_file.as_ref().map(|file| ("PGSSLKEY", shown(file))));
        variables
    }
}

fn parameter<'a>(config: &'a Config, name: &str) -> Option<&'a str> {
    let (_, value) = config.params.iter().find(|(key, _)| key == name)?;
    Some(value)
}

/// Connects to the first server that will do, and looks whether a dump of it can succeed.
pub(super) async fn inspect(config: &Config) -> Result<Server> {
    let roots = match config.tls.verifies(config.ssl_mode) {
        true => Some(trust::roots(&config.tls)?.to_pem()?),
        false => None,
    };
    let tls = Tls::new(config)?;
    let (client, host, address) = connect(config, &tls).await?;
    let facts = row(&client, FACTS).await?;
    let fact = |index: usize| facts.get(index).cloned().flatten();
    let number: u32 = fact(0).and_then(|text| text.parse().ok()).unwrap_or(0);
    if number < 90_000 {
        return Err(Error::protocol("the server does not tell its version"));
    }
    check_readable(&client).await?;
    Ok(Server {
        target: Target {
            host: host.host,
            address,
            port: host.port,
            config: config.clone(),
            roots,
            certificate: config.tls.cert.clone(),
            key: config.tls.key.clone(),
        },
        version: fact(1).unwrap_or_default(),
        // Since version 10 the first part alone names a major version; before, pg_dump 10 and newer serve all.
        major: number / 10_000,
        database_bytes: fact(2).and_then(|text| text.parse().ok()),
    })
}

/// Simple queries only: named statements are not safe behind every pooler.
const FACTS: &str = "SELECT current_setting('server_version_num'), current_setting('server_version'), \
     CASE WHEN has_database_privilege(current_database(), 'CONNECT') THEN pg_database_size(current_database()) END";

const STATE: &str = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')";

/// What pg_dump locks or reads: tables, partitioned tables and sequences, except those that extensions bring (of these
/// only the ones whose content the extension wants dumped). Row security is an error for pg_dump, which turns it off.
const UNREADABLE: &str = "SELECT name, remedy FROM (
  SELECT format('%I.%I', n.nspname, c.relname) AS name, concat_ws('; ',
    CASE WHEN NOT has_schema_privilege(n.oid, 'USAGE')
         THEN format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, current_user) END,
    CASE WHEN c.relkind = 'S' AND NOT has_sequence_privilege(c.oid, 'SELECT')
         THEN format('GRANT SELECT ON SEQUENCE %I.%I TO %I', n.nspname, c.relname, current_user)
         WHEN c.relkind <> 'S' AND NOT has_table_privilege(c.oid, 'SELECT')
         THEN format('GRANT SELECT ON TABLE %I.%I TO %I', n.nspname, c.relname, current_user)
         WHEN c.relkind <> 'S' AND row_security_active(c.oid)
         THEN format('ALTER ROLE %I BYPASSRLS', current_user) END) AS remedy
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't'
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
      WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
        AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND NOT coalesce(c.oid = ANY (e.extconfig), false))
) AS each WHERE remedy <> '' ORDER BY 1";

async fn check_readable(client: &Client) -> Result<()> {
    let rows = rows(client, UNREADABLE).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let mut named: Vec<String> = rows
        .iter()
        .take(NAMED)
        .map(|row| {
            let cell = |index: usize| row.get(index).cloned().flatten().unwrap_or_default();
            format!("{} (to mend it: {})", cell(0), cell(1))
        })
        .collect();
    if rows.len() > NAMED {
        named.push(format!("and {} more", rows.len() - NAMED));
    }
    let why = format!("the user of the backup may not read {}", named.join(", "));
    Err(Error::new(Kind::Dump, why).with_name(crate::sqlstate::INSUFFICIENT_PRIVILEGE))
}

type Row = Vec<Option<String>>;

async fn rows(client: &Client, sql: &str) -> Result<Vec<Row>> {
    let messages = client
        .simple_query(sql)
        .await
        .map_err(|error| failed("the preflight query", &error))?;
    Ok(messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()),
            _ => None,
        })
        .collect())
}

async fn row(client: &Client, sql: &str) -> Result<Row> {
    Ok(rows(client, sql).await?.into_iter().next().unwrap_or_default())
}

/// Hosts in their order, each with all its addresses; the first connection that is of the wanted kind.
async fn connect(config: &Config, tls: &Tls) -> Result<(Client, Host, Option<IpAddr>)> {
    let mut wanted = vec![config.target_session_attrs];
    if config.target_session_attrs == TargetSessionAttrs::PreferStandby {
        wanted = vec![TargetSessionAttrs::Standby, TargetSessionAttrs::Any];
    }
    let mut errors: Vec<Error> = Vec::new();
    for wanted in wanted {
        for host in &config.hosts {
            for address in addresses(host, &mut errors).await {
                match reach(config, tls, host, address).await {
                    Ok(client) => match refuses(&client, wanted).await? {
                        None => return Ok((client, host.clone(), address)),
                        Some(why) => errors.push(Error::new(Kind::Server, format!("{}: {why}", host.host))),
                    },
                    Err(error) => errors.push(error),
                }
            }
        }
    }
    // An answer of a server says more than a silence.
    let telling = errors
        .iter()
        .position(|error| matches!(error.kind(), Kind::Server | Kind::Tls));
    match errors.len() {
        0 => Err(Error::new(Kind::Config, "no host to connect to: set PG_HOST")),
        n => {
            let error = errors.swap_remove(telling.unwrap_or(n - 1));
            if n == 1 {
                return Err(error);
            }
            let kind = error.kind();
            let why = format!("none of {n} attempts reached a server that will do; {error}");
            Err(Error::new(kind, why).with_source(error))
        }
    }
}

/// `None` = a unix socket.
async fn addresses(host: &Host, errors: &mut Vec<Error>) -> Vec<Option<IpAddr>> {
    if host.host.starts_with('/') {
        return vec![None];
    }
    match tokio::net::lookup_host((host.host.as_str(), host.port)).await {
        Ok(found) => {
            let mut addresses: Vec<Option<IpAddr>> = Vec::new();
            for address in found {
                if !addresses.contains(&Some(address.ip())) {
                    addresses.push(Some(address.ip()));
                }
            }
            addresses
        }
        Err(error) => {
            let why = format!(
                "cannot resolve the PostgreSQL host {}: {error}; check PG_HOST",
                host.host
            );
            errors.push(Error::new(Kind::Dns, why).with_source(error));
            Vec::new()
        }
    }
}

async fn reach(config: &Config, tls: &Tls, host: &Host, address: Option<IpAddr>) -> Result<Client> {
    let timeout = config.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
    let attempt = async {
        let first = match config.ssl_mode {
            SslMode::Disable | SslMode::Allow => WireSslMode::Disable,
            SslMode::Prefer => WireSslMode::Prefer,
            _ => WireSslMode::Require,
        };
        match open(wire_config(config, host, address, first), &tls.connector).await {
            Err(_) if config.ssl_mode == SslMode::Allow => {
                open(wire_config(config, host, address, WireSslMode::Require), &tls.connector).await
            }
            other => other,
        }
    };
    let shown = match address {
        Some(address) if address.to_string() != host.host => format!("{}:{} ({address})", host.host, host.port),
        _ => format!("{}:{}", host.host, host.port),
    };
    match tokio::time::timeout(timeout, attempt).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(PoolError::Backend(error))) => match tls.refusal() {
            Some(why) => Err(Error::new(Kind::Tls, format!("PostgreSQL at {shown}: {why}"))),
            None => Err(failed(&format!("PostgreSQL at {shown}"), &error)),
        },
        Ok(Err(error)) => Err(Error::new(Kind::Io, format!("PostgreSQL at {shown}: {error}"))),
        Err(_) => Err(Error::new(
            Kind::ConnectTimeout,
            format!("PostgreSQL at {shown} did not answer within {timeout:?}"),
        )),
    }
}

fn wire_config(config: &Config, host: &Host, address: Option<IpAddr>, mode: WireSslMode) -> tokio_postgres::Config {
    let mut wire = tokio_postgres::Config::new();
    match address {
        Some(address) => wire.host(&host.host).hostaddr(address),
        None => wire.host_path(&host.host),
    };
    wire.port(host.port)
        .user(&config.user)
        .dbname(&config.database)
        .application_name(parameter(config, "application_name").unwrap_or(APPLICATION_NAME))
        .ssl_mode(mode);
    if let Some(password) = &config.password {
        wire.password(password);
    }
    if let Some(options) = parameter(config, "options") {
        wire.options(options);
    }
    if config.tls.direct {
        wire.ssl_negotiation(SslNegotiation::Direct);
    }
    if !config.channel_binding {
        wire.channel_binding(ChannelBinding::Disable);
    }
    wire
}

/// A pool of one: it ends with the client.
async fn open(wire: tokio_postgres::Config, tls: &MakeTlsConnector) -> Result<Client, PoolError> {
    let recycling_method = RecyclingMethod::Fast;
    let manager = Manager::from_config(wire, tls.clone(), ManagerConfig { recycling_method });
    let pool = Pool::builder(manager)
        .max_size(1)
        .build()
        .map_err(|_| PoolError::Closed)?;
    pool.get().await
}

/// Why the server is not of the wanted kind.
async fn refuses(client: &Client, wanted: TargetSessionAttrs) -> Result<Option<&'static str>> {
    if wanted == TargetSessionAttrs::Any {
        return Ok(None);
    }
    let state = row(client, STATE).await?;
    let is = |index: usize, value: &str| state.get(index).cloned().flatten().as_deref() == Some(value);
    let (standby, read_only) = (is(0, "t"), is(1, "on"));
    Ok(match wanted {
        TargetSessionAttrs::ReadWrite if standby || read_only => Some("the server is read-only"),
        TargetSessionAttrs::ReadOnly if !standby && !read_only => Some("the server is not read-only"),
        TargetSessionAttrs::Primary if standby => Some("the server is a standby"),
        TargetSessionAttrs::Standby if !standby => Some("the server is not a standby"),
        _ => None,
    })
}

/// tokio-postgres's error in our words, with the server's code and what mends the usual ones.
fn failed(what: &str, error: &tokio_postgres::Error) -> Error {
    let Some(server) = error.as_db_error() else {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        let kind = match text.contains("certificate") || text.contains("SSL") || text.contains("TLS") {
            true => Kind::Tls,
            false => Kind::Io,
        };
        let mend = match kind {
            Kind::Tls => "; check PG_SSLMODE",
            _ if text.contains("password missing") => "; set PG_PASSWORD",
            _ => "; check PG_HOST and PG_PORT",
        };
        return Error::new(kind, format!("{what}: {text}{mend}"));
    };
    let mend = match server.code().code() {
        "28P01" => "; check PG_USER and PG_PASSWORD",
        "28000" => "; check PG_USER, PG_SSLMODE and the server's pg_hba.conf",
        "3D000" => "; check PG_DATABASE",
        "53300" => "; the server has no connection left for the backup, which needs two",
        _ => "",
    };
    let code = server.code().code().to_owned();
    Error::new(Kind::Server, format!("{what}: {}{mend}", server.message())).with_name(code)
}

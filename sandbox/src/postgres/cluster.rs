//! One data folder and the server on it. Everything here blocks.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::system::{Account, command, programs};
use super::{PATIENCE, PostgresInfo, PostgresOptions, Role, StopMode};
use crate::certificates::{Authority, ServerCertificate, write_private};
use crate::error::{Context, Error, Result};
use crate::folder::Folder;

const SUPERUSER: &str = "postgres";
const OWNER: &str = "heys_admin";
const DATABASE: &str = "heys_production";

/// A port may be taken between finding it and using it.
const PORT_ATTEMPTS: u32 = 5;
const POLL: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Cluster {
    info: PostgresInfo,
    account: Option<Account>,
    server: Mutex<Option<Child>>,
    /// Last, so that it is removed after the server has ended.
    folder: Folder,
}

impl Cluster {
    pub(super) fn create(options: PostgresOptions) -> Result<Cluster> {
        let bin_dir = programs()?;
        let account = Account::for_server()?;
        let folder = Folder::new(account.is_some())?;
        let tls = folder.subfolder("tls")?;
        let home = folder.subfolder("pg")?;
        let authority = Authority::shared()?;
        let certificates = authority.client_files(&tls, "heys_cert")?;
        for kind in ServerCertificate::ALL {
            authority.server(kind)?.write(&home, kind.file_stem())?;
        }
        write_private(&home.join("ca.crt"), certificates.ca.as_bytes())?;
        let roles = roles()?;
        let superuser = roles["superuser"].password.clone().unwrap_or_default();
        write_private(&home.join("superuser"), superuser.as_bytes())?;
        write_private(&home.join("log"), b"")?;
        if let Some(account) = account {
            account.own(&home)?;
            for entry in fs::read_dir(&home)? {
                account.own(&entry?.path())?;
            }
        }
        let info = PostgresInfo {
            host: Ipv4Addr::LOCALHOST.to_string(),
            port: 0,
            socket_dir: home.clone(),
            database: DATABASE.into(),
            user: OWNER.into(),
            password: roles["admin"].password.clone().unwrap_or_default(),
            roles,
            ssl: options.ssl,
            certificates,
            bin_dir,
            log_path: home.join("log"),
            folder: folder.path().to_owned(),
        };
        let mut cluster = Cluster {
            info,
            account,
            server: Mutex::new(None),
            folder,
        };
        cluster.initdb()?;
        cluster.first_start(&options)?;
        cluster.psql("postgres", &setup(&cluster.info.roles))?;
        Ok(cluster)
    }

    pub(super) fn info(&self) -> &PostgresInfo {
        &self.info
    }

    /// Writes the configuration; it holds from the next start.
    pub(super) fn configure(&self, options: &PostgresOptions) -> Result<()> {
        let stem = options.certificate.file_stem();
        let home = self.home();
        let path = |name: &str| quote_setting(&home.join(name).to_string_lossy());
        let mut text = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = {}\nmax_connections = {}\n\
             ssl = {}\nssl_ca_file = {}\nssl_cert_file = {}\nssl_key_file = {}\n\
             password_encryption = 'scram-sha-256'\ntimezone = 'UTC'\nlog_timezone = 'UTC'\n\
             fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n\
             # Nothing outside the folder, whatever ends the server.\ndynamic_shared_memory_type = mmap\n\
             log_connections = on\nlog_line_prefix = '%m [%p] %q%u@%d/%a '\n",
            self.info.port,
            quote_setting(&home.to_string_lossy()),
            options.max_connections,
            if options.ssl { "on" } else { "off" },
            path("ca.crt"),
            path(&format!("{stem}.crt")),
            path(&format!("{stem}.key")),
        );
        for (name, value) in &options.settings {
            text += &format!("{name} = {}\n", quote_setting(value));
        }
        self.write_data_file("sandbox.conf", &text)
    }

    pub(super) fn start(&self) -> Result<()> {
        let mut server = self.server();
        if let Some(child) = server.as_mut()
            && child.try_wait()?.is_none()
        {
            return Ok(());
        }
        *server = None;
        let deadline = Instant::now() + PATIENCE;
        let (mut child, mut log_start) = self.launch()?;
        loop {
            if let Some(status) = child.try_wait()? {
                // Processes of a server that was killed may live on for a moment.
                if Instant::now() < deadline && self.log_from(log_start).contains("is still in use") {
                    std::thread::sleep(POLL);
                    (child, log_start) = self.launch()?;
                    continue;
                }
                return Err(Error::new(format!(
                    "postgres ended at its start ({status}):\n{}",
                    self.log_tail()
                )));
            }
            if self.ready(child.id()) {
                *server = Some(child);
                return Ok(());
            }
            if Instant::now() > deadline {
                let _ = end(&mut child, StopMode::Immediate);
                return Err(Error::new(format!(
                    "postgres was not ready in time:\n{}",
                    self.log_tail()
                )));
            }
            std::thread::sleep(POLL);
        }
    }

    /// A new server process, and where in the log its words begin.
    fn launch(&self) -> Result<(Child, u64)> {
        let log = File::options().append(true).open(&self.info.log_path)?;
        let start = log.metadata()?.len();
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context(|| "cannot start postgres".into())?;
        Ok((child, start))
    }

    pub(super) fn stop(&self, mode: StopMode) -> Result<()> {
        match self.server().take() {
            Some(mut child) => end(&mut child, mode),
            None => Ok(()),
        }
    }

    /// Runs SQL through psql over the unix socket as the superuser.
    pub(super) fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let superuser = &self.info.roles["superuser"];
        let mut child = self
            .command("psql")
            .env("PGPASSWORD", superuser.password.as_deref().unwrap_or_default())
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"])
            .args(["-h", &self.home().to_string_lossy(), "-p", &self.info.port.to_string()])
            .args(["-U", &superuser.user, "-d", database])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(|| "cannot start psql".into())?;
        if let Some(mut stdin) = child.stdin.take() {
            // psql that ends early says why on its error output.
            let _ = stdin.write_all(sql.as_bytes());
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return Err(Error::new(format!(
                "psql: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end_matches('\n')
            .to_owned())
    }

    fn initdb(&self) -> Result<()> {
        let output = self
            .command("initdb")
            .arg("-D")
            .arg(self.data())
            .args([
                "-U",
                SUPERUSER,
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
                "--no-instructions",
            ])
            .args([
                "--auth=scram-sha-256",
                &format!("--pwfile={}", self.home().join("superuser").display()),
            ])
            .output()
            .context(|| "cannot run initdb".into())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::new(format!(
                "initdb failed ({}):\n{}",
                output.status,
                said.trim()
            )));
        }
        let main = fs::read_to_string(self.data().join("postgresql.conf"))?;
        self.write_data_file("postgresql.conf", &format!("{main}\ninclude 'sandbox.conf'\n"))?;
        self.write_data_file("pg_hba.conf", PG_HBA)
    }

    fn first_start(&mut self, options: &PostgresOptions) -> Result<()> {
        let mut attempt = 1;
        loop {
            self.info.port = free_port()?;
            self.configure(options)?;
            match self.start() {
                Err(error) if attempt < PORT_ATTEMPTS && error.to_string().contains("could not bind") => attempt += 1,
                result => return result,
            }
        }
    }

    /// postmaster.pid: the pid in line 1, the state in line 8 (storage/pidfile.h, LOCK_FILE_LINE_PM_STATUS).
    fn ready(&self, pid: u32) -> bool {
        let Ok(file) = fs::read_to_string(self.data().join("postmaster.pid")) else {
            return false;
        };
        let mut lines = file.lines();
        lines.next().is_some_and(|first| first.trim() == pid.to_string())
            && lines.nth(6).is_some_and(|status| status.trim() == "ready")
    }

    fn log_from(&self, start: u64) -> String {
        let log = fs::read(&self.info.log_path).unwrap_or_default();
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        String::from_utf8_lossy(log.get(start..).unwrap_or_default()).into_owned()
    }

    fn log_tail(&self) -> String {
        let log = self.log_from(0);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn write_data_file(&self, name: &str, text: &str) -> Result<()> {
        let path = self.data().join(name);
        write_private(&path, text.as_bytes())?;
        self.account.map_or(Ok(()), |account| account.own(&path))
    }

    fn command(&self, program: &str) -> std::process::Command {
        command(&self.info.bin_dir.join(program), self.home(), self.account)
    }

    fn home(&self) -> &Path {
        &self.info.socket_dir
    }

    fn data(&self) -> PathBuf {
        // The folder's watchdog knows this path.
        self.folder.path().join("pg/data")
    }

    fn server(&self) -> MutexGuard<'_, Option<Child>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.stop(StopMode::Immediate);
    }
}

/// One role a line, in the order in which the server looks. Unix sockets and TCP take the same roles.
const PG_HBA: &str = "\
# type      database role           address       method
host        all      heys_md5       127.0.0.1/32  md5
local       all      heys_md5                     md5
host        all      heys_cleartext 127.0.0.1/32  password
local       all      heys_cleartext               password
host        all      heys_trust     127.0.0.1/32  trust
local       all      heys_trust                   trust
hostssl     all      heys_cert      127.0.0.1/32  cert
hostssl     all      heys_ssl_only  127.0.0.1/32  scram-sha-256
hostnossl   all      heys_plain_only 127.0.0.1/32 scram-sha-256
host        all      heys_cert,heys_ssl_only,heys_plain_only 127.0.0.1/32 reject
host        all      all            127.0.0.1/32  scram-sha-256
local       all      all                          scram-sha-256
host        replication all         127.0.0.1/32  scram-sha-256
";

fn roles() -> Result<BTreeMap<String, Role>> {
    let mut roles = BTreeMap::new();
    for (kind, user, has_password) in [
        ("admin", OWNER, true),
        ("superuser", SUPERUSER, true),
        ("md5", "heys_md5", true),
        ("cleartext", "heys_cleartext", true),
        ("trust", "heys_trust", false),
        ("cert", "heys_cert", false),
        ("sslOnly", "heys_ssl_only", true),
        ("plainOnly", "heys_plain_only", true),
    ] {
        let password = if has_password { Some(random_word()?) } else { None };
        roles.insert(
            kind.to_owned(),
            Role {
                user: user.to_owned(),
                password,
            },
        );
    }
    Ok(roles)
}

fn setup(roles: &BTreeMap<String, Role>) -> String {
    let mut sql = String::new();
    for (kind, role) in roles.iter().filter(|(kind, _)| *kind != "superuser") {
        let encryption = if kind == "md5" { "md5" } else { "scram-sha-256" };
        sql += &format!(
            "SET password_encryption = '{encryption}';\nCREATE ROLE {} LOGIN",
            role.user
        );
        if let Some(password) = &role.password {
            sql += &format!(" PASSWORD '{password}'");
        }
        sql += ";\n";
    }
    sql += &format!("CREATE DATABASE {DATABASE} OWNER {OWNER};\n");
    sql += "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pgcrypto') THEN \
            RAISE 'the extension pgcrypto is not installed (apt-get install postgresql-contrib)'; END IF; END $$;\n";
    sql
}

/// 16 random bytes in hex: safe in SQL, URLs and pg_hba.conf.
fn random_word() -> Result<String> {
    let mut random = [0u8; 16];
    openssl::rand::rand_bytes(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A value for postgresql.conf: quotes and backslashes doubled.
fn quote_setting(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// Signals a server and waits for its end; harder if it does not listen.
fn end(child: &mut Child, mode: StopMode) -> Result<()> {
    if child.try_wait()?.is_some() {
        return Ok(());
    }
    let signal = match mode {
        StopMode::Fast => Signal::INT,
        StopMode::Immediate => Signal::QUIT,
        StopMode::Kill => Signal::KILL,
    };
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Not waited for yet, so the pid is still this child's.
        let _ = kill_process(pid, signal);
    }
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Err(Error::new("postgres did not stop in time and was killed"));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_with_quotes_stays_one_value() {
        assert_eq!(quote_setting("it's \\ here"), "'it''s \\\\ here'");
    }
}

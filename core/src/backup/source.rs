//! pg_dump as the source of a backup: run, and believed only when it ended well with its output whole.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::process::{ChildStdout, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::database::Target;
use super::find::{Program, cannot_run, command};
use super::kept::Kept;
use super::process::Process;
use crate::Result;
use crate::error::{Error, Kind};

/// What a custom-format archive begins with (pg_backup_archiver.c, ReadHead).
const MAGIC: &[u8] = b"PGDMP";
/// Lines of stderr in a report.
const WARNINGS: usize = 20;

/// A running dump. Dropping it kills and reaps pg_dump.
pub(super) struct Dump {
    process: Process,
    stderr: oneshot::Receiver<Kept>,
    seen: Arc<Mutex<Seen>>,
}

/// What passed through [`Output`].
#[derive(Default)]
struct Seen {
    begin: Vec<u8>,
    ended: bool,
}

/// pg_dump's standard output.
pub(super) struct Output {
    stdout: ChildStdout,
    seen: Arc<Mutex<Seen>>,
}

impl Dump {
    /// Starts `pg_dump -Fc -Z0` of the target. The output must be read to its end, or the dump be dropped.
    pub(super) fn start(program: &Program, target: &Target) -> Result<(Dump, Output)> {
        let mut command = command(&program.path, program.library_path.as_deref());
        command.args(["-Fc", "-Z0", "--no-password"]).stdin(Stdio::null());
        for (name, value) in target.environment() {
            command.env(name, value);
        }
        // Descriptors for the child: closed on our side when this function ends.
        let _held = pass_certificates(&mut command, target)?;
        let (process, stdout, stderr) = Process::start(&mut command)
            .map_err(|error| Error::new(Kind::Dump, cannot_run(&program.path, &error)).with_source(error))?;
        let seen = Arc::<Mutex<Seen>>::default();
        let output = Output {
            stdout,
            seen: seen.clone(),
        };
        let stderr = Kept::read(stderr);
        Ok((Dump { process, stderr, seen }, output))
    }

    /// After the output's end: proves that the dump is whole, and returns pg_dump's warnings.
    pub(super) async fn finish(&mut self) -> Result<Vec<String>> {
        let exit = self.process.exit().await.map_err(|error| {
            let why = format!("pg_dump's exit status cannot be known, so its output is not trusted: {error}");
            Error::new(Kind::Dump, why).with_source(error)
        })?;
        let stderr = (&mut self.stderr).await.unwrap_or_default();
        if !exit.success() {
            return Err(Error::new(Kind::Dump, failure(exit, &stderr)));
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.begin.is_empty() {
            return Err(Error::new(Kind::Dump, "pg_dump reported success without any output"));
        }
        if seen.begin != MAGIC || !seen.ended {
            let why = "pg_dump reported success, but its output is not a whole archive in custom format";
            return Err(Error::new(Kind::Dump, why));
        }
        let mut lines = stderr.lines();
        lines.truncate(WARNINGS);
        Ok(lines)
    }

    /// Kills pg_dump and waits until it is reaped.
    pub(super) async fn stop(self) {
        self.process.stop().await;
    }
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.stdout.read(buffer)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.begin.len() < MAGIC.len() {
            let wanted = (MAGIC.len() - seen.begin.len()).min(n);
            seen.begin.extend(buffer.iter().take(wanted));
        }
        seen.ended |= n == 0 && !buffer.is_empty();
        Ok(n)
    }
}

/// The roots become the child's stdin: std duplicates them into place after the fork, so no other process that some
/// thread starts in this moment inherits them. A client certificate and its key need two descriptors more, which are
/// inheritable for the moment between here and the spawn.
fn pass_certificates(command: &mut Command, target: &Target) -> Result<Vec<OwnedFd>> {
    let mut held = Vec::new();
    if let Some(roots) = &target.roots {
        command.stdin(Stdio::from(in_memory("heys-roots", roots)?));
        command.env("PGSSLROOTCERT", "/proc/self/fd/0");
    }
    for (variable, content) in [("PGSSLCERT", &target.certificate), ("PGSSLKEY", &target.key)] {
        let Some(content) = content else { continue };
        let file = in_memory(variable, content)?;
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).map_err(io::Error::from)?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        command.env(variable, format!("/proc/self/fd/{number}"));
        held.push(file);
    }
    Ok(held)
}

/// An anonymous file with `content`, in memory only. libpq wants keys closed to others, hence the mode.
fn in_memory(name: &str, content: &[u8]) -> Result<OwnedFd> {
    let write = || -> io::Result<OwnedFd> {
        let fd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
        rustix::fs::fchmod(&fd, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
        let mut file = std::fs::File::from(fd);
        file.write_all(content)?;
        Ok(file.into())
    };
    write().map_err(|error| Error::new(Kind::Io, format!("no memory file for pg_dump: {error}")).with_source(error))
}

/// Why pg_dump failed, and what mends it where that is known.
fn failure(exit: ExitStatus, stderr: &Kept) -> String {
    let lines = stderr.lines();
    let line = lines
        .iter()
        .find(|line| line.contains("error:"))
        .or(lines.last())
        .map_or("it said nothing on stderr", |line| line.as_str());
    let how = match (exit.code(), exit.signal()) {
        (Some(127), _) => "could not be run (exit code 127)".to_owned(),
        (Some(code), _) => format!("failed with exit code {code}"),
        (None, Some(9)) => "was killed (signal 9), perhaps because memory ran out".to_owned(),
        (None, signal) => format!("was ended by signal {}", signal.unwrap_or(0)),
    };
    let mend = if line.contains("permission denied for") {
        "; as the owner, GRANT SELECT on what it names (and USAGE on its schema) to the user of the backup"
    } else if line.contains("server version mismatch") {
        "; install the postgresql-client package of the server's major version, or name that pg_dump in PG_DUMP_PATH"
    } else if line.contains("row-level security") {
        "; ALTER ROLE … BYPASSRLS for the user of the backup"
    } else {
        ""
    };
    format!("pg_dump {how}: {line}{mend}")
}

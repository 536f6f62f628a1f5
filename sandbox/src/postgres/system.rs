//! What the machine brings: PostgreSQL's programs, and the user they may run as.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Context, Error, Result};

/// Where Debian keeps one folder a major version.
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";

const PROGRAMS: [&str; 3] = ["initdb", "postgres", "psql"];

const MISSING: &str = "PostgreSQL's server programs (initdb, postgres, psql) were not found in /usr/lib/postgresql/*/bin or on PATH. \
     On Debian and Ubuntu: apt-get install postgresql postgresql-contrib \
     (contrib is inside postgresql in newer releases; pgcrypto comes with it)";

/// The folder with initdb, postgres and psql: Debian's newest, else the first on PATH that has them all.
pub(super) fn programs() -> Result<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN_ROOT)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| complete(folder))
        .collect();
    versions.sort();
    if let Some((_, folder)) = versions.pop() {
        return Ok(folder);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|folder| complete(folder))
        .ok_or_else(|| Error::new(MISSING))
}

fn complete(folder: &Path) -> bool {
    PROGRAMS.iter().all(|program| {
        fs::metadata(folder.join(program)).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}

/// The user that the server runs as when the caller is root, which PostgreSQL refuses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// `None`: the caller is an ordinary user and keeps it.
    pub(super) fn for_server() -> Result<Option<Account>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd").context(|| "cannot read /etc/passwd".into())?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| find_account(&passwd, name))
            .map(Some)
            .ok_or_else(|| Error::new("PostgreSQL cannot run as root, and there is no user postgres or nobody"))
    }

    /// Gives a file or folder to this user.
    pub(super) fn own(self, path: &Path) -> Result<()> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
            .context(|| format!("cannot give {} to PostgreSQL's user", path.display()))
    }
}

fn find_account(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (uid != 0).then_some(Account { uid, gid })
    })
}

/// A program with a bare environment, its own process group (a Ctrl-C on the terminal does not reach it) and no
/// input, as the server's user.
pub(super) fn command(program: &Path, folder: &Path, account: Option<Account>) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env("HOME", folder)
        .current_dir(folder)
        .stdin(Stdio::null())
        .process_group(0);
    if let Some(account) = account {
        // As root the standard library also empties the list of supplementary groups.
        command.uid(account.uid).gid(account.gid);
    }
    command
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_account_comes_from_its_own_line_and_is_never_root() {
        let passwd = "root:x:0:0::/:/bin/sh\nmypostgres:x:1:1::/:\npostgres:x:101:104:PostgreSQL,,,:/var/lib/postgresql:/bin/bash\n";
        let account = find_account(passwd, "postgres").unwrap();
        assert_eq!((account.uid, account.gid), (101, 104));
        assert!(find_account(passwd, "root").is_none());
        assert!(find_account(passwd, "nobody").is_none());
    }

    #[test]
    fn a_folder_without_all_programs_is_not_taken() {
        assert!(!complete(Path::new("/nonexistent")));
    }
}

//! Which pg_dump to run: present, runnable, and new enough for the server.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::kept::Kept;
use super::process::Process;
use crate::Result;
use crate::error::{Error, Kind};

const VERSION_TIMEOUT: Duration = Duration::from_secs(20);

/// Where to look for pg_dump.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// PG_DUMP_PATH: this one and no other.
    pub explicit: Option<PathBuf>,
    /// PATH.
    pub path: Option<OsString>,
    /// Folders of the function: `bin/pg_dump` in each is a candidate.
    pub folders: Vec<PathBuf>,
}

/// A pg_dump that can be run.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// For its shared libraries, when they were packed beside it.
    pub(super) library_path: Option<OsString>,
    /// As it prints it: `15.18 (Debian 15.18-0+deb12u1)`.
    pub(super) version: String,
    major: u32,
}

/// Finds the pg_dump for a server of `major` version: of those that are new enough the oldest, because a newer one may
/// write settings that the server's own version rejects at restore.
pub(super) async fn find(search: &Search, major: u32) -> Result<Program> {
    let mut usable: Vec<Program> = Vec::new();
    let mut broken = Vec::new();
    for candidate in candidates(search) {
        match probe(&candidate).await {
            Ok(program) => usable.push(program),
            Err(error) => broken.push(error),
        }
    }
    let newest = usable.iter().map(|program| program.major).max();
    let best = usable
        .into_iter()
        .filter(|program| program.major >= major)
        .min_by_key(|program| (program.major, is_script(&program.path)));
    if let Some(program) = best {
        return Ok(program);
    }
    let mend = format!(
        "install postgresql-client-{major} or newer (Debian, Ubuntu: apt-get install postgresql-client-{major}), or pack \
         that version's own binary (/usr/lib/postgresql/{major}/bin/pg_dump) as bin/pg_dump beside the function, or name it \
         in PG_DUMP_PATH"
    );
    let what = match (newest, broken.first()) {
        (Some(newest), _) => format!("pg_dump {newest} is older than the server, which is PostgreSQL {major}"),
        (None, Some(error)) => error.clone(),
        (None, None) => match &search.explicit {
            Some(path) => format!("PG_DUMP_PATH names {}, where there is no file", path.display()),
            None => "pg_dump was found neither on PATH, nor as bin/pg_dump beside the function, nor in \
                     /usr/lib/postgresql/*/bin"
                .to_owned(),
        },
    };
    Err(Error::new(Kind::Dump, format!("{what}: {mend}")))
}

fn candidates(search: &Search) -> Vec<PathBuf> {
    if let Some(path) = &search.explicit {
        return Vec::from_iter(path.is_file().then(|| path.clone()));
    }
    let mut folders: Vec<PathBuf> = search.folders.iter().map(|folder| folder.join("bin")).collect();
    if let Some(path) = &search.path {
        folders.extend(std::env::split_paths(path).filter(|folder| folder.is_absolute()));
    }
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let path = folder.join("pg_dump");
        if path.is_file() && !found.contains(&path) {
            found.push(path);
        }
    }
    found
}

/// Debian's wrapper chooses a version by rules of its own; the real binary is to be preferred.
fn is_script(path: &Path) -> bool {
    let mut begin = [0; 2];
    std::fs::File::open(path).is_ok_and(|mut file| file.read_exact(&mut begin).is_ok() && &begin == b"#!")
}

/// Asks for the version; the error is a sentence.
async fn probe(path: &Path) -> Result<Program, String> {
    let shown = path.display();
    let library_path = packed_libraries(path);
    let mut command = command(path, library_path.as_deref());
    command.arg("--version").stdin(Stdio::null());
    let (mut process, stdout, stderr) = Process::start(&mut command).map_err(|error| cannot_run(path, &error))?;
    let answer = tokio::time::timeout(VERSION_TIMEOUT, async {
        let output = Kept::read(stdout);
        let errors = Kept::read(stderr);
        (
            process.exit().await,
            output.await.unwrap_or_default(),
            errors.await.unwrap_or_default(),
        )
    });
    let Ok((exit, output, errors)) = answer.await else {
        return Err(format!("{shown} --version gave no answer in {VERSION_TIMEOUT:?}"));
    };
    let output = output.lines().concat();
    let version = output
        .split_once("(PostgreSQL) ")
        .map(|(_, version)| version.trim().to_owned());
    let major = version.as_deref().and_then(|version| {
        let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    });
    match (exit, version, major) {
        (Ok(exit), Some(version), Some(major)) if exit.success() => Ok(Program {
            path: path.to_owned(),
            library_path,
            version,
            major,
        }),
        _ => Err(format!(
            "{shown} --version does not answer like pg_dump ({})",
            errors.lines().first().map_or("nothing on stderr", |line| line.as_str())
        )),
    }
}

/// Why `path` cannot be started, as a sentence.
pub(super) fn cannot_run(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    let mode = std::fs::metadata(path).map(|m| m.permissions().mode()).unwrap_or(0);
    match error.kind() {
        io::ErrorKind::PermissionDenied if mode & 0o111 == 0 => {
            format!("{shown} is not executable: chmod +x it, and keep the bit when packing")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{shown} may not be executed: its file system is mounted noexec, or a folder on the way is closed")
        }
        io::ErrorKind::NotFound => format!("{shown} cannot be run: its interpreter or loader is missing"),
        _ => format!("{shown} cannot be run: {error}"),
    }
}

/// The folder with libpq, if the program was packed with its libraries: `lib` in or beside its own folder.
fn packed_libraries(program: &Path) -> Option<OsString> {
    let folder = program.parent()?;
    if folder.starts_with("/usr") {
        return None;
    }
    let has_libpq = |folder: &PathBuf| {
        std::fs::read_dir(folder).is_ok_and(|mut entries| {
            entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().as_encoded_bytes().starts_with(b"libpq.so")))
        })
    };
    let packed = [
        Some(folder.join("lib")),
        folder.parent().map(|up| up.join("lib")),
        Some(folder.to_owned()),
    ]
    .into_iter()
    .flatten()
    .find(has_libpq)?;
    let packed = std::path::absolute(packed).ok()?;
    Some(packed.into_os_string())
}

/// Of our own environment it gets nothing but what running needs: the other variables hold secrets.
pub(super) fn command(program: &Path, library_path: Option<&OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if let Some(path) = library_path {
        command.env("LD_LIBRARY_PATH", path);
    }
    command.env("LC_ALL", "C");
    command
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A folder that goes with its value.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let unique = format!(
                "heys-source-{}-{}",
                std::process::id(),
                NEXT.fetch_add(1, Ordering::Relaxed)
            );
            let folder = std::env::temp_dir().join(unique);
            std::fs::create_dir(&folder).unwrap();
            Folder(folder)
        }

        /// `bin/pg_dump` in `folder`, a shell script.
        fn pg_dump(&self, folder: &str, script: &str, mode: u32) -> PathBuf {
            let bin = self.0.join(folder).join("bin");
            std::fs::create_dir_all(&bin).unwrap();
            let path = bin.join("pg_dump");
            // Written by another process: a descriptor of ours that is open for writing could be inherited by a child that
            // some other test starts just now, and then the script could not be run (ETXTBSY).
            let write = "printf '#!/bin/sh\n%s\n' \"$1\" > \"$0\" && chmod \"$2\" \"$0\"";
            let written = Command::new("/bin/sh")
                .args(["-c", write])
                .arg(&path)
                .args([script, &format!("{mode:o}")])
                .status();
            assert!(written.unwrap().success());
            path
        }

        fn version(&self, folder: &str, version: &str) -> PathBuf {
            self.pg_dump(folder, &format!("echo 'pg_dump (PostgreSQL) {version}'"), 0o755)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn explicit(path: &Path) -> Search {
        Search {
            explicit: Some(path.to_owned()),
            ..Search::default()
        }
    }

    #[tokio::test]
    async fn the_oldest_that_is_new_enough_is_taken() {
        let folder = Folder::new();
        let paths = ["90.1", "97.2", "99.4", "98.3"].map(|version| folder.version(version, version));
        let search = Search {
            folders: vec![folder.0.join("97.2"), folder.0.join("99.4")],
            path: Some(std::env::join_paths(paths.iter().map(|path| path.parent().unwrap())).unwrap()),
            ..Search::default()
        };
        let program = find(&search, 98).await.unwrap();
        assert_eq!((program.version.as_str(), &program.path), ("98.3", &paths[3]));
    }

    #[tokio::test]
    async fn one_that_is_too_old_names_the_package() {
        let folder = Folder::new();
        let path = folder.version("old", "13.4 (Debian 13.4-1)");
        let error = find(&explicit(&path), 15).await.unwrap_err().to_string();
        for part in ["pg_dump 13", "PostgreSQL 15", "postgresql-client-15"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[tokio::test]
    async fn a_missing_one_names_the_package_and_the_setting() {
        let error = find(&explicit(Path::new("/nowhere/pg_dump")), 15)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/nowhere/pg_dump") && error.contains("postgresql-client-15"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn one_that_cannot_run_says_why() {
        let folder = Folder::new();
        for (name, script, mode, why) in [
            ("bit", "exit 0", 0o644, "not executable"),
            (
                "dead",
                "echo 'cannot open libpq.so.5' >&2; exit 127",
                0o755,
                "libpq.so.5",
            ),
            ("other", "echo psql 15", 0o755, "does not answer like pg_dump"),
        ] {
            let path = folder.pg_dump(name, script, mode);
            let error = find(&explicit(&path), 15).await.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[tokio::test]
    async fn packed_libraries_are_found_beside_the_program() {
        let folder = Folder::new();
        let path = folder.pg_dump("f", "echo \"pg_dump (PostgreSQL) 15.1 $LD_LIBRARY_PATH\"", 0o755);
        std::fs::create_dir(folder.0.join("f/lib")).unwrap();
        std::fs::write(folder.0.join("f/lib/libpq.so.5"), "").unwrap();
        let program = find(&explicit(&path), 15).await.unwrap();
        assert!(program.version.ends_with("f/lib"), "{}", program.version);
    }

    #[tokio::test]
    async fn it_gets_no_secrets_of_our_environment() {
        let folder = Folder::new();
        let path = folder.pg_dump(
            "f",
            "echo \"pg_dump (PostgreSQL) 15.1 $(env | cut -d= -f1 | tr '\\n' ' ')\"",
            0o755,
        );
        let program = find(&explicit(&path), 15).await.unwrap();
        assert!(!program.version.contains("CARGO"), "{}", program.version);
        assert!(program.version.contains("PATH"), "{}", program.version);
    }
}

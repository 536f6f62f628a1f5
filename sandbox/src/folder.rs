//! Temporary folders that vanish with the process that made them.

use std::fs::{self, DirBuilder};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::error::{Context, Error, Result};

/// Waits on its standard input. `done` ends it; an end of file without it means that the owner died (`kill -9` too):
/// then the PostgreSQL of the folder is stopped, whatever else works in the folder is killed, and it is removed.
/// Processes are known by their working folder, so that a reused pid is left alone.
const WATCHDOG: &str = r#"
trap '' HUP INT TERM
read -r word
[ "$word" = done ] && exit
data="$1/pg/data"
pid=$(head -n 1 "$data/postmaster.pid" 2>/dev/null)
runs() { [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd")" = "$data" ]; }
if runs; then
  kill -QUIT "$pid"
  tries=0
  while runs && [ $tries -lt 200 ]; do sleep 0.05; tries=$((tries + 1)); done
fi
for process in /proc/[0-9]*; do
  case "$(readlink "$process/cwd")" in "$1"/*) kill -KILL "${process#/proc/}";; esac
done
rm -rf "$1" || { sleep 0.5; rm -rf "$1"; }
"#;

/// The longest path that leaves room for a unix socket's name in 107 bytes.
const LONGEST_BASE: usize = 60;

/// A fresh folder under the system's temporary one. Removed on drop, and by a watchdog if the process dies before.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    watchdog: Child,
}

impl Folder {
    /// `shared`: others may pass through to subfolders with their own rights (mode 0711 instead of 0700).
    pub(crate) fn new(shared: bool) -> Result<Folder> {
        let base = base(shared);
        let path = loop {
            let mut random = [0u8; 6];
            openssl::rand::rand_bytes(&mut random)?;
            let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            let path = base.join(format!("heys-sandbox-{name}"));
            match DirBuilder::new().mode(if shared { 0o711 } else { 0o700 }).create(&path) {
                Ok(()) => break path,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(Error::new(format!(
                        "cannot make a folder in {}: {error}",
                        base.display()
                    )));
                }
            }
        };
        if shared {
            // A strict umask would have taken the right to pass through.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o711))?;
        }
        let watchdog = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "heys-sandbox-watchdog"])
            .arg(&path)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context(|| "cannot start /bin/sh".into());
        match watchdog {
            Ok(watchdog) => Ok(Folder { path, watchdog }),
            Err(error) => {
                let _ = fs::remove_dir_all(&path);
                Err(error)
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A new subfolder for the caller alone (mode 0700).
    pub(crate) fn subfolder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.path);
        if let Some(mut stdin) = self.watchdog.stdin.take()
            && removed.is_ok()
        {
            let _ = stdin.write_all(b"done\n");
        }
        let _ = self.watchdog.wait();
    }
}

/// The system's temporary folder, or /tmp where that one is too long for a unix socket or closed to another user.
fn base(shared: bool) -> PathBuf {
    let base = std::env::temp_dir();
    let open = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o001 != 0);
    if base.as_os_str().len() > LONGEST_BASE || !base.is_absolute() || (shared && !base.ancestors().all(open)) {
        return PathBuf::from("/tmp");
    }
    base
}

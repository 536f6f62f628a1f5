//! A child process that is always reaped: killed with its whole group when it is dropped or given up.
//!
//! Neither tokio's process module nor any signal handler takes part: the library lives in other people's processes.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::sync::oneshot;

/// A started process whose exit a thread of its own waits for.
pub(super) struct Process {
    child: Arc<Mutex<Unreaped>>,
    /// `None` once it was told.
    exit: Option<oneshot::Receiver<io::Result<ExitStatus>>>,
}

/// `None` once its pid may belong to somebody else.
struct Unreaped(Option<Child>);

impl Process {
    /// Starts `command` with stdout and stderr as pipes, in a process group of its own: a Ctrl-C at the terminal
    /// reaches the caller only, who decides, and a wrapper script dies together with what it started.
    pub(super) fn start(command: &mut Command) -> io::Result<(Process, ChildStdout, ChildStderr)> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let pipes = child.stdout.take().zip(child.stderr.take());
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let child = Arc::new(Mutex::new(Unreaped(Some(child))));
        let (exited, exit) = oneshot::channel();
        let process = Process {
            child: child.clone(),
            exit: Some(exit),
        };
        let (Some((stdout, stderr)), Some(pid)) = (pipes, pid) else {
            return Err(io::Error::other("a process without pipes or pid"));
        };
        thread::Builder::new()
            .name("backup-wait".to_owned())
            .spawn(move || drop(exited.send(reap(pid, &child))))?;
        Ok((process, stdout, stderr))
    }

    /// How it ended; told once. Dropping the future loses nothing.
    pub(super) async fn exit(&mut self) -> io::Result<ExitStatus> {
        let told = || io::Error::other("the exit status was already told");
        let exit = self.exit.as_mut().ok_or_else(told)?;
        let status = exit
            .await
            .unwrap_or_else(|_| Err(io::Error::other("nobody waited for it")));
        self.exit = None;
        status
    }

    /// Kills the group; its exit is still to be awaited.
    pub(super) fn kill(&self) {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = child.0.as_ref().and_then(|child| Pid::from_raw(child.id() as i32)) {
            kill_group(pid);
        }
    }

    /// Kills the group and waits until it is reaped.
    pub(super) async fn stop(mut self) {
        self.kill();
        let _ = self.exit().await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits without reaping, so that `kill` can go on in between, then reaps under the lock.
fn reap(pid: Pid, child: &Mutex<Unreaped>) -> io::Result<ExitStatus> {
    let waited = loop {
        match rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other,
        }
    };
    let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
    if waited.is_ok() {
        // The zombie still holds its group's number. What it left behind must not keep the pipes open.
        kill_group(pid);
    }
    match child.0.take() {
        Some(mut child) => child.wait(),
        None => Err(io::Error::other("reaped twice")),
    }
}

fn kill_group(pid: Pid) {
    // Fails only when nobody is left to kill.
    let _ = rustix::process::kill_process_group(pid, Signal::KILL);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read;
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn shell(script: &str) -> (Process, ChildStdout, ChildStderr) {
        Process::start(Command::new("/bin/sh").args(["-c", script])).unwrap()
    }

    fn read(mut from: impl Read) -> String {
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        text
    }

    #[tokio::test]
    async fn exit_code_and_output_arrive() {
        let (mut process, stdout, stderr) = shell("echo out; echo err >&2; exit 3");
        assert_eq!(process.exit().await.unwrap().code(), Some(3));
        assert_eq!((read(stdout).as_str(), read(stderr).as_str()), ("out\n", "err\n"));
    }

    #[tokio::test]
    async fn a_kill_reaches_what_a_wrapper_started() {
        let (mut process, mut stdout, _stderr) = shell("sleep 1000 & echo up; wait");
        let mut line = [0; 3];
        stdout.read_exact(&mut line).unwrap();
        process.kill();
        assert_eq!(process.exit().await.unwrap().signal(), Some(9));
        assert_eq!(read(stdout), ""); // end of file: the sleep, which holds the pipe too, is gone
    }

    #[tokio::test]
    async fn what_a_process_leaves_behind_does_not_hold_the_pipe() {
        let (mut process, stdout, _stderr) = shell("sleep 1000 & echo done");
        assert!(process.exit().await.unwrap().success());
        assert_eq!(read(stdout), "done\n");
    }

    #[tokio::test]
    async fn a_dropped_process_is_killed() {
        let (process, stdout, _stderr) = shell("exec sleep 1000");
        drop(process);
        assert_eq!(read(stdout), "");
    }

    #[tokio::test]
    async fn a_process_that_closed_its_output_can_still_be_stopped() {
        let (process, stdout, _stderr) = shell("exec >&-; exec sleep 1000");
        assert_eq!(read(stdout), "");
        process.stop().await;
    }
}

//! The binary speaks JSON a line and stops everything, however it or its owner ends.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

struct Sandbox {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    info: Value,
}

impl Sandbox {
    fn start(arguments: &[&str]) -> Sandbox {
        let mut child = Command::new(env!("CARGO_BIN_EXE_heys-sandbox"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let info = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        Sandbox { child, lines, info }
    }

    fn send(&mut self, line: &str) -> Value {
        writeln!(self.child.stdin.as_ref().unwrap(), "{line}").unwrap();
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    fn command(&mut self, command: &str, arguments: Value) -> Value {
        let answer = self.send(&json!({ "id": 7, "command": command, "arguments": arguments }).to_string());
        assert_eq!(answer["id"], 7);
        answer
    }

    fn folder(&self) -> PathBuf {
        self.info["postgres"]["folder"].as_str().unwrap().into()
    }

    fn port(&self, part: &str) -> u16 {
        self.info[part]["port"].as_u64().unwrap().try_into().unwrap()
    }

    fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill")
                .args([signal, &self.child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }
}

fn is_open(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// The watchdog works after the process has ended; there is no event to wait for.
fn wait_until_gone(folder: &Path, port: u16) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while folder.exists() || is_open(port) {
        assert!(Instant::now() < deadline, "{} is still there", folder.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn everything_starts_answers_and_ends_with_standard_input() {
    let mut sandbox = Sandbox::start(&["--postgres", "--s3", "--telegram", "--proxy"]);
    for part in ["postgres", "s3", "telegram", "proxy"] {
        assert!(is_open(sandbox.port(part)), "{part}");
    }
    let answer = sandbox.command("postgres.sql", json!({ "sql": "SELECT 6 * 7" }));
    assert_eq!(answer["result"], "42");
    sandbox.command(
        "s3.putObject",
        json!({ "key": "k", "body": "aGVsbG8=", "modified": 1_600_000_000_000u64 }),
    );
    let objects = sandbox.command("s3.objects", Value::Null);
    assert_eq!(
        (&objects["result"][0]["size"], &objects["result"][0]["modified"]),
        (&json!(5), &json!(1_600_000_000_000u64))
    );
    assert_eq!(
        sandbox.command("s3.getObject", json!({ "key": "k" }))["result"],
        "aGVsbG8="
    );
    let changed = sandbox.command("s3.configure", json!({ "pageSize": 3 }));
    assert_eq!(changed["result"], Value::Null);
    let action = json!({ "error": { "status": 503, "code": "SlowDown" } });
    sandbox.command(
        "s3.fault",
        json!({ "operation": "UploadPart", "times": 0, "action": action }),
    );
    assert_eq!(sandbox.command("s3.faults", Value::Null)["result"][0]["times"], 0);
    let second = sandbox.command("proxy.listen", json!({ "target": "s3" }));
    assert_eq!(second["result"]["proxy"], 1);
    assert_eq!(
        sandbox.command("proxy.stats", json!({ "proxy": 1 }))["result"]["accepted"],
        0
    );
    sandbox.command(
        "telegram.answer",
        json!({ "answer": { "tooManyRequests": { "retryAfter": 1 } } }),
    );
    assert_eq!(sandbox.command("telegram.messages", Value::Null)["result"], json!([]));

    for (command, arguments, why) in [
        ("s3.fault", json!({ "operation": "*", "action": "explode" }), "explode"),
        ("s3.configure", json!({ "pageSiz": 1 }), "pageSiz"),
        ("proxy.cut", json!({ "proxy": 9 }), "no proxy 9"),
        ("coffee.make", Value::Null, "unknown command"),
    ] {
        let answer = sandbox.command(command, arguments);
        assert!(answer["error"].as_str().unwrap().contains(why), "{answer}");
    }
    assert!(sandbox.send("no JSON")["error"].is_string());

    let (folder, port) = (sandbox.folder(), sandbox.port("postgres"));
    drop(sandbox.child.stdin.take());
    assert!(sandbox.child.wait().unwrap().success());
    assert!(!folder.exists());
    assert!(!is_open(port));
}

#[test]
fn signals_stop_everything() {
    for signal in ["-TERM", "-INT"] {
        let mut sandbox = Sandbox::start(&["--config", r#"{"postgres": {"ssl": false}}"#]);
        sandbox.signal(signal);
        assert!(sandbox.child.wait().unwrap().success(), "{signal}");
        assert!(!sandbox.folder().exists());
        assert!(!is_open(sandbox.port("postgres")));
    }
}

#[test]
fn a_killed_sandbox_leaves_nothing_either() {
    let mut sandbox = Sandbox::start(&["--postgres"]);
    let (folder, port) = (sandbox.folder(), sandbox.port("postgres"));
    sandbox.signal("-KILL");
    sandbox.child.wait().unwrap();
    wait_until_gone(&folder, port);
}

#[test]
fn a_sandbox_killed_at_its_start_leaves_nothing() {
    let temporary = std::env::temp_dir().join(format!("heys-test-{}", std::process::id()));
    std::fs::create_dir(&temporary).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_heys-sandbox"))
        .arg("--postgres")
        .env("TMPDIR", &temporary)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let data = || {
        let folder = std::fs::read_dir(&temporary).unwrap().flatten().next()?.path();
        folder.join("pg/data/base").exists().then_some(folder)
    };
    let folder = loop {
        if let Some(folder) = data() {
            break folder;
        }
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until_gone(&folder, 1);
    std::fs::remove_dir(&temporary).unwrap();
}

#[test]
fn wrong_arguments_are_explained() {
    for arguments in [
        &["--mysql"][..],
        &["--config", "[]"],
        &["--config", r#"{"postgres": {"sll": false}}"#],
        &["s3"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_heys-sandbox"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.starts_with("heys-sandbox: "), "{error}");
    }
}

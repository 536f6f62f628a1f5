//! `heys-sandbox --postgres …`: starts what the arguments name, prints one line of JSON when all of it is ready, then
//! answers a line of JSON for each command line. Ends, and stops everything, when its standard input ends, on SIGTERM
//! and on SIGINT.
#![forbid(unsafe_code)]

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::Arc;

use heys_sandbox::control::{Answer, Line, Request, Sandbox};
use heys_sandbox::{Error, Result};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

const USAGE: &str = "usage: heys-sandbox [--postgres] [--s3] [--telegram] [--proxy] [--config JSON]
Starts throw-away servers on loopback and prints where they are as one line of JSON.
--config takes an object with a part each and its options: {\"postgres\": {\"ssl\": false}}
Everything stops and is removed when standard input ends.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() || arguments.iter().any(|argument| argument == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heys-sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let request = request(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(serve(request))?;
    // The thread that reads standard input may still wait for a line.
    runtime.shutdown_background();
    Ok(())
}

/// `--part` flags and `--config` together.
fn request(arguments: &[String]) -> Result<Request> {
    let mut parts = serde_json::Map::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--config" {
            let text = arguments.next().map(String::as_str).unwrap_or_default();
            let Value::Object(config) = serde_json::from_str(text)? else {
                return Err(Error::new("--config takes an object"));
            };
            parts.extend(config);
        } else if let Some(part) = argument.strip_prefix("--") {
            parts.entry(part).or_insert_with(|| json!({}));
        } else {
            return Err(Error::new(format!("unknown argument {argument}\n{USAGE}")));
        }
    }
    Ok(serde_json::from_value(parts.into())?)
}

async fn serve(request: Request) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut lines = read_lines();
    // A signal that comes meanwhile waits in its stream: what was half started is better finished, then stopped.
    let sandbox = Arc::new(Sandbox::start(request).await?);
    print(&sandbox.describe()?)?;
    let mut running = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) if line.trim().is_empty() => {}
                Some(line) => {
                    let sandbox = sandbox.clone();
                    running.spawn(async move {
                        let answer = match serde_json::from_str::<Line>(&line) {
                            Ok(line) => Answer::new(line.id, sandbox.run(&line.command, line.arguments).await),
                            Err(error) => Answer::new(Value::Null, Err(Error::from(error))),
                        };
                        // Whoever asked may be gone.
                        let _ = print(&answer);
                    });
                }
                None => break,
            },
            Some(_) = running.join_next() => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    running.shutdown().await;
    Ok(())
}

/// Lines of standard input; the channel closes at its end.
fn read_lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn print(value: &impl serde::Serialize) -> Result<()> {
    let mut line = serde_json::to_string(value)?;
    line.push('\n');
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()?;
    Ok(())
}

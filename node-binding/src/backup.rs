//! `backup`: one run of core's backup on tokio; its progress and its end come back through the environment's queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heys_core::backup::{self, CancelReason, CancelToken, Progress, Report, Settings};
use heys_core::config::Trust;
use heys_core::error::Kind;
use heys_core::{Error, Result};

use crate::env::{Environment, Wake};
use crate::errors;
use crate::queue::{Answer, Message};
use crate::raw::{Js, Reference, Type, Value};
use crate::runtime::runtime;

/// Runs whose end has not been told yet, by JavaScript's number.
#[derive(Default)]
pub(crate) struct Backups(HashMap<i32, Running>);

struct Running {
    token: CancelToken,
    on_progress: Reference,
    on_done: Reference,
}

impl Backups {
    /// The environment ends: the runs abort their uploads as far as the process lets them.
    pub(crate) fn cancel_all(&mut self) {
        for (_, running) in self.0.drain() {
            let why = "the thread that asked for it has ended".into();
            running.token.cancel(CancelReason::Caller(why));
        }
    }
}

/// What `backup` was called with.
pub(crate) struct Call {
    pub(crate) request: i32,
    pub(crate) variables: HashMap<String, String>,
    /// Node's own roots, PEM.
    pub(crate) roots: Option<String>,
    /// The program's own folders, in which the server's roots may lie.
    pub(crate) entry_folders: Vec<String>,
    /// From now to the end of the caller's time.
    pub(crate) time_left: Option<Duration>,
    pub(crate) on_progress: Reference,
    pub(crate) on_done: Reference,
}

/// Starts a run; `onDone` comes.
pub(crate) fn start(environment: &Environment, call: Call) -> Result<(), String> {
    let runtime = runtime().map_err(|error| error.to_string())?;
    let Call {
        request,
        variables,
        roots,
        entry_folders,
        time_left,
        on_progress,
        on_done,
    } = call;
    let deadline = time_left.and_then(|left| Instant::now().checked_add(left));
    let token = CancelToken::new();
    let running = Running {
        token: token.clone(),
        on_progress,
        on_done,
    };
    environment.backups.borrow_mut().0.insert(request, running);
    environment.operation_began();
    let queue = Arc::clone(&environment.queue);
    let answer = Answer::new(
        Arc::clone(&queue),
        Message::BackupDone {
            request,
            result: Err(Error::new(Kind::Cancelled, "the backup ended early")),
        },
    );
    runtime.spawn(async move {
        let lookup = move |name: &str| variables.get(name).cloned();
        let adjust = move |settings: &mut Settings| {
            let roots: Option<Arc<[u8]>> = roots.map(|pem| Arc::from(pem.into_bytes()));
            if let Trust::Files(places) = &mut settings.database.tls.trust {
                places.extra_roots.clone_from(&roots);
                places.entry_folders = entry_folders.into_iter().map(Into::into).collect();
            }
            settings.https.extra_roots = roots;
            settings.deadline = deadline;
            Ok(())
        };
        let progress = move |event| queue.send(Message::BackupProgress { request, event });
        let result = backup::run_from_environment(&lookup, adjust, progress, token).await;
        answer.send(Message::BackupDone {
            request,
            result: result.map(Box::new),
        });
    });
    Ok(())
}

/// `backupCancel`: the first reason stays.
pub(crate) fn cancel(environment: &Environment, request: i32, why: String) {
    if let Some(running) = environment.backups.borrow().0.get(&request) {
        running.token.cancel(why.as_str().into());
    }
}

/// Tells JavaScript how a run goes on. Nothing may be borrowed.
pub(crate) fn on_progress(wake: &Wake<'_>, request: i32, event: &Progress) {
    let known = wake.environment.backups.borrow();
    let function = known.0.get(&request).map(|running| wake.js.get(&running.on_progress));
    drop(known);
    if let Some(function) = function {
        wake.call_value(function, &[progress(wake.js, event)]);
    }
}

/// Tells JavaScript how a run ended. Nothing may be borrowed.
pub(crate) fn on_done(wake: &Wake<'_>, request: i32, result: Result<Box<Report>>) {
    wake.environment.operation_ended();
    let js = wake.js;
    let running = wake.environment.backups.borrow_mut().0.remove(&request);
    let Some(running) = running else { return };
    let function = js.get(&running.on_done);
    // SAFETY: `running` was taken out and is dropped here.
    unsafe {
        js.release(&running.on_progress);
        js.release(&running.on_done);
    }
    match result {
        Ok(told) => wake.call_value(function, &[js.null(), report(js, &told)]),
        Err(error) => wake.call_value(function, &[errors::told_error(js, &error), js.null()]),
    }
}

fn progress(js: Js, event: &Progress) -> Value {
    let object = js.object();
    let kind = |name: &str| js.set(object, c"type", js.string(name));
    match event {
        Progress::StoreReady { bucket, key } => {
            kind("storeReady");
            js.set(object, c"bucket", js.string(bucket));
            js.set(object, c"key", js.string(key));
        }
        Progress::DatabaseReady {
            host,
            server_version,
            pg_dump_version,
            database_bytes,
        } => {
            kind("databaseReady");
            js.set(object, c"host", js.string(host));
            js.set(object, c"serverVersion", js.string(server_version));
            js.set(object, c"pgDumpVersion", js.string(pg_dump_version));
            if let Some(bytes) = database_bytes {
                js.set(object, c"databaseBytes", js.number(*bytes as f64));
            }
        }
        Progress::Dumping {
            raw_bytes,
            bytes,
            uploaded_bytes,
            parts,
        } => {
            kind("dumping");
            js.set(object, c"rawBytes", js.number(*raw_bytes as f64));
            js.set(object, c"bytes", js.number(*bytes as f64));
            js.set(object, c"uploadedBytes", js.number(*uploaded_bytes as f64));
            js.set(object, c"parts", js.number(f64::from(*parts)));
        }
        Progress::Completing => kind("completing"),
        Progress::Stored { bytes } => {
            kind("stored");
            js.set(object, c"bytes", js.number(*bytes as f64));
        }
        Progress::Pruned { deleted } => {
            kind("pruned");
            js.set(object, c"deleted", js.number(*deleted as f64));
        }
        Progress::Warning(text) => {
            kind("warning");
            js.set(object, c"message", js.string(text));
        }
        _ => kind("other"),
    }
    object
}

fn report(js: Js, report: &Report) -> Value {
    let object = js.object();
    let list = |texts: &[String]| {
        let texts: Vec<Value> = texts.iter().map(|text| js.string(text)).collect();
        js.array(&texts)
    };
    let or_null = |text: &Option<String>| text.as_deref().map_or_else(|| js.null(), |text| js.string(text));
    js.set(object, c"key", js.string(&report.key));
    js.set(object, c"bucket", js.string(&report.bucket));
    js.set(object, c"bytes", js.number(report.bytes as f64));
    js.set(object, c"rawBytes", js.number(report.raw_bytes as f64));
    js.set(object, c"sha256", js.string(&report.sha256));
    js.set(object, c"durationMs", js.number(report.duration.as_millis() as f64));
    js.set(object, c"parts", js.number(f64::from(report.parts)));
    js.set(object, c"deleted", list(&report.deleted));
    js.set(object, c"refused", list(&report.refused));
    js.set(object, c"warnings", list(&report.warnings));
    js.set(object, c"storageClass", or_null(&report.storage_class));
    js.set(object, c"encryption", or_null(&report.encryption));
    js.set(object, c"serverVersion", js.string(&report.server_version));
    js.set(object, c"pgDumpVersion", js.string(&report.pg_dump_version));
    object
}

/// The variables that an option in camelCase may stand for (`s3Bucket` for S3_BUCKET).
const VARIABLES: &[&str] = &[
    "PG_HOST",
    "PG_PORT",
    "PG_DATABASE",
    "PG_USER",
    "PG_PASSWORD",
    "PG_SSLMODE",
    "PG_SSLROOTCERT",
    "PG_SSLCERT",
    "PG_SSLKEY",
    "PG_TARGET_SESSION_ATTRS",
    "PG_DUMP_PATH",
    "POOL_CONNECT_TIMEOUT",
    "S3_ENDPOINT",
    "S3_REGION",
    "S3_BUCKET",
    "S3_ACCESS_KEY_ID",
    "S3_SECRET_ACCESS_KEY",
    "S3_STORAGE_CLASS",
    "S3_SSE",
    "S3_SSE_KMS_KEY_ID",
    "AWS_CA_BUNDLE",
    "BACKUP_PREFIX",
    "BACKUP_RETENTION_DAYS",
    "BACKUP_MIN_KEEP",
    "BACKUP_GZIP_LEVEL",
    "TELEGRAM_BOT_TOKEN",
    "TELEGRAM_CHAT_ID",
    "TELEGRAM_API_BASE",
];

/// Lays options over the variables; null and undefined take a variable away. `Err` names an option that is none.
pub(crate) fn apply_overrides(js: Js, overrides: Value, variables: &mut HashMap<String, String>) -> Result<(), String> {
    if js.type_of(overrides) != Type::Object {
        return Ok(());
    }
    let Some(names) = js.property_names(overrides) else {
        return Ok(());
    };
    let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
    for index in 0..js.length(names) {
        let name = js.element(names, index);
        let Some(option) = js.get_string(name) else { continue };
        let wanted = plain(&option);
        let Some(variable) = VARIABLES.iter().find(|variable| plain(variable) == wanted) else {
            return Err(format!("runBackup has no option {option}"));
        };
        let value = js.property_of(overrides, name);
        let text = match js.type_of(value) {
            Type::Missing => {
                variables.remove(*variable);
                continue;
            }
            Type::String => js.get_string(value),
            Type::Number => js.get_number(value).map(|number| number.to_string()),
            Type::Boolean => js.get_bool(value).map(|flag| flag.to_string()),
            _ => None,
        };
        let text = text.ok_or_else(|| format!("the option {option} of runBackup must be a text or a number"))?;
        variables.insert((*variable).to_owned(), text);
    }
    Ok(())
}

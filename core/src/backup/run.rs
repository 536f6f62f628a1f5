//! One backup from its first request to its report.
//!
//! Order: the store accepts an upload; the database can be read; pg_dump runs, its output is compressed and sent; only
//! when pg_dump has ended well and its output is whole is the upload completed; then old backups go. Every way out
//! before that aborts the upload.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::cancel::{CancelReason, CancelToken};
use super::compress::Gzip;
use super::key::{KeyForm, UtcTime};
use super::report::{Progress, Report};
use super::settings::{Secrets, Settings, Telegram};
use super::source::Dump;
use super::store::Store;
use super::store_error::{Failure, explain};
use super::upload::{Stored, Upload};
use super::{database, find, notify, retention, settings};
use crate::Result;
use crate::error::{Error, Kind};
use crate::net::https::Client;

/// Open uploads of ours that are older than this were left behind by a run that could not clean up.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// Kept back before the deadline for aborting and telling; a quarter of the whole time when that is less.
const MARGIN: Duration = Duration::from_secs(15);
/// For cleaning up, and again for telling, when there is no deadline.
const CLEAN_UP: Duration = Duration::from_secs(60);
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
const DELETES_AT_ONCE: usize = 8;

/// Makes one backup. Must run on tokio with I/O and time.
///
/// `progress` is called from the runtime's threads and should return at once. `cancel` stops the run at any time before
/// the object is there; it then ends with [`Kind::Cancelled`] after it has aborted the upload and reaped pg_dump.
/// Dropping the future does the same in the background.
pub async fn run(
    settings: Settings,
    progress: impl Fn(Progress) + Send + Sync + 'static,
    cancel: CancelToken,
) -> Result<Report> {
    let client = Client::new(settings.https.clone())?;
    let stop = CancelToken::new();
    let limits = Limits::new(settings.deadline);
    // The sender goes with this future.
    let (_held, dropped) = oneshot::channel::<()>();
    let listener = tokio::spawn({
        let stop = stop.clone();
        async move {
            tokio::select! {
                why = cancel.cancelled_or(limits.work) => stop.cancel(why),
                _ = dropped => stop.cancel(CancelReason::Caller("nobody waits for the result any more".into())),
            }
        }
    });
    let run = Run {
        store: Store::new(&settings.store, client.smithy()),
        secrets: settings.secrets(),
        progress: Box::new(progress),
        warnings: Mutex::default(),
        begun: Instant::now(),
        client,
        stop,
        limits,
        settings,
    };
    let task = tokio::spawn(async move { run.whole().await });
    let outcome = task.await;
    listener.abort();
    outcome.unwrap_or_else(|error| Err(Error::new(Kind::Usage, "the backup ended early").with_source(error)))
}

/// [`run`] with the settings of an environment, changed by `adjust`. Settings that are wrong are told to the chat, too.
pub async fn run_from_environment(
    lookup: &(dyn Fn(&str) -> Option<String> + Sync),
    adjust: impl FnOnce(&mut Settings) -> Result<()>,
    progress: impl Fn(Progress) + Send + Sync + 'static,
    cancel: CancelToken,
) -> Result<Report> {
    let settings = Settings::from_environment(&|name| lookup(name)).and_then(|mut settings| {
        adjust(&mut settings)?;
        Ok(settings)
    });
    let error = match settings {
        Ok(settings) => return run(settings, progress, cancel).await,
        Err(error) => error,
    };
    let telegram = Telegram::from_environment(&|name| lookup(name)).ok().flatten();
    if let (Some(telegram), Ok(client)) = (telegram, Client::new(settings::https(&|name| lookup(name)))) {
        let name = |name: &str, default: &str| lookup(name).unwrap_or_else(|| default.to_owned());
        let (database, bucket) = (
            name("PG_DATABASE", "heys_production"),
            name("S3_BUCKET", "heys-backups"),
        );
        let outcome = Err(error);
        if let Some(text) = notify::message(&outcome, &database, &bucket, UtcTime::now())
            && let Err(why) = notify::send(&client, &telegram, &text, Limits::new(None).told()).await
        {
            progress(Progress::Warning(why));
        }
        return outcome;
    }
    Err(error)
}

/// When what must be over.
#[derive(Clone, Copy)]
struct Limits {
    /// Dumping and pruning; `None` = no deadline.
    work: Option<Instant>,
    complete: Option<Instant>,
    clean_up: Option<Instant>,
    tell: Option<Instant>,
}

impl Limits {
    fn new(deadline: Option<Instant>) -> Limits {
        let margin = deadline.map_or(MARGIN, |deadline| {
            MARGIN.min(deadline.saturating_duration_since(Instant::now()) / 4)
        });
        let before = |quarters: u32| deadline.map(|deadline| deadline - margin / 4 * quarters);
        Limits {
            work: before(4),
            complete: before(3),
            clean_up: before(2),
            tell: deadline.map(|deadline| deadline - margin / 20),
        }
    }

    fn told(&self) -> Instant {
        self.tell.unwrap_or_else(|| Instant::now() + CLEAN_UP)
    }

    fn cleaned_up(&self) -> Instant {
        self.clean_up.unwrap_or_else(|| Instant::now() + CLEAN_UP)
    }
}

struct Run {
    settings: Settings,
    store: Store,
    client: Client,
    secrets: Secrets,
    progress: Box<dyn Fn(Progress) + Send + Sync>,
    warnings: Mutex<Vec<String>>,
    begun: Instant,
    /// The caller's token, the deadline and a dropped future in one.
    stop: CancelToken,
    limits: Limits,
}

/// What is known when the dump is whole and sent.
struct Dumped {
    raw_bytes: u64,
    server_version: String,
    pg_dump_version: String,
}

impl Run {
    async fn whole(self) -> Result<Report> {
        for warning in &self.settings.warnings {
            self.warn(warning.clone());
        }
        let begun = UtcTime::now();
        let mut outcome = self.backup(begun).await.map_err(|error| self.secrets.scrubbed(error));
        if let Some(telegram) = &self.settings.telegram {
            let message = notify::message(
                &outcome,
                &self.settings.database.database,
                &self.settings.store.bucket,
                begun,
            );
            if let Some(text) = message {
                let text = self.secrets.scrub(&text);
                if let Err(why) = notify::send(&self.client, telegram, &text, self.limits.told()).await {
                    self.warn(why);
                }
            }
        }
        if let Ok(report) = &mut outcome {
            report.warnings = std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner));
            report.duration = self.begun.elapsed();
        }
        outcome
    }

    fn tell(&self, progress: Progress) {
        (self.progress)(progress);
    }

    fn warn(&self, text: String) {
        let text = self.secrets.scrub(&text);
        self.warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text.clone());
        self.tell(Progress::Warning(text));
    }

    /// `work` unless the run is stopped first.
    async fn unless_stopped<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            why = self.stop.cancelled() => {
                Err(Error::new(Kind::Cancelled, format!("the backup was stopped: {why}")))
            }
            result = work => result,
        }
    }

    async fn backup(&self, begun: UtcTime) -> Result<Report> {
        let form = KeyForm::new(&self.settings.prefix, &self.settings.database.database);
        let (mut upload, key) = self.open(&form, begun).await?;
        self.tell(Progress::StoreReady {
            bucket: self.settings.store.bucket.clone(),
            key: key.clone(),
        });

        let mut dump = None;
        let dumped = self
            .unless_stopped(self.transfer(&form, &key, &mut upload, &mut dump))
            .await;
        if let Some(dump) = dump {
            dump.stop().await;
        }
        let dumped = match dumped {
            Ok(dumped) => dumped,
            Err(error) => return Err(self.give_up(upload, &key, error).await),
        };

        self.tell(Progress::Completing);
        let stored = self.complete(upload, &key).await?;
        self.tell(Progress::Stored { bytes: stored.bytes });
        for warning in &stored.warnings {
            self.warn(warning.clone());
        }

        let mut report = Report {
            bucket: self.settings.store.bucket.clone(),
            bytes: stored.bytes,
            raw_bytes: dumped.raw_bytes,
            sha256: stored.sha256,
            duration: self.begun.elapsed(),
            parts: stored.parts,
            deleted: Vec::new(),
            refused: Vec::new(),
            warnings: Vec::new(),
            storage_class: stored.head.as_ref().and_then(|head| head.storage_class.clone()),
            encryption: stored.head.as_ref().and_then(|head| head.encryption.clone()),
            server_version: dumped.server_version,
            pg_dump_version: dumped.pg_dump_version,
            key,
        };
        self.prune(&form, &mut report).await;
        Ok(report)
    }

    /// The preflight: an upload under a key that no object has.
    async fn open(&self, form: &KeyForm, begun: UtcTime) -> Result<(Upload, String)> {
        let mut time = begun;
        let mut key = form.key(time);
        let opened = self
            .unless_stopped(async {
                // Two runs in one second must not overwrite each other. Who may not look will hear of it later.
                while let Ok(Some(_)) = self.store.head(&key).await {
                    time = time.next_second();
                    key = form.key(time);
                }
                Ok(self.store.create(&key).await)
            })
            .await;
        let error = match opened {
            Ok(Ok(id)) => return Ok((Upload::new(self.store.clone(), key.clone(), id), key)),
            Ok(Err(failure)) if !failure.may_heal() => {
                return Err(explain(
                    &failure,
                    "the upload could not be opened",
                    &self.settings.store,
                ));
            }
            Ok(Err(failure)) => explain(&failure, "the upload could not be opened", &self.settings.store),
            Err(stopped) => stopped,
        };
        // Its reply may have been lost, and then an upload is open whose id nobody knows.
        let found = self.abort_found(form, &key, None, None);
        let _ = tokio::time::timeout_at(self.limits.cleaned_up().into(), found).await;
        Err(error)
    }

    /// Everything between the preflight and Complete.
    async fn transfer(
        &self,
        form: &KeyForm,
        key: &str,
        upload: &mut Upload,
        running: &mut Option<Dump>,
    ) -> Result<Dumped> {
        self.sweep(form, key, Some(upload.id())).await;
        let server = database::inspect(&self.settings.database).await?;
        let program = find::find(&self.settings.pg_dump, server.major).await?;
        self.tell(Progress::DatabaseReady {
            host: server.target.shown(),
            server_version: server.version.clone(),
            pg_dump_version: program.version.clone(),
            database_bytes: server.database_bytes,
        });

        let (dump, output) = Dump::start(&program, &server.target)?;
        let dump = running.insert(dump);
        let mut gzip = Gzip::start(output, self.settings.gzip_level)?;
        let mut told = Instant::now();
        while let Some(bytes) = gzip.next().await? {
            upload.write(&bytes).await?;
            if told.elapsed() >= PROGRESS_EVERY {
                told = Instant::now();
                self.tell_dumping(&gzip, upload);
            }
        }
        for warning in dump.finish().await? {
            self.warn(warning);
        }
        upload.flush().await?;
        self.tell_dumping(&gzip, upload);
        Ok(Dumped {
            raw_bytes: gzip.raw_bytes(),
            server_version: server.version,
            pg_dump_version: program.version,
        })
    }

    fn tell_dumping(&self, gzip: &Gzip, upload: &Upload) {
        self.tell(Progress::Dumping {
            raw_bytes: gzip.raw_bytes(),
            bytes: upload.bytes(),
            uploaded_bytes: upload.uploaded_bytes(),
            parts: upload.parts(),
        });
    }

    /// From here on only the deadline stops: whether the object is there must be known before the run ends.
    async fn complete(&self, mut upload: Upload, key: &str) -> Result<Stored> {
        let work = upload.complete();
        let completed = match self.limits.complete {
            None => work.await,
            Some(until) => tokio::time::timeout_at(until.into(), work).await.unwrap_or_else(|_| {
                let why = CancelReason::Deadline;
                Err(Error::new(
                    Kind::Cancelled,
                    format!("the store was still completing the upload: {why}"),
                ))
            }),
        };
        match completed {
            Ok(stored) => Ok(stored),
            Err(error) => {
                let settled = async {
                    let aborted = upload.abort().await;
                    (aborted, upload.settle().await)
                };
                match tokio::time::timeout_at(self.limits.cleaned_up().into(), settled).await {
                    Ok((_, Some(stored))) => Ok(stored),
                    Ok((Ok(()), None)) => Err(error),
                    Ok((Err(failure), None)) => Err(still_open(error, key, upload.id(), &failure.shown())),
                    Err(_) => Err(still_open(error, key, upload.id(), "no time was left")),
                }
            }
        }
    }

    /// Aborts the upload of a run that failed with `error`; the error tells when that was not possible.
    async fn give_up(&self, mut upload: Upload, key: &str, error: Error) -> Error {
        match tokio::time::timeout_at(self.limits.cleaned_up().into(), upload.abort()).await {
            Ok(Ok(())) => error,
            Ok(Err(failure)) => still_open(error, key, upload.id(), &failure.shown()),
            Err(_) => still_open(error, key, upload.id(), "no time was left"),
        }
    }

    /// Aborts what earlier runs left open, and other uploads under this run's own key. A failure is a warning.
    async fn sweep(&self, form: &KeyForm, key: &str, own: Option<&str>) {
        let stale = SystemTime::now().checked_sub(STALE);
        match self.abort_found(form, key, own, stale).await {
            Ok(0) => {}
            Ok(n) => self.warn(format!("{n} uploads that earlier runs had left open were aborted")),
            Err(failure) => {
                let what = "uploads left open by earlier runs could not be cleaned up";
                self.warn(explain(&failure, what, &self.settings.store).to_string());
            }
        }
    }

    /// Aborts open uploads of exactly our form: under `key` all but `own`, under others those begun before `stale`.
    async fn abort_found(
        &self,
        form: &KeyForm,
        key: &str,
        own: Option<&str>,
        stale: Option<SystemTime>,
    ) -> Result<usize, Failure> {
        let mut aborted = 0;
        for open in self.store.open_uploads(form.prefix()).await? {
            let Some(named) = form.parse(&open.key) else { continue };
            let begun = open.initiated.map_or(named, UtcTime::from_system);
            let wanted = match open.key == key {
                true => own != Some(open.id.as_str()),
                false => stale.is_some_and(|stale| begun < UtcTime::from_system(stale)),
            };
            if wanted {
                self.store.abort(&open.key, &open.id).await?;
                aborted += 1;
            }
        }
        Ok(aborted)
    }

    /// Deletes old backups. Whatever fails is a warning.
    async fn prune(&self, form: &KeyForm, report: &mut Report) {
        let mut deleted = Vec::new();
        let pruned = self
            .unless_stopped(self.prune_into(form, &report.key, &mut deleted))
            .await;
        match pruned {
            Ok(refused) => report.refused = refused,
            Err(error) => self.warn(format!(
                "the backup is stored, but old ones were not all deleted: {error}"
            )),
        }
        deleted.sort();
        if !deleted.is_empty() {
            self.tell(Progress::Pruned { deleted: deleted.len() });
        }
        report.deleted = deleted;
    }

    async fn prune_into(&self, form: &KeyForm, key: &str, deleted: &mut Vec<String>) -> Result<Vec<String>> {
        let settings = &self.settings.store;
        let listing = match self.store.list(form.prefix()).await {
            Ok(listing) => listing,
            Err(failure) => return Err(explain(&failure, "the bucket could not be listed", settings)),
        };
        let plan = retention::plan(&listing, form, key, UtcTime::now(), self.settings.retention);
        let mut waiting = plan.delete.into_iter();
        let mut going = JoinSet::new();
        loop {
            while going.len() < DELETES_AT_ONCE
                && let Some(key) = waiting.next()
            {
                let store = self.store.clone();
                going.spawn(async move { store.delete(&key).await.map(|()| key) });
            }
            match going.join_next().await {
                None => return Ok(plan.refusals),
                Some(Ok(Ok(key))) => deleted.push(key),
                Some(Ok(Err(failure))) => {
                    return Err(explain(&failure, "an old backup could not be deleted", settings));
                }
                Some(Err(error)) => return Err(Error::new(Kind::Store, "a deletion ended early").with_source(error)),
            }
        }
    }
}

fn still_open(error: Error, key: &str, id: &str, why: &str) -> Error {
    let text = format!(
        "{error}; moreover the upload of {key} could not be aborted ({why}) and is still open: its id is {id}; a run \
         after 24 hours aborts it"
    );
    let mut more = Error::new(error.kind(), text);
    if let Some(code) = error.code() {
        more = more.with_name(code.to_owned());
    }
    more.with_source(error)
}

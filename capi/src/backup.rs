//! One backup, with progress and cancel.

use std::ffi::{CString, c_char, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use heys_core::backup::{self, CancelReason, CancelToken, Progress, Report};

use crate::error::{Error, Status, c_text};
use crate::ffi;
use crate::panic::guard;
use crate::runtime::block_on;

/// A backup that is run once. While one thread runs it, any other may cancel it. Give it back with heys_backup_free.
pub struct Backup {
    cancel: CancelToken,
    /// Set by the first run.
    run: AtomicBool,
}

/// What a backup has stored. Any number of threads may read it at once. Give it back with heys_backup_report_free.
pub struct BackupReport {
    inner: Report,
    key: CString,
    bucket: CString,
    sha256: CString,
    warnings: Vec<CString>,
}

/// How far a backup has come.
#[derive(Default)]
#[repr(C)]
pub struct BackupProgress {
    /// Bytes of the dump so far, before compression.
    raw_bytes: u64,
    /// Compressed bytes that the store has so far.
    stored_bytes: u64,
    /// The size of the database in bytes as the server says, 0 while unknown. The dump is mostly smaller.
    estimated_bytes: u64,
}

/// Called while heys_backup_run runs, with numbers that never become smaller: from any thread, from one at a time, and
/// never after heys_backup_run has returned. `progress` is only valid during the call. It should return soon, must not
/// leave by longjmp or an exception, and may call heys_backup_cancel but no function that waits for a server: those
/// return HEYS_STATUS_USAGE.
pub type BackupProgressFn = Option<extern "C" fn(progress: *const BackupProgress, user_data: *mut c_void)>;

/// The caller's pointer on its way to the callback's thread.
struct UserData(*mut c_void);
// SAFETY: the header tells the caller that the callback runs on another thread; the library only passes the pointer on.
unsafe impl Send for UserData {}
// SAFETY: as above; calls are serialized by core.
unsafe impl Sync for UserData {}

/// Makes a backup, to be run with heys_backup_run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_new(out: *mut *mut Backup, error: *mut *mut Error) -> Status {
    // SAFETY: `out` and `error` are writable or NULL.
    unsafe {
        ffi::entry(out, error, || {
            Ok(ffi::give(Backup {
                cancel: CancelToken::new(),
                run: AtomicBool::new(false),
            }))
        })
    }
}

/// Dumps the database, stores it, and deletes backups that are too old. The settings are read from the environment now:
/// PG_HOST, PG_DATABASE, PG_USER, PG_PASSWORD, S3_ENDPOINT, S3_BUCKET, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY,
/// BACKUP_RETENTION_DAYS and the rest that README.md names. Returns when the backup is whole in the store, or when it has
/// failed and nothing of it is left there. `progress` may be NULL; it is called with `user_data`. Free the report with
/// heys_backup_report_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_run(
    backup: *const Backup,
    progress: BackupProgressFn,
    user_data: *mut c_void,
    out: *mut *mut BackupReport,
    error: *mut *mut Error,
) -> Status {
    // SAFETY: the handle is live or NULL, `out` and `error` are writable or NULL.
    unsafe {
        ffi::entry(out, error, || {
            let backup = ffi::required(backup, "backup")?;
            if backup.run.swap(true, Ordering::Relaxed) {
                return Err(Error::border(
                    Status::Usage,
                    "this backup was run before; make a new one with heys_backup_new",
                ));
            }
            let teller = Teller {
                progress,
                user_data: UserData(user_data),
                so_far: Mutex::default(),
            };
            let report = block_on(backup::run_from_environment(
                &|name| std::env::var(name).ok(),
                |_| Ok(()),
                move |event| teller.tell(&event),
                backup.cancel.clone(),
            ))??;
            Ok(ffi::give(BackupReport::new(report)))
        })
    }
}

/// Turns core's events into calls of the caller's function, one at a time.
struct Teller {
    progress: BackupProgressFn,
    user_data: UserData,
    so_far: Mutex<BackupProgress>,
}

impl Teller {
    fn tell(&self, event: &Progress) {
        let Some(callback) = self.progress else { return };
        let mut so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Progress::DatabaseReady { database_bytes, .. } => so_far.estimated_bytes = database_bytes.unwrap_or(0),
            Progress::Dumping {
                raw_bytes,
                uploaded_bytes,
                ..
            } => {
                so_far.raw_bytes = *raw_bytes;
                so_far.stored_bytes = *uploaded_bytes;
            }
            Progress::Stored { bytes } => so_far.stored_bytes = *bytes,
            _ => return,
        }
        callback(&raw const *so_far, self.user_data.0);
    }
}

/// Stops the backup: pg_dump is ended, the upload aborted, and heys_backup_run returns HEYS_STATUS_CANCELLED, also if it
/// was called after this. Any thread may call it, and the progress callback; it returns at once. It is not safe inside a
/// signal handler. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_cancel(backup: *const Backup) {
    guard((), || {
        // SAFETY: the caller passes NULL or a live backup.
        if let Some(backup) = unsafe { ffi::read(backup) } {
            backup
                .cancel
                .cancel(CancelReason::Caller("heys_backup_cancel was called".into()));
        }
    });
}

/// Frees a backup, which must not be running. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_free(backup: *mut Backup) {
    // SAFETY: the caller passes NULL or a backup of this library that is freed only here.
    guard((), || drop(unsafe { ffi::take(backup) }));
}

impl BackupReport {
    fn new(inner: Report) -> BackupReport {
        BackupReport {
            key: c_text(&inner.key),
            bucket: c_text(&inner.bucket),
            sha256: c_text(&inner.sha256),
            warnings: inner.warnings.iter().map(|warning| c_text(warning)).collect(),
            inner,
        }
    }
}

/// The key of the stored object. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_report_key(report: *const BackupReport) -> *const c_char {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { ffi::read(report) }.map_or(std::ptr::null(), |report| report.key.as_ptr())
}

/// The bucket that holds the object. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_report_bucket(report: *const BackupReport) -> *const c_char {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { ffi::read(report) }.map_or(std::ptr::null(), |report| report.bucket.as_ptr())
}

/// The SHA-256 of the stored object in lower-case hexadecimal. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_report_sha256(report: *const BackupReport) -> *const c_char {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { ffi::read(report) }.map_or(std::ptr::null(), |report| report.sha256.as_ptr())
}

/// The size of the stored object in bytes; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_report_bytes(report: *const BackupReport) -> u64 {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { ffi::read(report) }.map_or(0, |report| report.inner.bytes)
}

/// The size of the dump before compression in bytes; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_report_raw_bytes(report: *const BackupReport) -> u64 {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { ffi::read(report) }.map_or(0, |report| report.inner.raw_bytes)
}

/// The number of warnings, such as old backups that could not be deleted; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_report_warnings(report: *const BackupReport) -> usize {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { ffi::read(report) }.map_or(0, |report| report.warnings.len())
}

/// A warning in UTF-8, counted from 0; NULL for one that is not there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_report_warning(report: *const BackupReport, index: usize) -> *const c_char {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { ffi::read(report) }
        .and_then(|report| report.warnings.get(index))
        .map_or(std::ptr::null(), |warning| warning.as_ptr())
}

/// Frees a report and the strings read from it. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_report_free(report: *mut BackupReport) {
    // SAFETY: the caller passes NULL or a report of this library that is freed only here.
    guard((), || drop(unsafe { ffi::take(report) }));
}

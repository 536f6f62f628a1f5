//! One backup, with progress and cancel.

use std::ffi::{CString, c_char, c_void};
use std::sync::{Mutex, PoisonError};

use heys_core::backup::{self, CancelReason, CancelToken, Progress, Report};

use crate::error::{Error, Status, c_text};
use crate::ffi;
use crate::panic::guard;
use crate::runtime::runtime;

/// A backup that can be run once. heys_backup_cancel may be called by any thread, the rest by one at a time.
/// Free with heys_backup_free.
pub struct Backup {
    cancel: CancelToken,
}

/// What a backup made. Free with heys_backup_report_free.
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
    /// Bytes that pg_dump has given.
    raw_bytes: u64,
    /// Compressed bytes that the store has taken.
    stored_bytes: u64,
    /// The database's size in bytes as the server estimates it, 0 when unknown.
    estimated_bytes: u64,
}

/// Called from a thread of the library, never from two at once, and never after heys_backup_run has returned. It must
/// not block for long and must not unwind.
pub type BackupProgressFn = Option<extern "C" fn(progress: *const BackupProgress, user_data: *mut c_void)>;

/// The caller's pointer on its way to the callback's thread.
struct UserData(*mut c_void);
// SAFETY: the header tells the caller that the callback runs on another thread; the library only passes the pointer on.
unsafe impl Send for UserData {}
// SAFETY: as above; calls are serialized by core.
unsafe impl Sync for UserData {}

/// Prepares a backup; its settings are read from the environment (PG_HOST, S3_BUCKET, …) when it runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_new(out: *mut *mut Backup, error: *mut *mut Error) -> Status {
    // SAFETY: `out` and `error` are writable or NULL.
    unsafe {
        ffi::entry(out, error, || {
            Ok(ffi::give(Backup {
                cancel: CancelToken::new(),
            }))
        })
    }
}

/// Runs the backup and returns when it is whole in the store, or has failed and left nothing there. `progress` may be
/// NULL; it gets `user_data`.
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
            let teller = Teller {
                progress,
                user_data: UserData(user_data),
                so_far: Mutex::default(),
            };
            let report = runtime()?.block_on(backup::run_from_environment(
                &|name| std::env::var(name).ok(),
                |_| Ok(()),
                move |event| teller.tell(&event),
                backup.cancel.clone(),
            ))?;
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

/// Stops a running backup: pg_dump is ended, the upload aborted, and heys_backup_run returns HEYS_STATUS_CANCELLED.
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

/// Frees a backup that is not running; NULL is allowed.
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

/// The object's key, living as long as the report. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_report_key(report: *const BackupReport) -> *const c_char {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { ffi::read(report) }.map_or(std::ptr::null(), |report| report.key.as_ptr())
}

/// The bucket, living as long as the report. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_report_bucket(report: *const BackupReport) -> *const c_char {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { ffi::read(report) }.map_or(std::ptr::null(), |report| report.bucket.as_ptr())
}

/// SHA-256 of the stored object in lower-case hexadecimal, living as long as the report. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_report_sha256(report: *const BackupReport) -> *const c_char {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { ffi::read(report) }.map_or(std::ptr::null(), |report| report.sha256.as_ptr())
}

/// Size of the stored object in bytes; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_report_bytes(report: *const BackupReport) -> u64 {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { ffi::read(report) }.map_or(0, |report| report.inner.bytes)
}

/// Size of the dump before compression in bytes; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_report_raw_bytes(report: *const BackupReport) -> u64 {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { ffi::read(report) }.map_or(0, |report| report.inner.raw_bytes)
}

/// Number of warnings (a prune that failed, for one); 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_report_warnings(report: *const BackupReport) -> usize {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { ffi::read(report) }.map_or(0, |report| report.warnings.len())
}

/// One warning, living as long as the report; NULL for one that is not there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_report_warning(report: *const BackupReport, index: usize) -> *const c_char {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { ffi::read(report) }
        .and_then(|report| report.warnings.get(index))
        .map_or(std::ptr::null(), |warning| warning.as_ptr())
}

/// Frees a report; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_backup_report_free(report: *mut BackupReport) {
    // SAFETY: the caller passes NULL or a report of this library that is freed only here.
    guard((), || drop(unsafe { ffi::take(report) }));
}

//! What a run tells while it goes on, and at its end.

use std::time::Duration;

/// A step of a run. New kinds may come; ignore what you do not know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The store accepted an upload: endpoint, bucket, credentials, storage class and encryption are good.
    StoreReady {
        /// Where the backup will be.
        bucket: String,
        /// Its key.
        key: String,
    },
    /// The database can be read.
    DatabaseReady {
        /// `host:port (address)`.
        host: String,
        /// As the server says it.
        server_version: String,
        /// As pg_dump says it.
        pg_dump_version: String,
        /// What the database takes on the server's disk: a rough measure of what is to come.
        database_bytes: Option<u64>,
    },
    /// The dump goes on; at most every 100 ms, and once when it is complete.
    Dumping {
        /// Bytes that came from pg_dump.
        raw_bytes: u64,
        /// Bytes of the gzip file so far.
        bytes: u64,
        /// Of these, bytes that the store has confirmed.
        uploaded_bytes: u64,
        /// Parts that the store has confirmed.
        parts: u32,
    },
    /// pg_dump ended well; the store makes one object of the parts, which may take minutes.
    Completing,
    /// The object is there and was read back.
    Stored {
        /// Its length.
        bytes: u64,
    },
    /// Old backups were deleted.
    Pruned {
        /// How many.
        deleted: usize,
    },
    /// Something to look at that does not fail the backup; it is in the report, too.
    Warning(String),
}

/// A backup that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The object's key.
    pub key: String,
    /// The bucket.
    pub bucket: String,
    /// Length of the stored object.
    pub bytes: u64,
    /// Length of the dump before gzip.
    pub raw_bytes: u64,
    /// Of the stored object, in hexadecimal.
    pub sha256: String,
    /// From the call to the last step before the report.
    pub duration: Duration,
    /// Parts of the upload.
    pub parts: u32,
    /// Keys that were pruned.
    pub deleted: Vec<String>,
    /// One sentence for each old backup that was not pruned for a reason other than its age.
    pub refused: Vec<String>,
    /// What to look at: pg_dump's warnings, a prune or notification that failed.
    pub warnings: Vec<String>,
    /// The storage class as the store shows it; `None` = it shows none (the standard class).
    pub storage_class: Option<String>,
    /// The encryption as the store shows it.
    pub encryption: Option<String>,
    /// The server's version.
    pub server_version: String,
    /// pg_dump's version.
    pub pg_dump_version: String,
}

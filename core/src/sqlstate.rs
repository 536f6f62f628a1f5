//! The SQLSTATE codes that heys-db itself decides by (PostgreSQL documentation, appendix A).

/// `query_canceled`: the statement was cancelled by a CancelRequest or a server-side timeout.
pub const QUERY_CANCELED: &str = "57014";
/// `serialization_failure`: repeat the transaction.
pub const SERIALIZATION_FAILURE: &str = "40001";
/// `deadlock_detected`: repeat the transaction.
pub const DEADLOCK_DETECTED: &str = "40P01";
/// `invalid_password`.
pub const INVALID_PASSWORD: &str = "28P01";
/// `too_many_connections`.
pub const TOO_MANY_CONNECTIONS: &str = "53300";
/// `insufficient_privilege`.
pub const INSUFFICIENT_PRIVILEGE: &str = "42501";

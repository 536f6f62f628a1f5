//! The SQLSTATE codes that heys-db itself decides by (PostgreSQL documentation, appendix A).

/// `query_canceled`: the statement was cancelled by a CancelRequest or a server-side timeout.
pub const QUERY_CANCELED: &str = "57014";
/// `serialization_failure`: repeat the transaction.
pub const SERIALIZATION_FAILURE: &str = "40001";
/// `deadlock_detected`: repeat the transaction.
pub const DEADLOCK_DETECTED: &str = "40P01";
/// `invalid_password`.
pub const INVALID_PASSWORD: &str = "28P01";
/// `invalid_authorization_specification`: among others, pg_hba.conf has no line for this user, host and encryption.
pub const INVALID_AUTHORIZATION: &str = "28000";
/// `too_many_connections`.
pub const TOO_MANY_CONNECTIONS: &str = "53300";
/// `insufficient_privilege`.
pub const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Whether a refused connection means "try another server": it is shutting down, starting, full, or a pooler lost it
/// (57P01-57P03, 53300, 08006).
pub fn is_elsewhere(code: &str) -> bool {
    matches!(code, "57P01" | "57P02" | "57P03" | TOO_MANY_CONNECTIONS | "08006")
}

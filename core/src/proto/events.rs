//! Requests in, events out.

use bytes::Bytes;

use super::{PasswordRequest, ServerError};

/// The transaction status of a ReadyForQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// `I`: not in a transaction.
    Idle,
    /// `T`: in a transaction.
    InTransaction,
    /// `E`: in a failed transaction.
    Failed,
}

/// What the bytes meant. Replies belong to the oldest request that has not seen its [`Event::Ready`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The server wants a password: answer with [`super::Wire::password`], or close.
    PasswordRequested(PasswordRequest),
    /// A run-time parameter's value; the latest of each is kept by the session too.
    ParameterStatus {
        /// Its name, `server_version` for one.
        name: String,
        /// Its value.
        value: String,
    },
    /// ReadyForQuery. The first one ends the startup; each later one ends the oldest request.
    Ready(TransactionStatus),
    /// The body of a RowDescription, bounded and checked: Int16 n, then n fields. Its rows go to the sink next.
    RowDescription(Bytes),
    /// The sink said [`SinkState::Full`]: flush it and poll again.
    SinkFull,
    /// CommandComplete with its tag (`SELECT 3`).
    CommandComplete(Bytes),
    /// EmptyQueryResponse.
    EmptyQuery,
    /// NoData: the statement returns no rows.
    NoData,
    /// PortalSuspended: the row limit of Execute was reached.
    PortalSuspended,
    /// ErrorResponse. During startup the session is over; later the request ends with its Ready.
    Error(ServerError),
    /// ErrorResponse of a request of [`super::Wire::known`] for which only its name is, or could be, to blame; nothing has
    /// run. Send it again with [`super::Wire::extended`] once its Ready has come, and tell nobody.
    Repeat(ServerError),
    /// NoticeResponse.
    Notice(ServerError),
    /// NotificationResponse (LISTEN).
    Notification {
        /// The notifying backend's process id.
        pid: i32,
        /// Channel name.
        channel: String,
        /// Payload, may be empty.
        payload: String,
    },
    /// CopyInResponse came and was answered with CopyFail; an Error and a Ready follow.
    CopyInRefused,
    /// CopyOutResponse came; its data is dropped, a CommandComplete follows.
    CopyOut,
    /// ParseComplete: named statements count as prepared from here.
    ParseComplete,
}

/// Takes DataRows as they come.
pub trait RowSink {
    /// A row: `body` is Int16 n, then n times Int32 length (-1 = NULL) and bytes. Its lengths were checked.
    fn row(&mut self, body: &[u8]) -> SinkState;
}

/// Whether a [`RowSink`] can take another row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkState {
    /// More rows may come.
    Open,
    /// The row was taken, but the sink must be emptied before the next.
    Full,
}

/// The format code of a column that comes in binary format although its caller asked for text: a float8 or a timestamptz
/// of eight bytes, taken as a number ([`crate::statements::Numbers`]). The protocol has 0 and 1 alone.
pub const NUMBER: i16 = 2;

/// A parameter of the extended protocol, sent untyped (the server infers).
#[derive(Debug, Clone, Copy)]
pub enum Param<'a> {
    /// NULL.
    Null,
    /// Text format.
    Text(&'a [u8]),
    /// Binary format.
    Binary(&'a [u8]),
}

/// What a Describe or Close names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

/// One extended query: Parse (unless `sql` is `None`), Bind, Describe, Execute, Sync in one write.
#[derive(Debug, Clone, Copy)]
pub struct Extended<'a> {
    /// Statement name; empty = the unnamed statement.
    pub name: &'a str,
    /// The text to parse; `None` binds the already prepared statement `name`.
    pub sql: Option<&'a str>,
    /// Parameters.
    pub params: &'a [Param<'a>],
    /// Result format codes (0 text, 1 binary): none for text, one for all columns, or one for each.
    pub results: &'a [i16],
    /// Portal name; empty = the unnamed portal.
    pub portal: &'a str,
    /// Row limit of Execute; 0 = all.
    pub max_rows: i32,
}

/// A query whose text is known: it may go out under a name of our own ([`crate::statements`]).
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The text, by its number.
    pub text: crate::statements::TextId,
    /// Without a name it goes out as a Query, without parameters.
    pub simple: bool,
    /// Parameters.
    pub params: &'a [Param<'a>],
    /// Ask for all result columns in binary format.
    pub binary: bool,
    /// Else: types that the caller takes as numbers of eight bytes where these are what their texts stand for. The format
    /// code of such a column in [`Event::RowDescription`] is [`NUMBER`].
    pub numbers: crate::statements::Numbers,
    /// The caller knows that whatever is in flight before it leaves no transaction open and changes no setting and no
    /// name; without this word a request behind others goes out unnamed. One that nothing is in flight before needs none.
    pub autocommit: bool,
}

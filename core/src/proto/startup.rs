//! What is said before the first ReadyForQuery: the startup message and authentication.

/// The startup message's parameters and how to authenticate. The password is asked for by an event.
#[derive(Debug, Clone, Default)]
pub struct Startup {
    /// `user`, `database`, `application_name`, … in the order in which they are sent; `user` must be there.
    pub params: Vec<(String, String)>,
    /// Use SCRAM-SHA-256-PLUS where the server offers it and the session runs over TLS.
    pub channel_binding: bool,
    /// The largest SCRAM iteration count that is accepted (a hostile server could ask for billions); 0 = no limit.
    pub scram_max_iterations: u32,
}

/// For which kind of authentication the server wants a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordRequest {
    /// AuthenticationCleartextPassword.
    Cleartext,
    /// AuthenticationMD5Password.
    Md5,
    /// AuthenticationSASL with SCRAM-SHA-256 or SCRAM-SHA-256-PLUS.
    Scram,
}

//! What is said before the first ReadyForQuery: the startup message and authentication.

use std::fmt;
use std::mem;

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::frontend;

use super::reader::Reader;
use crate::error::Kind;
use crate::{Error, Result};

/// The startup message's parameters and how to authenticate. The password is asked for by an event.
#[derive(Debug, Clone, Default)]
pub struct Startup {
    /// `user`, `database`, `application_name`, … in the order in which they are sent; `user` must be there.
    pub params: Vec<(String, String)>,
    /// Use SCRAM-SHA-256-PLUS where the server offers it and the session runs over TLS.
    pub channel_binding: bool,
    /// The largest SCRAM iteration count that is accepted (a hostile server could ask for billions); 0 = no limit of
    /// ours, which leaves the library's own of 100,000.
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

/// The server reads no longer startup packet (MAX_STARTUP_PACKET_LENGTH, pqcomm.h).
const MAX_STARTUP_LENGTH: usize = 10_000;

impl Startup {
    /// The StartupMessage: Int32 length, Int32 196608, pairs of Strings, a zero byte.
    pub(super) fn write(&self, out: &mut BytesMut) -> Result<()> {
        if self.user().is_empty() {
            return Err(Error::new(
                Kind::Config,
                "No user name was given: set PGUSER or the option `user`",
            ));
        }
        let params = self.params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        frontend::startup_message(params, out)
            .map_err(|error| Error::new(Kind::Config, "A startup parameter contains a NUL byte").with_source(error))?;
        if out.len() > MAX_STARTUP_LENGTH {
            return Err(Error::new(
                Kind::Config,
                "The startup parameters are too long: PostgreSQL takes at most 10000 bytes of them",
            ));
        }
        Ok(())
    }

    fn user(&self) -> &str {
        self.params
            .iter()
            .find(|(name, _)| name == "user")
            .map_or("", |(_, user)| user)
    }
}

/// Authentication, from the StartupMessage to AuthenticationOk.
#[derive(Debug)]
pub(super) struct Authentication {
    state: State,
    user: String,
    channel_binding: bool,
    max_iterations: u32,
}

/// ```text
/// Begun ─► Asked(Cleartext, Md5) ─► Answered ───────────────► Done
///   │  └─► Asked(Scram) ─► ScramFirst ─► ScramFinal ─► ScramVerified ─► Done
///   └────────────────────────────────────────────────────────► Done (trust)
/// ```
enum State {
    /// The server has not asked for anything.
    Begun,
    /// The caller owes a password.
    Asked(Challenge),
    /// A cleartext or MD5 password was sent.
    Answered,
    /// The client-first-message was sent; the server-first-message is next.
    ScramFirst(Box<ScramSha256>),
    /// The client-final-message was sent; the server-final-message is next.
    ScramFinal(Box<ScramSha256>),
    /// The server has proved that it knows the password.
    ScramVerified,
    /// AuthenticationOk came.
    Done,
    /// An error ended it.
    Failed,
}

enum Challenge {
    Cleartext,
    Md5([u8; 4]),
    /// The certificate's hash binds SCRAM-SHA-256-PLUS to the TLS session.
    Scram {
        end_point: Option<Vec<u8>>,
        could_bind: bool,
    },
}

impl Authentication {
    pub(super) fn new(startup: &Startup) -> Authentication {
        Authentication {
            state: State::Begun,
            user: startup.user().to_owned(),
            channel_binding: startup.channel_binding,
            max_iterations: startup.scram_max_iterations,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Handles an Authentication… message (tag `R`). `end_point` is the TLS session's tls-server-end-point.
    pub(super) fn message(
        &mut self,
        body: &[u8],
        end_point: Option<&[u8]>,
        out: &mut BytesMut,
    ) -> Result<Option<PasswordRequest>> {
        let mut reader = Reader::new(body);
        let code = reader.i32()?;
        let state = mem::replace(&mut self.state, State::Failed);
        let (next, request) = match (code, state) {
            (0, State::Begun | State::Answered | State::ScramVerified) => {
                reader.end()?;
                (State::Done, None)
            }
            (0, State::ScramFirst(_) | State::ScramFinal(_) | State::Asked(Challenge::Scram { .. })) => {
                return Err(Error::new(
                    Kind::Auth,
                    "The server ended SCRAM without proving that it knows the password: it may be an impostor",
                ));
            }
            (3, State::Begun) => {
                reader.end()?;
                (State::Asked(Challenge::Cleartext), Some(PasswordRequest::Cleartext))
            }
            (5, State::Begun) => {
                let salt = reader.array()?;
                reader.end()?;
                (State::Asked(Challenge::Md5(salt)), Some(PasswordRequest::Md5))
            }
            (10, State::Begun) => {
                let challenge = self.mechanism(reader, end_point)?;
                (State::Asked(challenge), Some(PasswordRequest::Scram))
            }
            (11, State::ScramFirst(mut scram)) => {
                self.check_iterations(reader.rest())?;
                scram.update(reader.rest()).map_err(|error| {
                    Error::new(
                        Kind::Auth,
                        format!("The server's SCRAM challenge is not valid: {error}"),
                    )
                    .with_source(error)
                })?;
                frontend::sasl_response(scram.message(), out).map_err(too_long)?;
                (State::ScramFinal(scram), None)
            }
            (12, State::ScramFinal(mut scram)) => {
                scram.finish(reader.rest()).map_err(|error| {
                    let message = "The server could not prove that it knows the password: it may be an impostor";
                    Error::new(Kind::Auth, message).with_source(error)
                })?;
                (State::ScramVerified, None)
            }
            (2 | 6 | 7 | 8 | 9, _) => return Err(unsupported(code)),
            (0 | 3 | 5 | 10 | 11 | 12, _) => {
                return Err(Error::protocol(format!(
                    "The server sent an authentication message out of turn (code {code})"
                )));
            }
            _ => return Err(Error::new(Kind::Auth, unknown(code))),
        };
        self.state = next;
        Ok(request)
    }

    /// Answers the challenge that [`Authentication::message`] asked a password for.
    pub(super) fn password(&mut self, password: &[u8], out: &mut BytesMut) -> Result<()> {
        match mem::replace(&mut self.state, State::Failed) {
            State::Asked(Challenge::Cleartext) => {
                frontend::password_message(password, out).map_err(nul)?;
                self.state = State::Answered;
            }
            State::Asked(Challenge::Md5(salt)) => {
                let hash = md5_hash(self.user.as_bytes(), password, salt);
                frontend::password_message(hash.as_bytes(), out).map_err(nul)?;
                self.state = State::Answered;
            }
            State::Asked(Challenge::Scram { end_point, could_bind }) => {
                let (mechanism, binding) = match end_point {
                    Some(hash) => (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(hash)),
                    // "y": a server that does offer binding sees that its offer was cut out on the way.
                    None if could_bind => (SCRAM_SHA_256, ChannelBinding::unrequested()),
                    None => (SCRAM_SHA_256, ChannelBinding::unsupported()),
                };
                let scram = Box::new(ScramSha256::new(password, binding));
                frontend::sasl_initial_response(mechanism, scram.message(), out).map_err(too_long)?;
                self.state = State::ScramFirst(scram);
            }
            other => {
                self.state = other;
                return Err(Error::new(Kind::Usage, "The server has not asked for a password"));
            }
        }
        Ok(())
    }

    /// AuthenticationSASL: mechanism names, each a String, then a zero byte.
    fn mechanism(&self, mut reader: Reader<'_>, end_point: Option<&[u8]>) -> Result<Challenge> {
        let (mut plain, mut plus) = (false, false);
        let mut names = String::new();
        loop {
            let name = reader.string()?;
            if name.is_empty() {
                break;
            }
            plain |= name == SCRAM_SHA_256;
            plus |= name == SCRAM_SHA_256_PLUS;
            names.push_str(if names.is_empty() { "" } else { ", " });
            names.push_str(&name);
        }
        reader.end()?;
        let end_point = end_point.filter(|_| self.channel_binding);
        let could_bind = end_point.is_some();
        match end_point.filter(|_| plus) {
            Some(hash) => Ok(Challenge::Scram {
                end_point: Some(hash.to_vec()),
                could_bind,
            }),
            None if plain => Ok(Challenge::Scram {
                end_point: None,
                could_bind,
            }),
            None => Err(Error::new(
                Kind::Auth,
                format!("The server offers no SASL mechanism that this client knows (SCRAM-SHA-256): {names}"),
            )),
        }
    }

    /// The server-first-message is `r=…,s=…,i=4096` (RFC 5802, section 7); its count is judged before any of it is done.
    fn check_iterations(&self, message: &[u8]) -> Result<()> {
        let max = match self.max_iterations {
            0 => LIBRARY_MAX_ITERATIONS,
            max => max.min(LIBRARY_MAX_ITERATIONS),
        };
        for attribute in message.split(|&byte| byte == b',') {
            let Some(digits) = attribute.strip_prefix(b"i=") else {
                continue;
            };
            let digits = String::from_utf8_lossy(digits);
            if !digits.parse::<u32>().is_ok_and(|count| (1..=max).contains(&count)) {
                return Err(Error::new(
                    Kind::Auth,
                    format!(
                        "The server asks for {digits:.20} SCRAM iterations, and {max} are allowed: see scramMaxIterations"
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// postgres-protocol refuses more by itself (0.6.12, authentication/sasl.rs).
const LIBRARY_MAX_ITERATIONS: u32 = 100_000;

fn unsupported(code: i32) -> Error {
    let method = match code {
        2 => "Kerberos V5",
        6 => "SCM credentials",
        7 | 8 => "GSSAPI",
        _ => "SSPI",
    };
    Error::new(
        Kind::Auth,
        format!(
            "The server asks for {method} authentication, which this client cannot do: use scram-sha-256 in pg_hba.conf"
        ),
    )
}

fn unknown(code: i32) -> String {
    format!("The server asks for an authentication that this client does not know (code {code})")
}

fn nul(error: std::io::Error) -> Error {
    Error::new(
        Kind::Config,
        "The password contains a NUL byte, which PostgreSQL cannot take",
    )
    .with_source(error)
}

fn too_long(error: std::io::Error) -> Error {
    Error::new(Kind::Auth, "The SCRAM exchange grew too long").with_source(error)
}

/// Names the state only: nonces, hashes and passwords never print.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Begun => "Begun",
            State::Asked(_) => "Asked",
            State::Answered => "Answered",
            State::ScramFirst(_) => "ScramFirst",
            State::ScramFinal(_) => "ScramFinal",
            State::ScramVerified => "ScramVerified",
            State::Done => "Done",
            State::Failed => "Failed",
        })
    }
}

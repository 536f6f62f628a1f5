//! Connecting and driving on tokio: hosts, TCP, TLS, startup, cancel; the HTTPS client.

mod cancel;
pub mod connect;
mod failure;
pub mod https;
mod login;
mod stream;
mod tls;
mod tls_failure;

pub use cancel::cancel;
pub use connect::{Address, Established, PasswordProvider, Socket, connect};
pub use failure::{io_error, io_name};

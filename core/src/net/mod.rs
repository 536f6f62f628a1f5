//! Connecting and driving on tokio: hosts, TCP, TLS, startup, cancel; the HTTPS client.

pub mod connect;

//! A small HTTP/1 server on loopback, plain or with TLS, each connection under a [`Script`].

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use openssl::ssl::{Ssl, SslAcceptor, SslMethod};
use s3s::Body;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_openssl::SslStream;

use crate::certificates::Identity;
use crate::error::{Context, Result};
use crate::wire::{Script, Wire};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An error makes the server close the connection without an answer.
pub(crate) type Answer = std::result::Result<Response<Body>, BoxError>;

/// Answers one request; the script is its connection's.
pub(crate) type Handler =
    Arc<dyn Fn(Request<Incoming>, Script) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// A listening server. Dropping it closes every connection.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(identity: Option<&Identity>, handler: Handler) -> Result<Server> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context(|| "cannot listen on 127.0.0.1".into())?;
        let address = listener.local_addr()?;
        let acceptor = identity.map(acceptor).transpose()?;
        let task = tokio::spawn(async move {
            // Dropped with this task, and every connection with it.
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        if let Ok((stream, _)) = accepted {
                            let _ = stream.set_nodelay(true);
                            let script = Script::default();
                            let wire = Wire::new(stream, script.clone());
                            connections.spawn(connection(wire, script, acceptor.clone(), handler.clone()));
                        }
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Server { address, task })
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(wire: Wire, script: Script, acceptor: Option<SslAcceptor>, handler: Handler) {
    let service = hyper::service::service_fn(move |request| {
        let answer = handler(request, script.clone());
        async { answer.await.map_err(std::io::Error::other) }
    });
    let http = hyper::server::conn::http1::Builder::new();
    // How a connection ends is the client's affair; a scripted end is an error here too.
    let _ = match acceptor {
        None => http.serve_connection(TokioIo::new(wire), service).await,
        Some(acceptor) => {
            let Ok(mut stream) = Ssl::new(acceptor.context()).and_then(|ssl| SslStream::new(ssl, wire)) else {
                return;
            };
            if Pin::new(&mut stream).accept().await.is_err() {
                return;
            }
            http.serve_connection(TokioIo::new(stream), service).await
        }
    };
}

fn acceptor(identity: &Identity) -> Result<SslAcceptor> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_certificate(&identity.cert)?;
    builder.set_private_key(&identity.key)?;
    builder.check_private_key()?;
    Ok(builder.build())
}

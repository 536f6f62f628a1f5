//! A TCP proxy that cuts, stalls, delays and refuses on command.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::{Context, Error, Result};

const CHUNK: usize = 64 * 1024;
/// How long a closed connection waits for its peer to close too.
const DRAIN: Duration = Duration::from_secs(1);

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// From client to server.
    Up,
    /// From server to client.
    Down,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cut {
    /// A TCP reset (ECONNRESET) to both sides.
    #[default]
    Reset,
    /// An orderly end of file to both sides.
    Close,
}

/// What the proxy has seen since it listens.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyStats {
    /// Connections accepted.
    pub accepted: u64,
    /// Of them, open now.
    pub open: u64,
    /// Bytes read from clients.
    pub bytes_up: u64,
    /// Bytes read from the server.
    pub bytes_down: u64,
}

#[derive(Debug, Clone, Copy)]
struct CutAfter {
    direction: Direction,
    bytes: u64,
    cut: Cut,
}

/// What holds for every connection, also for those to come.
#[derive(Debug, Default)]
struct Orders {
    stalled: bool,
    delay: Duration,
    /// Counts `cut` commands; a connection ends when it sees another number than at its start.
    cuts: u64,
    cut: Cut,
}

#[derive(Debug)]
struct Shared {
    orders: watch::Sender<Orders>,
    target: Mutex<SocketAddr>,
    /// Connections that will be cut at a byte, the next one first.
    cut_after: Mutex<std::collections::VecDeque<CutAfter>>,
    accepted: AtomicU64,
    open: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    changed: watch::Sender<()>,
}

/// A listening proxy on the runtime that started it. Dropping it closes its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// `None` while it refuses connections.
    listening: Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and passes every connection on to `target`.
    pub async fn listen(target: SocketAddr) -> Result<Proxy> {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            orders: watch::Sender::new(Orders::default()),
            target: Mutex::new(target),
            cut_after: Mutex::default(),
            accepted: AtomicU64::new(0),
            open: AtomicU64::new(0),
            bytes_up: AtomicU64::new(0),
            bytes_down: AtomicU64::new(0),
            changed: watch::Sender::new(()),
        });
        let task = tokio::spawn(accept(listener, shared.clone()));
        Ok(Proxy {
            address,
            shared,
            listening: Mutex::new(Some(task)),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Sends connections to come to another server.
    pub fn set_target(&self, target: SocketAddr) {
        *lock(&self.shared.target) = target;
    }

    /// Ends every open connection; new ones are taken as before.
    pub fn cut(&self, cut: Cut) {
        self.shared.orders.send_modify(|orders| {
            orders.cuts += 1;
            orders.cut = cut;
        });
    }

    /// The next connection to come (the one after it, if called twice, and so on) ends after exactly so many bytes
    /// that way; 0 ends it as soon as it is accepted.
    pub fn cut_after(&self, direction: Direction, bytes: u64, cut: Cut) {
        lock(&self.shared.cut_after).push_back(CutAfter { direction, bytes, cut });
    }

    /// Holds all bytes in both directions, of new connections too, which are accepted.
    pub fn stall(&self) {
        self.shared.orders.send_modify(|orders| orders.stalled = true);
    }

    /// Lets held bytes go on.
    pub fn resume(&self) {
        self.shared.orders.send_modify(|orders| orders.stalled = false);
    }

    /// Holds each chunk that passes, in each direction, for a time; zero ends it.
    pub fn delay(&self, time: Duration) {
        self.shared.orders.send_modify(|orders| orders.delay = time);
    }

    /// Stops listening: connects get ECONNREFUSED. Open connections live on. Resolves when the port is closed.
    pub async fn refuse(&self) {
        let task = lock(&self.listening).take();
        if let Some(task) = task {
            task.abort();
            // Connections run on their own; only the listener ends here.
            let _ = task.await;
        }
    }

    /// Listens again on the old port.
    pub async fn accept(&self) -> Result<()> {
        let mut listening = lock(&self.listening);
        if listening.is_none() {
            let listener = bind(self.address).context(|| format!("cannot listen on {} again", self.address))?;
            *listening = Some(tokio::spawn(accept(listener, self.shared.clone())));
        }
        Ok(())
    }

    /// What it has seen.
    pub fn stats(&self) -> ProxyStats {
        let shared = &self.shared;
        ProxyStats {
            accepted: shared.accepted.load(Ordering::Relaxed),
            open: shared.open.load(Ordering::Relaxed),
            bytes_up: shared.bytes_up.load(Ordering::Relaxed),
            bytes_down: shared.bytes_down.load(Ordering::Relaxed),
        }
    }

    /// Resolves when the numbers are as wanted.
    pub async fn wait_for(&self, wanted: impl Fn(ProxyStats) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        while !wanted(self.stats()) && changed.changed().await.is_ok() {}
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.listening).take() {
            task.abort();
        }
        self.cut(Cut::Reset);
    }
}

/// `127.0.0.1:5432` or `localhost:5432`; only loopback makes sense here.
pub(crate) fn parse_target(target: &str) -> Result<SocketAddr> {
    let target = target.replace("localhost:", "127.0.0.1:");
    target
        .parse()
        .map_err(|_| Error::new(format!("not an address with a port: {target}")))
}

/// With SO_REUSEADDR, so that the port of closed connections can be had again.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let cut_after = lock(&shared.cut_after).pop_front();
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        shared.open.fetch_add(1, Ordering::Relaxed);
        shared.changed.send_replace(());
        let open = Open(shared.clone());
        tokio::spawn(async move { connection(client, &open.0, cut_after).await });
    }
}

/// Counts a connection as long as it lives.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.send_replace(());
    }
}

async fn connection(client: TcpStream, shared: &Shared, cut_after: Option<CutAfter>) {
    let orders = shared.orders.subscribe();
    let started = orders.borrow().cuts;
    let target = *lock(&shared.target);
    let mut server = None;
    let cut = tokio::select! {
        cut = pass(&client, &mut server, target, shared, cut_after) => cut,
        cut = cut_ordered(orders, started) => Some(cut),
    };
    let streams = [Some(&client), server.as_ref()].into_iter().flatten();
    match cut {
        None => {}
        // Closing now sends RST; what was written before has arrived, this being loopback.
        Some(Cut::Reset) => streams.for_each(|stream| drop(stream.set_zero_linger())),
        Some(Cut::Close) => {
            for stream in streams {
                let _ = rustix::net::shutdown(stream, rustix::net::Shutdown::Write);
                // Unread bytes would turn the end of file into a reset.
                let _ = tokio::time::timeout(DRAIN, drain(stream)).await;
            }
        }
    }
}

async fn drain(stream: &TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    while read(stream, &mut buffer).await? > 0 {}
    Ok(())
}

/// Connects and passes bytes both ways; `None` when both directions have ended in order.
async fn pass(
    client: &TcpStream,
    server: &mut Option<TcpStream>,
    target: SocketAddr,
    shared: &Shared,
    cut_after: Option<CutAfter>,
) -> Option<Cut> {
    if let Some(CutAfter { bytes: 0, cut, .. }) = cut_after {
        return Some(cut);
    }
    let server = match TcpStream::connect(target).await {
        Ok(stream) => server.insert(stream),
        Err(_) => return Some(Cut::Reset),
    };
    let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
    let limit = |direction| cut_after.filter(|cut_after| cut_after.direction == direction);
    let up = pump(client, server, shared, &shared.bytes_up, limit(Direction::Up));
    let down = pump(server, client, shared, &shared.bytes_down, limit(Direction::Down));
    tokio::try_join!(up, down).err()
}

/// One direction, until its end of file, which it passes on. The error is how to end the whole connection.
async fn pump(
    from: &TcpStream,
    to: &TcpStream,
    shared: &Shared,
    counter: &AtomicU64,
    limit: Option<CutAfter>,
) -> std::result::Result<(), Cut> {
    let mut orders = shared.orders.subscribe();
    let mut buffer = vec![0; CHUNK];
    let mut left = limit.map(|limit| limit.bytes);
    loop {
        let want = left.map_or(CHUNK, |left| usize::try_from(left).unwrap_or(CHUNK).min(CHUNK));
        let read = read(from, buffer.get_mut(..want).unwrap_or_default())
            .await
            .map_err(|_| Cut::Reset)?;
        counter.fetch_add(read as u64, Ordering::Relaxed);
        shared.changed.send_replace(());
        let delay = orders.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        orders
            .wait_for(|orders| !orders.stalled)
            .await
            .map_err(|_| Cut::Reset)?;
        if read == 0 {
            // A peer that is gone already has nothing to learn.
            let _ = rustix::net::shutdown(to, rustix::net::Shutdown::Write);
            return Ok(());
        }
        write_all(to, buffer.get(..read).unwrap_or_default())
            .await
            .map_err(|_| Cut::Reset)?;
        if let (Some(left), Some(limit)) = (&mut left, limit) {
            *left -= read as u64;
            if *left == 0 {
                return Err(limit.cut);
            }
        }
    }
}

async fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Resolves when `cut` is called, also when the proxy is gone.
async fn cut_ordered(mut orders: watch::Receiver<Orders>, started: u64) -> Cut {
    match orders.wait_for(|orders| orders.cuts != started).await {
        Ok(orders) => orders.cut,
        Err(_) => Cut::Reset,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

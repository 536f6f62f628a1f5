//! The proxy cuts, holds and refuses exactly as it is told.
#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use heys_sandbox::{Cut, Direction, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// A server that sends back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

async fn proxied() -> (Proxy, TcpStream) {
    let proxy = Proxy::listen(echo().await).await.unwrap();
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    (proxy, stream)
}

async fn exchange(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).await.unwrap();
    let mut got = vec![0; text.len()];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(got, text);
}

/// What is read before the end, and how it ends.
async fn end(stream: &mut TcpStream) -> (usize, Option<ErrorKind>) {
    let mut got = Vec::new();
    let result = stream.read_to_end(&mut got).await;
    (got.len(), result.err().map(|error| error.kind()))
}

#[tokio::test]
async fn bytes_and_ends_pass_both_ways() {
    let (proxy, mut stream) = proxied().await;
    let text: Vec<u8> = (0..3_000_000u32).map(|number| number as u8).collect();
    let (mut read, mut write) = stream.split();
    let sent = async {
        write.write_all(&text).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let (_, read) = tokio::join!(sent, read.read_to_end(&mut got));
    read.unwrap();
    assert!(got == text);
    proxy.wait_for(|stats| stats.open == 0).await;
    let stats = proxy.stats();
    assert_eq!(
        (stats.accepted, stats.bytes_up, stats.bytes_down),
        (1, 3_000_000, 3_000_000)
    );
}

#[tokio::test]
async fn a_cut_resets_or_closes_open_connections_and_takes_new_ones() {
    for (cut, expected) in [(Cut::Reset, Some(ErrorKind::ConnectionReset)), (Cut::Close, None)] {
        let (proxy, mut stream) = proxied().await;
        exchange(&mut stream, b"before").await;
        proxy.cut(cut);
        assert_eq!(end(&mut stream).await, (0, expected));
        exchange(&mut TcpStream::connect(proxy.address()).await.unwrap(), b"after").await;
    }
}

#[tokio::test]
async fn a_connection_is_cut_after_exactly_so_many_bytes() {
    let proxy = Proxy::listen(echo().await).await.unwrap();
    for bytes in [0u64, 1, 7, 100_000] {
        proxy.cut_after(Direction::Down, bytes, Cut::Reset);
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let text = vec![1; 300_000];
        // The write may be cut too.
        let mut got = Vec::new();
        let (_, result) = tokio::join!(write.write_all(&text), read.read_to_end(&mut got));
        assert_eq!(
            (got.len() as u64, result.unwrap_err().kind()),
            (bytes, ErrorKind::ConnectionReset)
        );
    }
    proxy.cut_after(Direction::Up, 5, Cut::Close);
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(b"hello world").await.unwrap();
    assert_eq!(end(&mut stream).await.1, None);
    exchange(
        &mut TcpStream::connect(proxy.address()).await.unwrap(),
        b"only the next connection",
    )
    .await;
}

#[tokio::test]
async fn a_stall_holds_bytes_until_it_is_resumed() {
    let (proxy, mut stream) = proxied().await;
    exchange(&mut stream, b"before").await;
    proxy.stall();
    stream.write_all(b"held").await.unwrap();
    let mut got = [0; 4];
    assert!(
        timeout(Duration::from_millis(100), stream.read_exact(&mut got))
            .await
            .is_err()
    );
    proxy.resume();
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"held");
}

#[tokio::test]
async fn a_delay_comes_with_each_direction() {
    let (proxy, mut stream) = proxied().await;
    proxy.delay(Duration::from_millis(50));
    let begun = Instant::now();
    exchange(&mut stream, b"slow").await;
    assert!(begun.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn a_refusing_proxy_keeps_open_connections_and_its_port() {
    let (proxy, mut stream) = proxied().await;
    exchange(&mut stream, b"before").await;
    proxy.refuse().await;
    let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    exchange(&mut stream, b"still here").await;
    proxy.accept().await.unwrap();
    exchange(&mut TcpStream::connect(proxy.address()).await.unwrap(), b"again").await;
}

#[tokio::test]
async fn a_dead_server_is_a_reset_and_a_new_one_takes_over() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::listen(gone).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(end(&mut stream).await, (0, Some(ErrorKind::ConnectionReset)));
    proxy.set_target(echo().await);
    exchange(&mut TcpStream::connect(proxy.address()).await.unwrap(), b"alive").await;
}

#[tokio::test]
async fn dropping_the_proxy_ends_its_connections() {
    let (proxy, mut stream) = proxied().await;
    exchange(&mut stream, b"before").await;
    let address = proxy.address();
    drop(proxy);
    assert_eq!(end(&mut stream).await, (0, Some(ErrorKind::ConnectionReset)));
    tokio::task::yield_now().await;
    assert!(TcpStream::connect(address).await.is_err());
}

//! Takes connections and serves the router on them with hyper, no layer between.

mod acceptor;
pub(crate) mod client;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, http::header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

pub use self::acceptor::{Acceptor, Plain};
use crate::{
    drain::Drained,
    limits::places::{Places, What},
    metrics::Metrics,
};

/// A request head must be complete this long after the connection became free for one; it also ends idle keep-alive
/// connections. Browsers and Node agents keep sockets for about a minute.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a handshake may take: a few round trips on a bad line.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Read and write buffer of a connection, bytes: enough to take a large upload in few reads, small enough that a
/// thousand connections fit the memory of the smallest board.
const BUFFER_BYTES: usize = 64 * 1024;

/// Pause after `accept` failed, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long running requests may take to finish once the end was asked for.
const DRAIN: Duration = Duration::from_secs(5);

/// The address of a client: the other end of the connection, or behind a trusted proxy whom that names (the layer
/// around all calls sees to it).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Who may connect, and where it is counted.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// How many connections one address may have, and how long one may stall.
    pub(crate) places: Places,
    /// Counts them.
    pub(crate) metrics: Arc<Metrics>,
}

/// Serves until `shutdown`, then lets running requests finish for a moment.
pub(crate) async fn serve<A: Acceptor>(
    listener: TcpListener,
    acceptor: A,
    router: Router,
    door: Door,
    shutdown: CancellationToken,
) {
    let seats = Arc::new(Semaphore::new(door.places.limits().connections));
    let acceptor = Arc::new(acceptor);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            // Finished connections are taken out as they end, so that the set does not grow.
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = accept(&listener, &seats) => accepted,
        };
        match accepted {
            Ok((stream, peer, seat)) => {
                // One address alone must not take all seats. What comes from a trusted proxy is bounded by request.
                let Ok(place) = door.places.take(What::Connection, peer.ip()) else {
                    door.metrics.connection_refused();
                    tracing::debug!(client = %peer.ip(), "connection refused: this address has too many");
                    continue;
                };
                let counted = door.metrics.connection();
                let (acceptor, router) = (Arc::clone(&acceptor), router.clone());
                let (stall, shutdown) = (door.places.limits().stall, shutdown.clone());
                connections.spawn(async move {
                    let _held = (seat, place, counted);
                    prepare(&stream, stall);
                    connection(&*acceptor, stream, peer, router, shutdown).await;
                });
            }
            Err(e) => {
                tracing::warn!("cannot accept a connection: {e}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained =
        tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::info!("{} connections are cut off at shutdown", connections.len());
        connections.shutdown().await;
    }
}

async fn accept(
    listener: &TcpListener,
    seats: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let seat = Arc::clone(seats).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, seat))
}

/// Sets what the kernel watches by itself.
fn prepare(stream: &TcpStream, stall: Duration) {
    // Answers are written whole; waiting to merge them with later ones would only delay them.
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!("TCP_NODELAY refused: {e}");
    }
    // The kernel alone knows whether the other side takes anything: what we wrote may lie in its buffers for minutes.
    // It ends a connection whose sent data stays unacknowledged, or whose window stays shut, for so long.
    if let Err(e) = SockRef::from(stream).set_tcp_user_timeout(Some(stall)) {
        tracing::debug!("TCP_USER_TIMEOUT refused: {e}");
    }
}

async fn connection<A: Acceptor>(
    acceptor: &A,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    shutdown: CancellationToken,
) {
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => {
            tracing::debug!(client = %peer.ip(), "handshake failed: {e}");
            return;
        }
        Err(_) => return,
    };
    let peer = Peer(peer.ip());
    let reading_on = TaskTracker::new();
    let service = service_fn(move |request: Request<Incoming>| {
        // Who waits for leave to send is not asked for what nobody wants.
        let waits = request.headers().contains_key(header::EXPECT);
        let mut request = if waits {
            request.map(Body::new)
        } else {
            request.map(|body| Body::new(Drained::new(body, reading_on.clone())))
        };
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES)
        // hyper would take the time from the system's clock; ours is written where answers pass.
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(e) = result {
        tracing::debug!("connection ended: {e}");
    }
}

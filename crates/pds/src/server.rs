//! Takes connections and serves the router on them with hyper, no layer between.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, http::header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::drain::Drained;

/// Connections at once. Each idle one costs some 20 KiB; the kernel's queue holds further ones back.
const CONNECTIONS_MAX: usize = 1024;

/// A request head must be complete this long after the connection became free for one; it also ends idle keep-alive
/// connections. Browsers and Node agents keep sockets for about a minute.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// Read and write buffer of a connection, bytes: enough to take a large upload in few reads, small enough that a
/// thousand connections fit the memory of the smallest board.
const BUFFER_BYTES: usize = 64 * 1024;

/// Pause after `accept` failed, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long running requests may take to finish once the end was asked for.
const DRAIN: Duration = Duration::from_secs(5);

/// The address of the other end of the connection. Which address is the client's behind a proxy is decided by whoever
/// reads this, not here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Serves until `shutdown`, then lets running requests finish for a moment.
pub(crate) async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            // Finished connections are taken out as they end, so that the set does not grow.
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let router = router.clone();
                let shutdown = shutdown.clone();
                connections.spawn(async move {
                    let _place = place;
                    connection(stream, peer, router, shutdown).await;
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
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, shutdown: CancellationToken) {
    // Answers are written whole; waiting to merge them with later ones would only delay them.
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!("TCP_NODELAY refused: {e}");
    }
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

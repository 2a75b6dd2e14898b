//! What turns an accepted connection into the stream that HTTP is spoken on: nothing now, TLS one day.
//!
//! The seam is here so that certificates can be swapped while the server runs: an acceptor looks them up anew at each
//! handshake, and nothing behind it knows.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// Makes the stream of an accepted connection.
pub trait Acceptor: Send + Sync + 'static {
    /// What HTTP is spoken on.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Does the handshake. It runs in the connection's own task and is given up after a while.
    ///
    /// # Errors
    /// When the other side does not play along; the connection is dropped.
    fn accept(&self, stream: TcpStream) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// Plain HTTP: behind a reverse proxy, or at home.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Acceptor for Plain {
    type Stream = TcpStream;

    fn accept(&self, stream: TcpStream) -> impl Future<Output = io::Result<TcpStream>> + Send {
        std::future::ready(Ok(stream))
    }
}

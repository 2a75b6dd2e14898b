//! Reads on what a handler left unread of a request body, so that the client gets to see the answer.
//!
//! A server that answers early, such as to an expired token before a large upload, and then closes resets the
//! connection under a client that still sends: many clients then report a broken connection and never read the answer.
//! The reference reads such bodies to their end as well. Nothing of what is read here is kept.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Bytes, HttpBody};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio_util::task::TaskTracker;

/// How much is read on, bytes: the largest upload that honest clients begin.
const DRAINED_BYTES_MAX: u64 = crate::config::BLOB_BYTES_MAX;

/// How long it may take: who is slower than this has had the time to look at the answer.
const DRAIN_TIME: Duration = Duration::from_secs(20);

/// A request body that is read to its end after it was dropped.
#[derive(Debug)]
pub(crate) struct Drained {
    body: Option<Incoming>,
    tasks: TaskTracker,
}

impl Drained {
    /// Wraps a body; `tasks` is where the reading on happens.
    pub(crate) fn new(body: Incoming, tasks: TaskTracker) -> Self {
        Self { body: Some(body), tasks }
    }
}

impl HttpBody for Drained {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        // Larger than will be read: the connection is closed at once, as hyper does by itself.
        if body.size_hint().lower() <= DRAINED_BYTES_MAX && tokio::runtime::Handle::try_current().is_ok() {
            self.tasks.spawn(async move {
                // Out of time it ends as without us: by a closed connection.
                let _in_time = tokio::time::timeout(DRAIN_TIME, read_on(body)).await;
            });
        }
    }
}

async fn read_on(mut body: Incoming) {
    let mut left = DRAINED_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(u64::try_from(bytes).unwrap_or(u64::MAX)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

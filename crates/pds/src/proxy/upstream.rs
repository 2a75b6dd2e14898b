//! One call to another server: sent and received as streams, under limits of time, size and number.
//!
//! Nothing is kept but the piece under way. When the client goes away, its answer is dropped, and with it the
//! connection to the other server.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Method, StatusCode, header},
    response::Response,
};
use futures_util::{Stream, stream};
use platform::time::Clock;
use reqwest::Url;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::{
    headers,
    places::{Caller, Place, Places},
};
use crate::{
    error::XrpcError,
    input::{content_length, next_data},
    outbound::{self, OutboundError, Reach},
    store_error::chain,
};

/// How long the other server may take to begin its answer once it has the whole call, as in the reference.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the call's body may stand still on its way up. A little more than a silent client is given, so that the
/// one who is to blame is told.
const UPLOAD_STALL: Duration = Duration::from_secs(35);
/// How long the answer may stand still, as in the reference.
const ANSWER_STALL: Duration = Duration::from_secs(30);
/// How long a whole call may take: a server that sends a byte now and then must not hold a place for ever.
const CALL_TIME_MAX: Duration = Duration::from_secs(600);
/// Largest body that goes up, bytes. Media goes to its service directly; what is passed on are questions and records.
const CALL_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Largest answer that comes down, bytes, as in the reference; a longer one is broken off.
const ANSWER_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Answers that are read whole at once, each with its tree some ten times its size.
const MERGES_MAX: usize = 4;

/// The clients, and the places for calls.
#[derive(Debug)]
pub(crate) struct Upstreams {
    /// For servers that the owner named.
    configured: reqwest::Client,
    /// For servers that DID documents name.
    public: reqwest::Client,
    places: Places,
    /// Places of answers that are read whole.
    pub(super) merges: Semaphore,
}

/// A call as it goes up.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) caller: Caller,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) reach: Reach,
    pub(super) headers: HeaderMap,
    pub(super) body: Sent,
}

/// A call's body.
#[derive(Debug)]
pub(crate) enum Sent {
    /// None at all.
    Nothing,
    /// One that was read here.
    Bytes(Bytes),
    /// The client's, as it comes.
    Stream(Body),
}

impl Upstreams {
    /// Prepares the clients.
    ///
    /// # Errors
    /// When they cannot be made.
    pub(crate) fn new(clock: Clock) -> Result<Self, OutboundError> {
        Ok(Self {
            configured: outbound::streaming_client(Reach::Configured, clock.clone())?,
            public: outbound::streaming_client(Reach::Public, clock)?,
            places: Places::default(),
            merges: Semaphore::new(MERGES_MAX),
        })
    }

    /// Sends a call and waits for the beginning of its answer.
    ///
    /// # Errors
    /// 502 `UpstreamFailure` when the other server cannot be reached or breaks off, 504 `UpstreamTimeout` when it is
    /// slow; 413, 400 and 408 for what the client did to its body; 503 when too many calls are under way.
    pub(super) async fn send(&self, call: Outgoing) -> Result<Answer, XrpcError> {
        let place = self.places.take(call.caller)?;
        let deadline = Instant::now() + CALL_TIME_MAX;
        let announced = content_length(&call.headers);
        if announced.is_some_and(|bytes| bytes > CALL_BYTES_MAX) {
            return Err(XrpcError::payload_too_large(CALL_BYTES_MAX));
        }
        let mut request = reqwest::Request::new(call.method, call.url);
        *request.headers_mut() = call.headers;
        let upload = Arc::new(Upload::default());
        match call.body {
            Sent::Nothing => upload.end(),
            Sent::Bytes(bytes) => {
                upload.end();
                *request.body_mut() = Some(bytes.into());
            }
            Sent::Stream(body) => {
                let pieces = Arc::clone(&upload).pieces(body, announced);
                *request.body_mut() = Some(reqwest::Body::wrap_stream(pieces));
            }
        }
        let client = match call.reach {
            Reach::Configured => &self.configured,
            Reach::Public => &self.public,
        };
        let response = upload.watch(client.execute(request), deadline).await?;
        Answer::new(response, deadline, place)
    }
}

/// How a body's way up goes on; shared by the stream and by whoever waits for the answer.
#[derive(Debug)]
struct Upload {
    moved_at: Mutex<Instant>,
    ended: AtomicBool,
    failure: Mutex<Option<XrpcError>>,
}

impl Default for Upload {
    fn default() -> Self {
        Self {
            moved_at: Mutex::new(Instant::now()),
            ended: AtomicBool::new(false),
            failure: Mutex::default(),
        }
    }
}

/// Tells the HTTP client to give the call up; why is in [`Upload::failure`].
#[derive(Debug, thiserror::Error)]
#[error("the body broke off")]
struct BrokenBody;

impl Upload {
    fn moved(&self) {
        *self.moved_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn end(&self) {
        self.moved();
        self.ended.store(true, Ordering::Release);
    }

    fn fail(&self, why: XrpcError) -> BrokenBody {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        BrokenBody
    }

    /// The moment at which waiting is over if nothing moves.
    fn ends_at(&self) -> Instant {
        let limit = if self.ended.load(Ordering::Acquire) { HEAD_TIMEOUT } else { UPLOAD_STALL };
        *self.moved_at.lock().unwrap_or_else(PoisonError::into_inner) + limit
    }

    /// The client's body, piece by piece; `announced` is the length that it shall have.
    fn pieces(
        self: Arc<Self>,
        body: Body,
        announced: Option<u64>,
    ) -> impl Stream<Item = Result<Bytes, BrokenBody>> {
        stream::try_unfold((self, body, 0_u64), move |(upload, mut body, sent)| async move {
            upload.moved();
            let piece = match next_data(&mut body).await {
                Ok(Some(piece)) => piece,
                Ok(None) => {
                    upload.end();
                    return Ok(None);
                }
                Err(why) => return Err(upload.fail(why)),
            };
            let sent = sent.saturating_add(piece.len() as u64);
            if sent > CALL_BYTES_MAX {
                return Err(upload.fail(XrpcError::payload_too_large(CALL_BYTES_MAX)));
            }
            // Nobody asks for the end of a body whose length is known.
            if announced == Some(sent) {
                upload.end();
            } else {
                upload.moved();
            }
            Ok(Some((piece, (upload, body, sent))))
        })
    }

    /// Waits for the answer as long as the body moves.
    async fn watch(
        &self,
        sending: impl Future<Output = Result<reqwest::Response, reqwest::Error>>,
        deadline: Instant,
    ) -> Result<reqwest::Response, XrpcError> {
        let mut sending = pin!(sending);
        loop {
            match timeout_at(self.ends_at().min(deadline), sending.as_mut()).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(e)) => {
                    let client = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
                    return Err(client.unwrap_or_else(|| unreachable(e)));
                }
                // The body went on while this waited.
                Err(_) if self.ends_at().min(deadline) > Instant::now() => {}
                Err(_) => return Err(slow("The service did not answer in time")),
            }
        }
    }
}

fn unreachable(err: reqwest::Error) -> XrpcError {
    // The address holds the call's parameters, which are the caller's affair and not the log's.
    XrpcError::upstream("Upstream service unreachable", chain(&err.without_url()))
}

fn slow(message: &'static str) -> XrpcError {
    XrpcError::new(StatusCode::GATEWAY_TIMEOUT, "UpstreamTimeout", message)
}

/// An answer whose beginning has come.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    response: reqwest::Response,
    taken_bytes: u64,
    deadline: Instant,
    _place: Place,
}

/// An answer that was to be read whole.
#[derive(Debug)]
pub(super) enum Collected {
    /// All of it.
    Whole(Vec<u8>),
    /// It is longer than was allowed: what was read, and the rest.
    TooLong(Vec<u8>, Box<Answer>),
}

impl Answer {
    fn new(response: reqwest::Response, deadline: Instant, place: Place) -> Result<Self, XrpcError> {
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_informational() {
            return Err(XrpcError::upstream("Upstream service unreachable", format!("it answered {status}")));
        }
        Ok(Self { status, headers, response, taken_bytes: 0, deadline, _place: place })
    }

    /// Waits for the answer's next piece.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, XrpcError> {
        let until = (Instant::now() + ANSWER_STALL).min(self.deadline);
        let piece = timeout_at(until, self.response.chunk()).await;
        let piece = piece.map_err(|_| slow("The service's answer stopped coming"))?;
        let broken = |e: reqwest::Error| {
            XrpcError::upstream("The service's answer broke off", chain(&e.without_url()))
        };
        let Some(piece) = piece.map_err(broken)? else { return Ok(None) };
        self.taken_bytes = self.taken_bytes.saturating_add(piece.len() as u64);
        if self.taken_bytes > ANSWER_BYTES_MAX { Err(too_large()) } else { Ok(Some(piece)) }
    }

    /// Reads it whole if it has no more than `bytes_max`.
    pub(super) async fn collect(mut self, bytes_max: usize) -> Result<Collected, XrpcError> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await? {
            all.extend_from_slice(&piece);
            if all.len() > bytes_max {
                return Ok(Collected::TooLong(all, Box::new(self)));
            }
        }
        Ok(Collected::Whole(all))
    }

    /// Passes it down as it is, after what was already read of it.
    ///
    /// # Errors
    /// 502 when it says itself that it is too large.
    pub(super) fn into_response(self, begun: Vec<u8>) -> Result<Response, XrpcError> {
        let announced = content_length(&self.headers).unwrap_or(0);
        if announced > ANSWER_BYTES_MAX {
            return Err(too_large());
        }
        let (status, headers) = (self.status, headers::down(&self.headers));
        let first = stream::iter((!begun.is_empty()).then(|| Ok(Bytes::from(begun))));
        let rest = stream::try_unfold(self, |mut answer| async move {
            match answer.next().await {
                Ok(piece) => Ok(piece.map(|piece| (piece, answer))),
                Err(why) => {
                    // The head is out: breaking the connection is the only way to say that this is not all.
                    tracing::warn!("an answer that was passed on is cut off: {why}");
                    Err(why)
                }
            }
        });
        let mut response = Response::new(Body::from_stream(futures_util::StreamExt::chain(first, rest)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// Makes an answer of a body that was read here, with the headers that it came with.
pub(super) fn whole(status: StatusCode, from: &HeaderMap, body: Vec<u8>) -> Response {
    let mut headers = headers::down(from);
    headers.remove(header::CONTENT_LENGTH);
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn too_large() -> XrpcError {
    XrpcError::upstream(
        "The service's answer is too large",
        format!("it is larger than {ANSWER_BYTES_MAX} bytes"),
    )
}

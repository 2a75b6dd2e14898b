//! The firehose: what the log holds after the subscriber's cursor, then live events, in order, none lost and none twice.
//!
//! The store's subscription moves through log and live events without a seam. Here are the protocol's rules about
//! cursors, the pings, and the bounds on a subscriber that does not keep up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Bytes,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    response::Response,
};
use futures_util::SinkExt;
use store::{Event, StoreError, Subscription};
use tokio::time::{Instant, timeout};

use crate::{app::App, error::XrpcError, limits};

/// Subscribers at once. Relays, a few labelers and tools; each costs some 100 KiB of buffers.
const SUBSCRIBERS_MAX: usize = 64;

/// Events sent before the socket is flushed, when that many are waiting.
const BATCH_MAX: usize = 64;

/// Events that a live subscriber may be behind, as the reference.
const BEHIND_MAX: u64 = 500;

/// How long it may be further behind than [`BEHIND_MAX`] before it is told `ConsumerTooSlow`. A burst of writes puts
/// even a good consumer behind for a moment; one that stays there is better off with a new start at its cursor.
const BEHIND_TIME_MAX: Duration = Duration::from_secs(5);

/// A ping goes out after this much time, and a subscriber from which nothing came for [`SILENCE_MAX`] is closed: a
/// relay whose cable was pulled must not hold its place for ever.
const PING_EVERY: Duration = Duration::from_secs(30);

/// See [`PING_EVERY`].
const SILENCE_MAX: Duration = Duration::from_secs(90);

/// A socket that takes nothing for this long is closed.
const SEND_MAX: Duration = Duration::from_secs(30);

/// How often a send that waits is looked at.
const SEND_CHECK: Duration = Duration::from_millis(500);

/// How long the goodbye may take: one that was too slow needs time to take what is on the way before it.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// How long the goodbye may take when the server stops and its owner waits.
const CLOSE_AT_SHUTDOWN_MAX: Duration = Duration::from_secs(1);

/// WebSocket buffers, bytes: subscribers send nothing but pongs; we send frames of up to 2 MB, flushed in batches.
const READ_BUFFER_BYTES: usize = 4 * 1024;
const WRITE_BUFFER_BYTES: usize = 32 * 1024;
const WRITE_BUFFER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Largest message taken from a subscriber, bytes.
const INCOMING_BYTES_MAX: usize = 4 * 1024;

/// Counts the subscribers of one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscribers(Arc<AtomicUsize>);

impl Subscribers {
    /// How many there are now.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn enter(&self) -> Option<Place> {
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < SUBSCRIBERS_MAX).then_some(n + 1));
        taken.ok().map(|_| Place(self.clone()))
    }
}

/// One subscriber's place; dropping it frees it.
struct Place(Subscribers);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers the upgrade and serves the events after `cursor`; none means: from now on. Holds the client's place as long.
///
/// # Errors
/// 503 when all places are taken.
pub(crate) fn accept(
    app: Arc<App>,
    upgrade: WebSocketUpgrade,
    cursor: Option<u64>,
    of_client: Option<limits::places::Place>,
) -> Result<Response, XrpcError> {
    let place = app.subscribers.enter().ok_or_else(|| {
        XrpcError::unavailable("TooManySubscribers", "All firehose places of this server are taken", 60)
    })?;
    let tasks = app.tasks.clone();
    Ok(upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(INCOMING_BYTES_MAX)
        .on_upgrade(move |socket| {
            tasks.track_future(async move {
                let mut subscriber = Subscriber { socket, heard: Instant::now(), pace: Pace::default() };
                let end = tokio::select! {
                    end = subscriber.run(&app, cursor) => end,
                    () = app.shutdown.cancelled() => End::Shutdown,
                };
                // The place is free at once: whoever says goodbye is no subscriber any more.
                drop((place, of_client));
                subscriber.close(end).await;
            })
        }))
}

/// Why a subscription ends.
#[derive(Debug)]
enum End {
    /// The other side is gone or silent.
    Gone,
    /// The server stops; the subscriber may come again at once.
    Shutdown,
    /// Told by an error frame.
    Error(&'static str, &'static str),
    /// The log could not be read.
    Internal(StoreError),
}

struct Subscriber {
    socket: WebSocket,
    /// When anything last came from the subscriber.
    heard: Instant,
    pace: Pace,
}

/// Whether a subscriber keeps up.
#[derive(Debug, Default)]
struct Pace {
    /// It has caught up with the newest event once; before that it reads the log and may take its time.
    live: bool,
    /// Since when it has been further behind than [`BEHIND_MAX`].
    far_since: Option<Instant>,
}

impl Pace {
    /// Takes a new look; true when the subscriber is too slow.
    fn is_too_slow(&mut self, behind: u64) -> bool {
        self.live |= behind == 0;
        if !self.live || behind <= BEHIND_MAX {
            self.far_since = None;
            return false;
        }
        self.far_since.get_or_insert_with(Instant::now).elapsed() > BEHIND_TIME_MAX
    }
}

impl Subscriber {
    async fn run(&mut self, app: &App, cursor: Option<u64>) -> End {
        match self.start(app, cursor).await {
            Ok(subscription) => self.follow(subscription).await,
            Err(end) => end,
        }
    }

    /// Applies the protocol's rules about cursors.
    async fn start(&mut self, app: &App, cursor: Option<u64>) -> Result<Subscription, End> {
        let last = app.store.last_seq();
        let Some(cursor) = cursor else { return Ok(app.store.subscribe(last)) };
        if cursor > last {
            return Err(End::Error("FutureCursor", "Cursor in the future."));
        }
        let oldest = app.store.read(|r| r.oldest_seq()).await.map_err(End::Internal)?;
        // Cursor 0 asks for all there is and misses nothing that it counts on.
        if cursor > 0 && oldest.is_some_and(|oldest| cursor.saturating_add(1) < oldest) {
            let text = "Requested cursor exceeded limit. Possibly missing events";
            self.send(atproto::event::info_frame("OutdatedCursor", text)).await?;
        }
        Ok(app.store.subscribe(cursor))
    }

    /// Sends events, answers pings, and notices a subscriber that is gone or too slow.
    async fn follow(&mut self, mut subscription: Subscription) -> End {
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut unflushed = 0;
        loop {
            let step = tokio::select! {
                event = subscription.next() => self.forward(&mut subscription, event, &mut unflushed).await,
                message = self.socket.recv() => self.hear(message.as_ref()),
                _ = ping.tick() => self.ping().await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn forward(
        &mut self,
        subscription: &mut Subscription,
        event: Result<Option<Event>, StoreError>,
        unflushed: &mut usize,
    ) -> Result<(), End> {
        let event = event.map_err(End::Internal)?.ok_or(End::Shutdown)?;
        *unflushed += 1;
        let behind = subscription.behind();
        let message = Message::Binary(event.frame);
        if behind == 0 || *unflushed >= BATCH_MAX {
            *unflushed = 0;
            send_while(self.socket.send(message), &mut self.pace, subscription).await
        } else {
            send_while(self.socket.feed(message), &mut self.pace, subscription).await
        }
    }

    /// Notes a sign of life. What a subscriber says has no meaning here.
    fn hear(&mut self, message: Option<&Result<Message, axum::Error>>) -> Result<(), End> {
        match message {
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(End::Gone),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_) | Message::Binary(_))) => {
                self.heard = Instant::now();
                Ok(())
            }
        }
    }

    async fn ping(&mut self) -> Result<(), End> {
        if self.heard.elapsed() > SILENCE_MAX {
            return Err(End::Gone);
        }
        self.send_message(Message::Ping(Bytes::new())).await
    }

    async fn send(&mut self, frame: Bytes) -> Result<(), End> {
        self.send_message(Message::Binary(frame)).await
    }

    async fn send_message(&mut self, message: Message) -> Result<(), End> {
        match timeout(SEND_MAX, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }

    /// Says why, if there is something to say, and closes.
    async fn close(mut self, end: End) {
        tracing::debug!(?end, "subscriber ends");
        let patience = if matches!(end, End::Shutdown) { CLOSE_AT_SHUTDOWN_MAX } else { CLOSE_MAX };
        let frame = match end {
            End::Gone => return,
            End::Shutdown => None,
            End::Error(name, message) => Some(atproto::event::error_frame(name, message)),
            End::Internal(cause) => {
                tracing::error!(
                    error = &cause as &dyn std::error::Error,
                    "the event log cannot be read for a subscriber"
                );
                Some(atproto::event::error_frame("InternalServerError", "The event log cannot be read now"))
            }
        };
        let goodbye = async {
            if let Some(frame) = frame {
                self.socket.send(Message::Binary(frame)).await?;
            }
            self.socket.send(Message::Close(None)).await?;
            // The other side's close ends the exchange; without it some clients report an abnormal end.
            while let Some(Ok(message)) = self.socket.recv().await {
                if matches!(message, Message::Close(_)) {
                    break;
                }
            }
            Ok::<(), axum::Error>(())
        };
        // A subscriber that is gone already has nobody to tell.
        let _told = timeout(patience, goodbye).await;
    }
}

/// Waits for a send, as long as the subscriber is neither stuck nor too far behind.
async fn send_while(
    send: impl Future<Output = Result<(), axum::Error>>,
    pace: &mut Pace,
    subscription: &Subscription,
) -> Result<(), End> {
    let begun = Instant::now();
    let mut send = std::pin::pin!(send);
    loop {
        let sent = timeout(SEND_CHECK, send.as_mut()).await;
        if pace.is_too_slow(subscription.behind()) {
            return Err(End::Error("ConsumerTooSlow", "Stream consumer too slow"));
        }
        match sent {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(_)) => return Err(End::Gone),
            Err(_) if begun.elapsed() > SEND_MAX => return Err(End::Gone),
            Err(_) => {}
        }
    }
}

//! The firehose as a relay reads it: each event checked from the event alone.

use std::time::Duration;

use atproto::{
    event::{CommitEvent, Frame, decode_frame},
    repo::verify_commit_event,
};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::{
    answers,
    harness::{Account, PATIENCE, Pds, post},
};

pub(crate) struct Subscriber(WebSocketStream<TcpStream>);

impl Subscriber {
    pub(crate) async fn new(pds: &Pds, cursor: Option<u64>) -> Self {
        Self::with_buffer(pds, cursor, None).await
    }

    /// A small buffer makes the other side feel soon that nothing is read.
    async fn with_buffer(pds: &Pds, cursor: Option<u64>, bytes: Option<u32>) -> Self {
        let address = pds.url.strip_prefix("http://").unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = bytes {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let stream = socket.connect(address.parse().unwrap()).await.unwrap();
        let query = cursor.map_or(String::new(), |c| format!("?cursor={c}"));
        let url = format!("ws://{address}/xrpc/com.atproto.sync.subscribeRepos{query}");
        let (socket, _) = client_async(url, stream).await.unwrap();
        Self(socket)
    }

    /// The next message, or none when the other side closed.
    async fn message(&mut self) -> Option<Message> {
        match timeout(PATIENCE, self.0.next()).await.expect("in time") {
            None | Some(Err(_)) => None,
            Some(Ok(message)) => Some(message),
        }
    }

    /// The next frame; none at the end.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            match self.message().await? {
                Message::Binary(bytes) => {
                    answers::check_message(&bytes);
                    return Some(decode_frame(&bytes).unwrap());
                }
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    async fn commits(&mut self, count: usize) -> Vec<(u64, CommitEvent)> {
        let mut commits = Vec::new();
        while commits.len() < count {
            if let Frame::Commit { seq, event, .. } = self.frame().await.expect("more events") {
                commits.push((seq, event));
            }
        }
        commits
    }
}

fn seq_of(frame: &Frame) -> u64 {
    match frame {
        Frame::Commit { seq, .. }
        | Frame::Sync { seq, .. }
        | Frame::Identity { seq, .. }
        | Frame::Account { seq, .. } => *seq,
        other => panic!("{other:?}"),
    }
}

fn kind_of(frame: &Frame) -> &'static str {
    match frame {
        Frame::Commit { .. } => "commit",
        Frame::Sync { .. } => "sync",
        Frame::Identity { .. } => "identity",
        Frame::Account { .. } => "account",
        Frame::Info { .. } => "info",
        Frame::Error { .. } => "error",
        Frame::Unknown { .. } => "unknown",
    }
}

#[tokio::test]
async fn every_event_proves_itself_and_follows_the_one_before() {
    let pds = Pds::start().await;
    let mut live = Subscriber::new(&pds, None).await;
    let alice = pds.account("alice").await;
    let mut kinds = Vec::new();
    for _ in 0..4 {
        kinds.push(kind_of(&live.frame().await.unwrap()));
    }
    assert_eq!(kinds, ["identity", "account", "commit", "sync"]);

    for i in 0..20 {
        pds.create_post(&alice, &i.to_string()).await;
    }
    let writes: Vec<_> = (0..30)
        .map(|i| json!({ "$type": "com.atproto.repo.applyWrites#create", "collection": "app.bsky.feed.post", "rkey": format!("k{i}"), "value": post("x") }))
        .collect();
    let body = json!({ "repo": alice.did, "writes": writes, "validate": false });
    pds.post(Some(&alice.access), "com.atproto.repo.applyWrites", &body).await.ok();
    let put = json!({ "repo": alice.did, "collection": "app.bsky.feed.post", "rkey": "k3", "record": post("changed"), "validate": false });
    pds.post(Some(&alice.access), "com.atproto.repo.putRecord", &put).await.ok();
    let delete = json!({ "repo": alice.did, "collection": "app.bsky.feed.post", "rkey": "k4" });
    pds.post(Some(&alice.access), "com.atproto.repo.deleteRecord", &delete).await.ok();

    let key = pds.key_of(&alice.did).await;
    let mut previous: Option<(u64, atproto::repo::Commit)> = None;
    for (seq, event) in live.commits(23).await {
        let commit = verify_commit_event(&event, &key).unwrap();
        if let Some((last_seq, last)) = previous {
            assert!(seq > last_seq);
            assert_eq!((event.since, event.prev_data), (Some(last.rev), Some(last.data)));
        }
        previous = Some((seq, commit));
    }
}

#[tokio::test]
async fn backfill_and_live_join_without_loss_or_repetition() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    for i in 0..150 {
        pds.create_post(&alice, &i.to_string()).await;
    }
    // Subscribers come while posts go on, so that some join between two of them.
    let writer = async {
        for i in 0..150 {
            pds.create_post(&alice, &i.to_string()).await;
        }
    };
    let reader = async {
        let mut subscribers = Vec::new();
        for _ in 0..5 {
            subscribers.push(Subscriber::new(&pds, Some(0)).await);
        }
        for subscriber in &mut subscribers {
            let mut last = 0;
            let mut commits = 0;
            while commits < 301 {
                let frame = subscriber.frame().await.unwrap();
                assert_eq!(seq_of(&frame), last + 1, "no gap: nothing was lost, nothing came twice");
                last = seq_of(&frame);
                commits += usize::from(kind_of(&frame) == "commit");
            }
        }
    };
    tokio::join!(writer, reader);
}

#[tokio::test]
async fn cursor_goes_on_after_it_also_across_a_restart() {
    let mut pds = Pds::start().await;
    let alice = pds.account("alice").await;
    for i in 0..5 {
        pds.create_post(&alice, &i.to_string()).await;
    }
    let seqs: Vec<u64> =
        Subscriber::new(&pds, Some(0)).await.commits(6).await.iter().map(|(seq, _)| *seq).collect();
    pds.restart().await;
    let mut later = Subscriber::new(&pds, Some(seqs[3])).await;
    assert_eq!(later.commits(2).await.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), seqs[4..]);
    pds.create_post(&alice, "after").await;
    assert!(later.commits(1).await[0].0 > seqs[5], "no seq is used again");
}

#[tokio::test]
async fn future_cursor_is_told_and_closed() {
    let pds = Pds::start().await;
    pds.account("alice").await;
    let mut ahead = Subscriber::new(&pds, Some(1_000_000)).await;
    let Some(Frame::Error { error, .. }) = ahead.frame().await else { panic!("an error frame") };
    assert_eq!(error, "FutureCursor");
    assert!(ahead.frame().await.is_none());
    let mut newest = Subscriber::new(&pds, Some(4)).await;
    pds.account("bobby").await;
    assert_eq!(seq_of(&newest.frame().await.unwrap()), 5);
}

#[tokio::test]
async fn cursor_before_the_oldest_event_is_told_once_and_served_from_there() {
    let mut pds = Pds::start().await;
    let alice = pds.account("alice").await;
    for i in 0..10 {
        pds.create_post(&alice, &i.to_string()).await;
    }
    pds.sim.advance(Duration::from_secs(4 * 86_400));
    // The upkeep at the start prunes what is older than three days, but for the newest event.
    pds.restart().await;
    let first = async {
        loop {
            let mut old = Subscriber::new(&pds, Some(1)).await;
            match old.frame().await.unwrap() {
                Frame::Info { name, .. } => return (name, old.frame().await.unwrap()),
                _ => tokio::task::yield_now().await,
            }
        }
    };
    let (name, next) = timeout(PATIENCE, first).await.unwrap();
    assert_eq!((name.as_str(), seq_of(&next)), ("OutdatedCursor", 14));
    assert_eq!(
        seq_of(&Subscriber::new(&pds, Some(0)).await.frame().await.unwrap()),
        14,
        "cursor 0 expects nothing"
    );
}

#[tokio::test]
async fn ping_is_answered_and_shutdown_says_goodbye() {
    let mut pds = Pds::start().await;
    let mut subscriber = Subscriber::new(&pds, None).await;
    subscriber.0.send(Message::Ping(vec![1, 2, 3].into())).await.unwrap();
    let pong = loop {
        match subscriber.message().await.unwrap() {
            Message::Pong(bytes) => break bytes,
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(&pong[..], [1, 2, 3]);
    let (_, end) = tokio::join!(pds.stop(), subscriber.frame());
    assert!(end.is_none());
}

/// Writes large posts until the subscriber, which reads nothing, must be too slow.
async fn flood(pds: &Pds, account: &Account) {
    let large = json!({ "$type": "com.example.large", "text": "x".repeat(40_000) });
    for _ in 0..600 {
        pds.create(account, &large).await.ok();
    }
}

#[tokio::test]
async fn slow_consumer_is_told_and_others_do_not_feel_it() {
    let mut pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let mut slow = Subscriber::with_buffer(&pds, None, Some(8 * 1024)).await;
    let mut good = Subscriber::new(&pds, None).await;
    let (_, commits) = tokio::join!(flood(&pds, &alice), good.commits(600));
    assert_eq!(commits.len(), 600);
    pds.wait_status(|s| s.subscribers == 1).await;
    // It reads again only now, and finds the end after what was on the way.
    let mut last = None;
    while let Some(frame) = slow.frame().await {
        last = Some(frame);
    }
    assert!(
        matches!(last, Some(Frame::Error { ref error, .. }) if error == "ConsumerTooSlow"),
        "{:?}",
        last.map(|f| kind_of(&f))
    );
}

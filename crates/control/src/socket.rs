//! Sockets on which our programs ask each other: the kernel tells who asks, and everything has a limit.
//!
//! One request and one reply at a time. Who may ask what is the caller's function; nothing here decides.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use platform::{CodeOffer, CodeScreen, DeviceError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::request::{FRAME_BYTES_MAX, FrameError, Reply, Request, receive, send};

/// Peers that are served at once. Ours are three; a fourth that opens sockets and says nothing must not keep them out for
/// longer than [`TALK`].
const PEERS_MAX: usize = 16;

/// How long one peer may talk: a local request takes a millisecond.
const TALK: Duration = Duration::from_secs(5);

/// How long a reply is awaited.
const REPLY_WAIT: Duration = Duration::from_secs(5);

/// Why a request got no reply.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("nobody listens at {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The talk broke.
    #[error("the talk with the other program broke")]
    Frame(#[from] FrameError),
    /// The socket was closed without a reply.
    #[error("no reply came")]
    NoReply,
}

/// Makes a socket that users with `mode` may connect to, in place of one that an earlier program left.
///
/// # Errors
/// When the folder does not take it.
pub fn bind(path: &Path, mode: u32) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Answers requests until `shutdown`. `answer` gets the asking user's number; it must not wait.
pub async fn serve<F>(listener: UnixListener, answer: F, shutdown: CancellationToken)
where
    F: Fn(u32, Request) -> Reply + Clone + Send + Sync + 'static,
{
    let mut peers = JoinSet::new();
    loop {
        let full = peers.len() >= PEERS_MAX;
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = peers.join_next() => {}
            accepted = listener.accept(), if !full => match accepted {
                Ok((stream, _)) => {
                    let answer = answer.clone();
                    peers.spawn(async move {
                        let _slow = timeout(TALK, talk(stream, answer)).await.is_err();
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a request cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

/// Talks to one peer until it closes, says something wrong, or has talked long enough.
async fn talk<F: Fn(u32, Request) -> Reply>(mut stream: UnixStream, answer: F) {
    let Ok(peer) = stream.peer_cred() else { return };
    while let Ok(Some(frame)) = frame(&mut stream).await {
        let reply = match receive::<Request>(&mut frame.as_slice()) {
            Ok(Some(request)) => answer(peer.uid(), request),
            Ok(None) => return,
            Err(error) => Reply::Refused { why: error.to_string() },
        };
        let mut bytes = Vec::new();
        if send(&mut bytes, &reply).is_err() || stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Reads a frame with its length in front; its length is checked before anything is taken for it.
async fn frame(stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut frame = vec![0_u8; 4];
    match stream.read_exact(&mut frame).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    let length: [u8; 4] = frame.as_slice().try_into().unwrap_or_default();
    let length = u32::from_be_bytes(length);
    if length > FRAME_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let limit = u64::from(length);
    if stream.take(limit).read_to_end(&mut frame).await? as u64 != limit {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(frame))
}

/// Asks the program at `path` and waits for its reply, at most five seconds.
///
/// # Errors
/// [`AskError`]; whether the request was carried out is then not known.
pub fn ask(path: &Path, request: &Request) -> Result<Reply, AskError> {
    let connect = || {
        let stream = std::os::unix::net::UnixStream::connect(path)?;
        stream.set_read_timeout(Some(REPLY_WAIT))?;
        stream.set_write_timeout(Some(REPLY_WAIT))?;
        Ok(stream)
    };
    let mut stream = connect().map_err(|source| AskError::Connect { path: path.to_owned(), source })?;
    send(&mut stream, request)?;
    receive(&mut stream)?.ok_or(AskError::NoReply)
}

/// The box's screen as the PDS sees it: offers cross to the supervisor.
#[derive(Clone, Debug)]
pub struct SupervisorScreen {
    path: PathBuf,
}

impl SupervisorScreen {
    /// Names the supervisor's socket.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl CodeScreen for SupervisorScreen {
    fn offer(&self, offer: CodeOffer) -> Result<(), DeviceError> {
        let failed = |source| DeviceError::new("screen", "show a code", source);
        let request = Request::OfferCode {
            purpose: offer.purpose.to_owned(),
            account: offer.account,
            code: offer.code.expose().to_owned(),
        };
        match ask(&self.path, &request).map_err(|error| failed(io::Error::other(error)))? {
            Reply::Done => Ok(()),
            Reply::Refused { why } => Err(failed(io::Error::other(why))),
            Reply::Proofs { .. } => Err(failed(io::ErrorKind::InvalidData.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::{Arc, Mutex};

    use platform::ShownCode;

    use super::*;

    struct Served {
        path: PathBuf,
        seen: Arc<Mutex<Vec<(u32, Request)>>>,
        _folder: tempfile::TempDir,
        _runtime: tokio::runtime::Runtime,
    }

    fn served() -> Served {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        std::fs::write(&path, "left by an earlier program").unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (into, entered) = (Arc::clone(&seen), runtime.enter());
        let listener = bind(&path, 0o600).unwrap();
        drop(entered);
        let answer = move |uid, request| {
            into.lock().unwrap().push((uid, request));
            Reply::Done
        };
        let serving = serve(listener, answer, CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn_on(serving, runtime.handle());
        tasks.detach_all();
        Served { path, seen, _folder: folder, _runtime: runtime }
    }

    #[test]
    fn a_request_arrives_with_the_user_that_the_kernel_names() {
        let served = served();
        assert_eq!(ask(&served.path, &Request::Restart).unwrap(), Reply::Done);
        use std::os::unix::fs::MetadataExt;
        let own = std::fs::metadata("/proc/self").unwrap().uid();
        assert_eq!(*served.seen.lock().unwrap(), [(own, Request::Restart)]);
        assert_eq!(std::fs::metadata(&served.path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_code_crosses_to_the_screen() {
        let served = served();
        let offer = CodeOffer {
            purpose: platform::codes::PURPOSES[0],
            account: "alice.test".to_owned(),
            code: ShownCode::new("ABCDE-FGHIJ".to_owned()),
        };
        SupervisorScreen::new(served.path.clone()).offer(offer.clone()).unwrap();
        let seen = served.seen.lock().unwrap();
        assert!(matches!(&seen[0].1, Request::OfferCode { code, .. } if code == "ABCDE-FGHIJ"));
        assert!(SupervisorScreen::new("/nowhere/control.sock".into()).offer(offer).is_err());
    }

    #[test]
    fn nonsense_is_refused_and_a_long_frame_closes_the_socket_unread() {
        let served = served();
        let mut stream = std::os::unix::net::UnixStream::connect(&served.path).unwrap();
        stream.write_all(b"\0\0\0\x0d\"format-disk\"").unwrap();
        assert!(matches!(receive::<Reply>(&mut stream).unwrap(), Some(Reply::Refused { .. })));
        stream.write_all(&[0xff, 0xff, 0xff, 0xff]).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
        assert!(served.seen.lock().unwrap().is_empty());
        assert_eq!(ask(&served.path, &Request::Restart).unwrap(), Reply::Done, "others are served on");
    }
}

//! The guard's control socket: few requests, each length-limited, from root alone.
//!
//! A confirmed date becomes the time, and a list of servers gets a vote: so only the supervisor (root) and the guard's
//! own user may ask. It passes requests on and decides nothing about time.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use control::request::{self, FRAME_BYTES_MAX, Reply, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::names::{NTP_PORT, host_and_port};
use crate::outlet::FileOutlet;
use crate::policy::OWNER_SLACK_US;
use crate::run::Command;

/// The socket, in the run folder.
pub const SOCKET_FILE: &str = "control.sock";

/// Servers that DHCP named, in the run folder: after a restart of the guard they are asked again.
pub const GIVEN_FILE: &str = "given-servers.json";

/// Connections at a time. The supervisor needs one.
const PEERS_MAX: usize = 8;

/// How long a peer may take for a request, or leave its connection idle.
const PEER_WAIT: Duration = Duration::from_secs(10);

/// Names that are taken from one list; the policy asks fewer.
const GIVEN_NAMES_MAX: usize = 8;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The path cannot be bound.
    #[error("cannot listen on {}", path.display())]
    Bind {
        /// The path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// A socket that listens.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    own_uid: u32,
    run_dir: PathBuf,
    use_dhcp: bool,
}

impl ControlSocket {
    /// Listens in the run folder; what an earlier guard left there is replaced.
    ///
    /// # Errors
    /// [`SocketError::Bind`].
    pub fn bind(run_dir: &Path, use_dhcp: bool) -> Result<Self, SocketError> {
        let path = run_dir.join(SOCKET_FILE);
        let bind = || {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let listener = UnixListener::bind(&path)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            let own_uid = std::fs::metadata(&path)?.uid();
            Ok(Self { listener, own_uid, run_dir: run_dir.to_owned(), use_dhcp })
        };
        bind().map_err(|source| SocketError::Bind { path: path.clone(), source })
    }

    /// Serves until it is told to stop.
    pub async fn serve(
        self,
        commands: mpsc::Sender<Command>,
        outlet: Arc<FileOutlet>,
        shutdown: CancellationToken,
    ) {
        let mut peers: JoinSet<()> = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(_) = peers.join_next() => continue,
                accepted = self.listener.accept(), if peers.len() < PEERS_MAX => accepted,
            };
            match accepted {
                Ok((stream, _)) if self.may_ask(&stream) => {
                    let peer = Peer {
                        commands: commands.clone(),
                        outlet: outlet.clone(),
                        given: self.run_dir.join(GIVEN_FILE),
                        use_dhcp: self.use_dhcp,
                    };
                    peers.spawn(peer.serve(stream));
                }
                // Closed without a word: whoever it is has no business here.
                Ok((stream, _)) => drop(stream),
                Err(error) => {
                    tracing::error!(%error, "the control socket cannot accept");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    fn may_ask(&self, stream: &UnixStream) -> bool {
        match stream.peer_cred() {
            Ok(peer) if is_allowed(peer.uid(), self.own_uid) => true,
            Ok(peer) => {
                tracing::warn!(uid = peer.uid(), "a stranger at the control socket");
                false
            }
            Err(error) => {
                tracing::warn!(%error, "a peer at the control socket that cannot be told");
                false
            }
        }
    }
}

/// Gives the servers that DHCP named in this run folder, before a restart of the guard.
#[must_use]
pub fn given_before(run_dir: &Path) -> Vec<String> {
    control::file::read(&run_dir.join(GIVEN_FILE)).ok().flatten().unwrap_or_default()
}

/// Whether a user may ask: root, and the guard's own.
fn is_allowed(uid: u32, own_uid: u32) -> bool {
    uid == 0 || uid == own_uid
}

/// One connection.
struct Peer {
    commands: mpsc::Sender<Command>,
    outlet: Arc<FileOutlet>,
    given: PathBuf,
    use_dhcp: bool,
}

/// What a peer sent.
enum Asked {
    Request(Request),
    /// A frame that is too long, or no request: the stream is of no use afterwards.
    Broken,
    End,
}

impl Peer {
    async fn serve(self, mut stream: UnixStream) {
        loop {
            let (reply, ends) = match timeout(PEER_WAIT, receive(&mut stream)).await {
                Ok(Asked::Request(request)) => (self.answer(request), false),
                Ok(Asked::Broken) => (refused("This is no request that the time guard knows."), true),
                Ok(Asked::End) | Err(_) => return,
            };
            let mut wire = Vec::new();
            if request::send(&mut wire, &reply).is_err() {
                return;
            }
            let sent = timeout(PEER_WAIT, stream.write_all(&wire)).await;
            if ends || !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    }

    fn answer(&self, request: Request) -> Reply {
        let command = match request {
            Request::NetworkUp => Command::NetworkUp,
            Request::AcceptTime { unix_us } => {
                let asks_us = self.outlet.latest().asks_owner_us;
                if asks_us.is_none_or(|asks_us| asks_us.abs_diff(unix_us) > OWNER_SLACK_US) {
                    return refused(
                        "The time guard does not ask about this date any more: look at the screen.",
                    );
                }
                Command::OwnerAccepts(unix_us)
            }
            Request::TimeServers { servers } if self.use_dhcp => {
                let named = |name: &String| host_and_port(name, NTP_PORT).is_some();
                let servers: Vec<String> = servers.into_iter().filter(named).take(GIVEN_NAMES_MAX).collect();
                if let Err(error) = control::file::replace(&self.given, &servers) {
                    tracing::error!(%error, "after a restart the network's time servers are not known");
                }
                Command::Given(servers)
            }
            // The owner wants none of them; whoever tells need not know.
            Request::TimeServers { .. } => return Reply::Done,
            _ => return refused("This is not the time guard's to do."),
        };
        match self.commands.try_send(command) {
            Ok(()) => Reply::Done,
            Err(_) => refused("The time guard is busy: ask again in a second."),
        }
    }
}

fn refused(why: &str) -> Reply {
    Reply::Refused { why: why.to_owned() }
}

/// Receives one frame and lets `control` read it.
async fn receive(stream: &mut UnixStream) -> Asked {
    let mut length = [0; 4];
    if stream.read_exact(&mut length).await.is_err() {
        return Asked::End;
    }
    let len = u32::from_be_bytes(length);
    if len > FRAME_BYTES_MAX {
        return Asked::Broken;
    }
    let mut wire = length.to_vec();
    match stream.take(u64::from(len)).read_to_end(&mut wire).await {
        Ok(got) if u32::try_from(got) == Ok(len) => {}
        Ok(_) | Err(_) => return Asked::End,
    }
    match request::receive(&mut wire.as_slice()) {
        Ok(Some(request)) => Asked::Request(request),
        Ok(None) | Err(_) => Asked::Broken,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as Client;

    use platform::sim::SimClock;

    use super::*;
    use crate::run::Outlet;

    struct World {
        dir: tempfile::TempDir,
        outlet: Arc<FileOutlet>,
        told: mpsc::Receiver<Command>,
    }

    impl World {
        /// Serves while a client, on its own thread, asks.
        async fn ask<T: Send + 'static>(
            use_dhcp: bool,
            status: control::TimeStatus,
            client: impl FnOnce(Client) -> T + Send + 'static,
        ) -> (Self, T) {
            let dir = tempfile::tempdir().unwrap();
            let boot = Arc::new(SimClock::manual(1_795_401_296_000_000));
            let outlet = Arc::new(FileOutlet::new(boot, dir.path(), dir.path()));
            outlet.status(status);
            let socket = ControlSocket::bind(dir.path(), use_dhcp).unwrap();
            let (commands, told) = mpsc::channel(4);
            let shutdown = CancellationToken::new();
            let path = dir.path().join(SOCKET_FILE);
            let asking = async {
                let asked = tokio::task::spawn_blocking(move || {
                    let stream = Client::connect(path).unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    client(stream)
                });
                let got = asked.await.unwrap();
                shutdown.cancel();
                got
            };
            let ((), got) = tokio::join!(socket.serve(commands, outlet.clone(), shutdown.clone()), asking);
            (Self { dir, outlet, told }, got)
        }

        fn commands(&mut self) -> Vec<Command> {
            std::iter::from_fn(|| self.told.try_recv().ok()).collect()
        }
    }

    fn exchange(stream: &mut Client, request: &Request) -> Reply {
        request::send(stream, request).unwrap();
        request::receive(stream).unwrap().unwrap()
    }

    #[tokio::test]
    async fn requests_become_commands_in_order() {
        let (mut world, replies) = World::ask(true, control::TimeStatus::default(), |mut stream| {
            let servers = ["192.0.2.1", "not a name", "ntp.example"].map(str::to_owned).to_vec();
            let requests = [Request::NetworkUp, Request::TimeServers { servers }, Request::Restart];
            requests.map(|request| exchange(&mut stream, &request))
        })
        .await;
        assert_eq!(replies[0..2], [Reply::Done, Reply::Done]);
        assert!(matches!(replies[2], Reply::Refused { .. }));
        let given = vec!["192.0.2.1".to_owned(), "ntp.example".to_owned()];
        assert_eq!(given_before(world.dir.path()), given);
        assert_eq!(world.commands(), [Command::NetworkUp, Command::Given(given)]);
    }

    #[tokio::test]
    async fn only_the_date_that_is_asked_about_can_be_confirmed() {
        let asks = 1_800_000_000_000_000;
        let status = control::TimeStatus { asks_owner_us: Some(asks), ..Default::default() };
        let (mut world, replies) = World::ask(true, status, move |mut stream| {
            [asks + 60_000_000, asks + 700_000_000, 7]
                .map(|unix_us| exchange(&mut stream, &Request::AcceptTime { unix_us }))
        })
        .await;
        assert_eq!(replies[0], Reply::Done);
        assert!(replies[1..].iter().all(|reply| matches!(reply, Reply::Refused { .. })));
        assert_eq!(world.commands(), [Command::OwnerAccepts(asks + 60_000_000)]);
        assert_eq!(world.outlet.latest().asks_owner_us, Some(asks));
    }

    #[tokio::test]
    async fn servers_of_dhcp_are_not_taken_when_the_owner_wants_none() {
        let (mut world, reply) = World::ask(false, control::TimeStatus::default(), |mut stream| {
            exchange(&mut stream, &Request::TimeServers { servers: vec!["192.0.2.1".to_owned()] })
        })
        .await;
        assert_eq!((reply, world.commands()), (Reply::Done, Vec::new()));
        assert!(given_before(world.dir.path()).is_empty());
    }

    #[tokio::test]
    async fn long_and_senseless_frames_end_the_connection() {
        use std::io::{Read, Write};
        let (mut world, ()) = World::ask(true, control::TimeStatus::default(), |mut stream| {
            stream.write_all(&u32::MAX.to_be_bytes()).unwrap();
            let reply: Option<Reply> = request::receive(&mut stream).unwrap();
            assert!(matches!(reply, Some(Reply::Refused { .. })));
            assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
        })
        .await;
        assert!(world.commands().is_empty());
    }

    #[tokio::test]
    async fn a_socket_that_an_earlier_guard_left_is_replaced_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        drop(ControlSocket::bind(dir.path(), true).unwrap());
        let again = ControlSocket::bind(dir.path(), true).unwrap();
        let mode = std::fs::metadata(dir.path().join(SOCKET_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(is_allowed(0, again.own_uid) && is_allowed(again.own_uid, again.own_uid));
        assert!(!is_allowed(1_234, 990));
    }
}

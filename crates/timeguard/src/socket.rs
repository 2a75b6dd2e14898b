//! The guard's control socket: few requests, from root alone. The talking is `control::socket`'s.
//!
//! A confirmed date becomes the time, and a list of servers gets a vote: so only the supervisor (root) and the guard's
//! own user may ask. It passes requests on and decides nothing about time.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use control::request::{Reply, Request};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::names::{NTP_PORT, host_and_port};
use crate::outlet::FileOutlet;
use crate::policy::OWNER_SLACK_US;
use crate::run::Command;

/// The socket, in the run folder.
pub const SOCKET_FILE: &str = "control.sock";

/// Servers that DHCP named, in the run folder: after a restart of the guard they are asked again.
pub const GIVEN_FILE: &str = "given-servers.json";

/// Who may connect: the socket's owner, and root, whom nothing keeps out.
const SOCKET_MODE: u32 = 0o600;

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
            let listener = control::socket::bind(&path, SOCKET_MODE)?;
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
        let given = self.run_dir.join(GIVEN_FILE);
        let desk = Desk { commands, outlet, given, own_uid: self.own_uid, use_dhcp: self.use_dhcp };
        let answer = move |uid, request| desk.answer(uid, request);
        control::socket::serve(self.listener, answer, shutdown).await;
    }
}

/// Gives the servers that DHCP named in this run folder, before a restart of the guard.
#[must_use]
pub fn given_before(run_dir: &Path) -> Vec<String> {
    control::file::read(&run_dir.join(GIVEN_FILE)).ok().flatten().unwrap_or_default()
}

/// What answers requests.
#[derive(Clone)]
struct Desk {
    commands: mpsc::Sender<Command>,
    outlet: Arc<FileOutlet>,
    given: PathBuf,
    own_uid: u32,
    use_dhcp: bool,
}

impl Desk {
    fn answer(&self, uid: u32, request: Request) -> Reply {
        if uid != 0 && uid != self.own_uid {
            tracing::warn!(uid, "a stranger at the control socket");
            return refused("Only the supervisor may ask the time guard.");
        }
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
            Request::TimeServers { servers } if self.use_dhcp => Command::Given(self.keep(servers)),
            // The owner wants none of them; whoever tells need not know.
            Request::TimeServers { .. } => return Reply::Done,
            _ => return refused("This is not the time guard's to do."),
        };
        match self.commands.try_send(command) {
            Ok(()) => Reply::Done,
            Err(_) => refused("The time guard is busy: ask again in a second."),
        }
    }

    /// Picks what can be a server, and keeps it for a restart of the guard.
    fn keep(&self, servers: Vec<String>) -> Vec<String> {
        let named = |name: &String| host_and_port(name, NTP_PORT).is_some();
        let servers: Vec<String> = servers.into_iter().filter(named).take(GIVEN_NAMES_MAX).collect();
        if let Err(error) = control::file::replace(&self.given, &servers) {
            tracing::error!(%error, "after a restart the network's time servers are not known");
        }
        servers
    }
}

fn refused(why: &str) -> Reply {
    Reply::Refused { why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use platform::sim::SimClock;

    use super::*;
    use crate::run::Outlet;

    struct World {
        dir: tempfile::TempDir,
        desk: Desk,
        told: mpsc::Receiver<Command>,
    }

    impl World {
        fn new(use_dhcp: bool) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let boot = Arc::new(SimClock::manual(1_795_401_296_000_000));
            let outlet = Arc::new(FileOutlet::new(boot, dir.path(), dir.path()));
            let (commands, told) = mpsc::channel(4);
            let given = dir.path().join(GIVEN_FILE);
            Self { dir, desk: Desk { commands, outlet, given, own_uid: 990, use_dhcp }, told }
        }

        fn commands(&mut self) -> Vec<Command> {
            std::iter::from_fn(|| self.told.try_recv().ok()).collect()
        }
    }

    #[test]
    fn requests_become_commands_in_order() {
        let mut world = World::new(true);
        let servers = ["192.0.2.1", "not a name", "ntp.example"].map(str::to_owned).to_vec();
        let requests = [Request::NetworkUp, Request::TimeServers { servers }, Request::Restart];
        let replies = requests.map(|request| world.desk.answer(0, request));
        assert_eq!(replies[0..2], [Reply::Done, Reply::Done]);
        assert!(matches!(replies[2], Reply::Refused { .. }));
        let given = vec!["192.0.2.1".to_owned(), "ntp.example".to_owned()];
        assert_eq!(given_before(world.dir.path()), given);
        assert_eq!(world.commands(), [Command::NetworkUp, Command::Given(given)]);
    }

    #[test]
    fn root_and_the_guards_own_user_may_ask_and_nobody_else() {
        let mut world = World::new(true);
        assert_eq!(
            [0, 990].map(|uid| world.desk.answer(uid, Request::NetworkUp)),
            [Reply::Done, Reply::Done]
        );
        assert_eq!(world.commands().len(), 2);
        assert!(matches!(world.desk.answer(1_234, Request::NetworkUp), Reply::Refused { .. }));
        assert!(world.commands().is_empty());
    }

    #[test]
    fn only_the_date_that_is_asked_about_can_be_confirmed() {
        let asks = 1_800_000_000_000_000;
        let mut world = World::new(true);
        world.desk.outlet.status(control::TimeStatus { asks_owner_us: Some(asks), ..Default::default() });
        let replies = [asks + 60_000_000, asks + 700_000_000, 7]
            .map(|unix_us| world.desk.answer(0, Request::AcceptTime { unix_us }));
        assert_eq!(replies[0], Reply::Done);
        assert!(replies[1..].iter().all(|reply| matches!(reply, Reply::Refused { .. })));
        assert_eq!(world.commands(), [Command::OwnerAccepts(asks + 60_000_000)]);
    }

    #[test]
    fn servers_of_dhcp_are_not_taken_when_the_owner_wants_none() {
        let mut world = World::new(false);
        let reply = world.desk.answer(0, Request::TimeServers { servers: vec!["192.0.2.1".to_owned()] });
        assert_eq!((reply, world.commands()), (Reply::Done, Vec::new()));
        assert!(given_before(world.dir.path()).is_empty());
    }

    #[tokio::test]
    async fn the_socket_in_the_run_folder_answers_and_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let World { dir, desk, mut told } = World::new(true);
        drop(ControlSocket::bind(dir.path(), true).unwrap());
        let socket = ControlSocket::bind(dir.path(), true).unwrap();
        let path = dir.path().join(SOCKET_FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let shutdown = CancellationToken::new();
        let asking = async {
            let ask = move || control::socket::ask(&path, &Request::NetworkUp);
            let reply = tokio::task::spawn_blocking(ask).await.unwrap().unwrap();
            shutdown.cancel();
            reply
        };
        let serving = socket.serve(desk.commands, desk.outlet, shutdown.clone());
        let ((), reply) = tokio::join!(serving, asking);
        assert_eq!((reply, told.try_recv()), (Reply::Done, Ok(Command::NetworkUp)));
    }
}

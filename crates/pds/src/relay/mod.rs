//! Care for the relays: they are asked to crawl this host, watched, and not lost after a restore or a wrong clock.
//!
//! One task, which asks nothing while the clock is not trusted or the network is down. When a relay remembers a larger
//! number than our newest, numbers go on after it before it is called (`store::Store::jump_seq`). Repos that were
//! signed in the future are signed anew as soon as no relay can be confused by it. Why so: `docs/design/003-relay-care.md`.

mod client;
mod plan;
mod repair;
mod words;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use atproto::tid::Tid;
use control::status::{RelayState, RelayStatus};
use platform::time::TrustedTime;
use store::{Ahead, StoreError};

use self::{
    client::{CallError, Client, KnownRev},
    plan::{Asked, Plan, Seen, Step},
    repair::{Decision, Told},
};
use crate::{Platform, app::Shared, store_error::chain};

/// How often the plans are looked at.
const TICK: Duration = Duration::from_millis(500);

/// Relays that are cared for; further ones are left out with a warning. The network has a handful.
const RELAYS_MAX: usize = 16;

/// Pause between two looks for repos that lie ahead, nanoseconds: an indexed look at a small table.
const REPAIR_NS: u64 = 60_000_000_000;

/// Repos that one look cares for; the rest waits for the next.
const REPAIRS_MAX: usize = 16;

/// Pause between two jumps because of the same relay, nanoseconds: one day. An honest relay needs one for each restore;
/// each announces every account anew.
const JUMP_PAUSE_NS: u64 = 24 * 3_600_000_000_000;

/// Events that are counted as missing at a relay; more are told as so many.
const BEHIND_MAX: usize = 10_000;

/// What is known of the relays, for screen and metrics.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Known>);

/// See [`Board`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// One for each configured relay.
    pub(crate) relays: Vec<RelayStatus>,
    /// Repos that were signed in the future and wait for their cure.
    pub(crate) repos_to_repair: u64,
}

impl Board {
    /// What is known now.
    pub(crate) fn known(&self) -> Known {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One relay under care.
#[derive(Debug)]
struct Relay {
    url: String,
    plan: Plan,
    state: RelayState,
    /// Looks in a row that have shown this state.
    looks: u32,
    jumped_ns: Option<u64>,
}

struct Care {
    app: Shared,
    client: Client,
    relays: Vec<Relay>,
    repair_ns: u64,
}

/// Cares until the end.
pub(crate) async fn keep(app: Shared, platform: Platform) {
    let client = match Client::new(host_of(&app.config.public_url), app.clock.clone()) {
        Ok(client) => client,
        Err(error) => {
            tracing::error!("relays cannot be asked: {}", chain(&error));
            return;
        }
    };
    let mut network = platform.network.clone();
    let mut care = Care::new(app, client);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let shutdown = care.app.shutdown.clone();
    let mut was_up = true;
    loop {
        let mut forced = false;
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
            () = asked_to_heal(&platform) => forced = true,
        }
        // A word that says "up" again tells of another network: relays may not know the way there.
        let is_news = network.as_ref().is_some_and(|network| network.has_changed().unwrap_or(false));
        let is_up = network.as_mut().is_none_or(|network| *network.borrow_and_update());
        if is_up && (!was_up || is_news) {
            care.network_is_up();
        }
        was_up = is_up;
        if is_up || forced {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = care.round(forced, is_up) => {}
            }
        }
    }
}

async fn asked_to_heal(platform: &Platform) {
    match &platform.heal {
        Some(heal) => heal.notified().await,
        None => std::future::pending().await,
    }
}

/// Host and port of an address: what relays call a host.
fn host_of(public_url: &str) -> String {
    words::name_of(public_url)
}

impl Care {
    fn new(app: Shared, client: Client) -> Self {
        let now_ns = app.clock.boottime_ns();
        if app.config.crawlers.len() > RELAYS_MAX {
            tracing::warn!("more than {RELAYS_MAX} relays are set; the rest is not asked");
        }
        let relay = |url: &String| Relay {
            url: url.trim_end_matches('/').to_owned(),
            plan: Plan::new(now_ns),
            state: RelayState::Unasked,
            looks: 0,
            jumped_ns: None,
        };
        let relays: Vec<Relay> = app.config.crawlers.iter().take(RELAYS_MAX).map(relay).collect();
        app.relays.lock().relays = relays.iter().map(|relay| words::unasked(&relay.url)).collect();
        Self { app, client, relays, repair_ns: now_ns }
    }

    fn network_is_up(&mut self) {
        let now_ns = self.app.clock.boottime_ns();
        for relay in &mut self.relays {
            relay.plan.network_is_up(now_ns);
        }
    }

    /// Does what is due. Nothing is asked, and nothing signed, without the time.
    async fn round(&mut self, forced: bool, is_up: bool) {
        let Ok(now) = self.app.clock.now() else { return };
        // Before a relay is called: what it fetches then begins with the announcements.
        if self.app.store.owes_announcements() && self.app.store.announce_owed().await.is_err() {
            return;
        }
        for number in 0..self.relays.len() {
            if is_up {
                self.tend(number, now).await;
            }
        }
        let now_ns = self.app.clock.boottime_ns();
        if forced || now_ns >= self.repair_ns {
            self.repair_ns = now_ns.saturating_add(REPAIR_NS);
            if let Err(error) = self.repair(forced).await {
                tracing::warn!("repos that were signed in the future: {}", chain(&error));
            }
        }
    }

    async fn tend(&mut self, number: usize, now: TrustedTime) {
        let (now_ns, last_seq) = (self.app.clock.boottime_ns(), self.app.store.last_seq());
        let Some(relay) = self.relays.get(number) else { return };
        match relay.plan.due(now_ns, last_seq) {
            Some(Step::Look) => self.look(number, now_ns).await,
            Some(Step::Crawl) => self.crawl(number, now_ns, now).await,
            None => {}
        }
    }

    async fn crawl(&mut self, number: usize, now_ns: u64, now: TrustedTime) {
        let last_seq = self.app.store.last_seq();
        let Some(relay) = self.relays.get_mut(number) else { return };
        let outcome = match self.client.request_crawl(&relay.url).await {
            Ok(()) => Asked::Taken,
            Err(error) => {
                tracing::info!(relay = relay.url, "not asked to crawl: {}", chain(&error));
                self.app.metrics.outbound_failed(crate::metrics::Outbound::Relay);
                if error.is("HostBanned") { Asked::Banned } else { Asked::Failed }
            }
        };
        relay.plan.asked(now_ns, last_seq, outcome);
        if outcome == Asked::Banned {
            relay.state = RelayState::Banned;
        }
        let (state, looks) = (relay.state, relay.looks);
        self.show(number, |status| {
            status.state = state;
            status.advice = words::advice(state, looks);
            if outcome == Asked::Taken {
                status.asked_unix_us = Some(now.unix_micros());
            }
        });
    }

    async fn look(&mut self, number: usize, now_ns: u64) {
        let Some(relay) = self.relays.get(number) else { return };
        let answer = self.client.host_status(&relay.url).await;
        if let Err(error) = &answer {
            tracing::debug!(relay = relay.url, "not told how this host stands: {}", chain(error));
            if matches!(error, CallError::Silent(_)) {
                self.app.metrics.outbound_failed(crate::metrics::Outbound::Relay);
            }
        }
        let mut state = words::state_of(&answer);
        let seq = answer.as_ref().ok().and_then(|answer| answer.seq);
        // Ours is read after theirs: it only rises, so that a larger number of theirs was never ours.
        if let Some(theirs) = seq.filter(|seq| *seq > self.app.store.last_seq()) {
            state = self.pass(number, theirs, now_ns).await.unwrap_or(state);
        }
        let behind = match seq {
            Some(seq) => self.app.store.read(move |r| r.count_events_after(seq, BEHIND_MAX)).await.ok(),
            None => None,
        };
        let Some(relay) = self.relays.get_mut(number) else { return };
        relay.plan.looked(now_ns, seen(state, &answer));
        relay.looks = if relay.state == state { relay.looks.saturating_add(1) } else { 1 };
        relay.state = state;
        let looks = relay.looks;
        self.show(number, |status| {
            (status.state, status.seq, status.behind) = (state, seq.or(status.seq), behind);
            status.advice = words::advice(state, looks);
        });
    }

    /// Goes on after a number that a relay remembers. Gives the relay's state if that was not to be.
    async fn pass(&mut self, number: usize, theirs: u64, now_ns: u64) -> Option<RelayState> {
        let relay = self.relays.get_mut(number)?;
        let again = relay.jumped_ns.is_some_and(|at_ns| now_ns.saturating_sub(at_ns) < JUMP_PAUSE_NS);
        if again {
            tracing::warn!(
                relay = relay.url,
                theirs,
                "claims numbers from the future again; not followed today"
            );
            return Some(RelayState::TooFarAhead);
        }
        match self.app.store.jump_seq(theirs).await {
            Ok(Some(jump)) => {
                tracing::warn!(
                    relay = relay.url,
                    from = jump.from,
                    to = jump.to,
                    accounts = jump.accounts,
                    "the relay had seen later events than this box has: numbers go on after them, and every account is \
                     announced anew"
                );
                relay.jumped_ns = Some(now_ns);
                None
            }
            Ok(None) => None,
            Err(error @ StoreError::JumpTooFar { .. }) => {
                tracing::warn!(relay = relay.url, "not followed: {error}");
                Some(RelayState::TooFarAhead)
            }
            Err(error) => {
                tracing::warn!(
                    relay = relay.url,
                    "numbers cannot go on after the relay's: {}",
                    chain(&error)
                );
                None
            }
        }
    }

    /// Signs repos anew that lie ahead, where no relay can be confused by it, or where the owner says so.
    async fn repair(&mut self, forced: bool) -> Result<(), StoreError> {
        let now = self.app.clock.now()?;
        let ahead = self.app.store.read(move |r| r.repos_ahead(now, REPAIRS_MAX)).await?;
        let mut waiting = 0;
        for repo in ahead {
            let decision = if forced { Decision::Heal } else { self.decide(&repo).await? };
            if decision != Decision::Heal {
                tracing::warn!(did = %repo.did, ?decision, "a repo that was signed in the future waits for its cure");
                waiting += 1;
                continue;
            }
            let commit = self.app.store.repair_repo(&repo.did).await?;
            tracing::warn!(did = %repo.did, was = %repo.rev, is = %commit.rev, "a repo that was signed in the future is healed");
        }
        self.app.relays.lock().repos_to_repair = waiting;
        Ok(())
    }

    async fn decide(&self, repo: &Ahead) -> Result<Decision, StoreError> {
        let mut told = Vec::with_capacity(self.relays.len());
        for relay in &self.relays {
            told.push(match self.client.repo_rev(&relay.url, &repo.did).await {
                Ok(KnownRev::Rev(rev)) => Told::Rev(rev),
                Ok(KnownRev::Nothing) => Told::Nothing,
                Ok(KnownRev::NotTold) => Told::Silent,
                Err(error) => {
                    tracing::info!(relay = relay.url, "not told what it has of a repo: {}", chain(&error));
                    Told::Silent
                }
            });
        }
        // After the answers: a revision that passed meanwhile must count.
        let now = self.app.clock.now()?;
        Ok(repair::decide(repo.rev, Tid::at(now, 0), &told))
    }

    fn show(&self, number: usize, change: impl FnOnce(&mut RelayStatus)) {
        if let Some(status) = self.app.relays.lock().relays.get_mut(number) {
            change(status);
        }
    }
}

fn seen(state: RelayState, answer: &Result<client::HostStatus, CallError>) -> Seen {
    match state {
        RelayState::Active | RelayState::NotTold if answer.is_ok() => Seen::Well,
        RelayState::Idle | RelayState::Offline | RelayState::UnknownHost => Seen::Deaf,
        RelayState::Silent | RelayState::NotTold => Seen::Nothing,
        _ => Seen::Trouble,
    }
}

//! Tells screen and panel how the PDS is, once a second and only when it changed.

use std::{sync::atomic::Ordering, time::Duration};

use control::{
    PdsStatus,
    status::{LeftOut, PdsState},
};
use tokio::sync::watch;

use crate::app::Shared;

/// How often the state is looked at. A person who posts looks at the screen about so soon.
const EVERY: Duration = Duration::from_secs(1);

/// Keeps the status fresh until the end.
pub(crate) async fn keep(app: Shared, status: watch::Sender<PdsStatus>) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut seen_seq = None;
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            _ = tick.tick() => {}
        }
        let last_seq = app.store.last_seq();
        // Accounts come and go with events only, so that a quiet server does not read its disk every second.
        let accounts = if seen_seq == Some(last_seq) { None } else { accounts(&app).await };
        seen_seq = accounts.is_some().then_some(last_seq).or(seen_seq);
        let refuses_writes = refusal(&app);
        let care = app.relays.known();
        let last_post_unix_us = Some(app.last_write_us.load(Ordering::Relaxed)).filter(|us| *us > 0);
        status.send_if_modified(|current| {
            let (accounts, name) = accounts.unwrap_or_else(|| (current.accounts, current.name.clone()));
            let new = PdsStatus {
                state: PdsState::Serving,
                name,
                public_url: app.config.public_url.clone(),
                accounts,
                last_post_unix_us: last_post_unix_us.or(current.last_post_unix_us),
                last_seq,
                left_out: app.store.given_up().map(|gone| LeftOut { from: gone.from, to: gone.to }),
                subscribers: u64::try_from(app.subscribers.count()).unwrap_or(u64::MAX),
                refuses_writes,
                repos_to_repair: care.repos_to_repair,
                relays: care.relays.clone(),
                mail: app.mailer.state(),
            };
            let changed = *current != new;
            *current = new;
            changed
        });
    }
}

/// The number of accounts, and the first one's handle or the host name; none when the store does not answer.
async fn accounts(app: &Shared) -> Option<(u64, String)> {
    let hostname = app.config.hostname.clone();
    let read = app.store.read(move |r| {
        let first = r.list_accounts(None, 1)?.into_iter().next();
        Ok((r.count_accounts()?, first.map_or(hostname, |account| account.handle.to_string())))
    });
    read.await.ok()
}

/// Why nothing can be written now, in words for the owner.
fn refusal(app: &Shared) -> Option<String> {
    if app.store.is_full() {
        return Some("The disk is full. Free some room or use a larger disk.".to_owned());
    }
    app.clock.now().err().map(|untrusted| untrusted.why.to_string())
}

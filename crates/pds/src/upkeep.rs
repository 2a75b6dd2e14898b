//! Lets the store remove what has had its time: old events, abandoned uploads, ended sessions.

use std::time::Duration;

use store::{Maintained, StoreError};

use crate::{app::Shared, store_error::chain};

/// Pause between rounds. What a round removes is hours old at least; a shorter pause would only wake the disk.
const EVERY: Duration = Duration::from_secs(5 * 60);

/// Runs a round at the start and then every [`EVERY`], until the end.
pub(crate) async fn keep(app: Shared) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            _ = tick.tick() => {}
        }
        delete_due(&app).await;
        match app.store.maintain().await {
            Ok(done) if done == Maintained::default() => {}
            Ok(done) => tracing::info!(?done, "upkeep of the store"),
            // Ages cannot be told without the time; nothing is urgent.
            Err(StoreError::ClockUntrusted(_)) => {}
            Err(StoreError::Closed) => return,
            Err(e) => tracing::warn!("upkeep of the store failed: {}", chain(&e)),
        }
    }
}

/// Deletes the accounts whose owners switched them off and asked for that.
async fn delete_due(app: &Shared) {
    while let Ok(now) = app.clock.now() {
        match app.store.delete_due_account(now).await {
            Ok(Some(did)) => {
                tracing::info!(
                    did = did.as_str(),
                    "an account was deleted at the time that its owner had set"
                );
            }
            Ok(None) | Err(StoreError::Closed | StoreError::ClockUntrusted(_)) => return,
            Err(e) => {
                tracing::warn!("an account that is due cannot be deleted: {}", chain(&e));
                return;
            }
        }
    }
}

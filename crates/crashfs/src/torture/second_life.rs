//! Trouble that comes twice: the store is started again after a kill or a cut, and then the power is lost.
//!
//! After a kill the system still shows what was never synced, and a store that believes it makes promises about it.
//! During the recovery from a cut the power may go again.

use std::sync::Arc;

use platform::sim::trusted_clock;
use store::Status;

use super::check::{Checker, Expected, OFF_US};
use super::ledger::{SecondLife, Thing};
use super::{TortureError, examine, load};
use crate::Disk;

/// Events that are taken at once.
const PAGE: usize = 256;

/// The post that is made in each repo.
const NAME: &str = "second-life";

/// Starts the store on a disk, sends its events to a subscriber, writes into some repos and ends.
///
/// Gives what was promised; what is wrong already gives a text.
pub(super) fn run(
    disk: &Arc<Disk>,
    checker: &Checker,
    expected: &Expected<'_>,
    with_writes: bool,
) -> Result<Result<SecondLife, String>, TortureError> {
    let (clock, _sim) = trusted_clock(expected.unix_us().saturating_add(OFF_US));
    let store = match load::open(disk, clock) {
        Ok(store) => store,
        Err(TortureError::Open(error)) => {
            return Ok(Err(format!("the store does not open: {}", super::check::full(&error))));
        }
        Err(error) => return Err(error),
    };
    let mut life = SecondLife::default();
    let lived = checker.runtime.block_on(live(disk, &store, with_writes, &mut life));
    let closed = checker.runtime.block_on(store.close());
    closed.map_err(load::refused("closing"))?;
    Ok(lived.map(|()| life))
}

async fn live(
    disk: &Arc<Disk>,
    store: &store::Store,
    with_writes: bool,
    life: &mut SecondLife,
) -> Result<(), String> {
    let failed = |error: store::StoreError| super::check::full(&error);
    let accounts = store.read(|reader| reader.list_accounts(None, PAGE)).await.map_err(failed)?;
    send(disk, store, life).await?;
    life.sent_at = disk.position();
    if !with_writes {
        return Ok(());
    }
    for account in accounts.iter().filter(|account| account.status == Status::Active) {
        let (rev, bytes) = examine::write_one(store, &account.did, NAME).await?;
        let position = disk.ack("a post of the second life is kept");
        let path = format!("{}/{NAME}", examine::POSTS);
        life.promise(position, Thing::Record(account.did.clone(), path), bytes);
        life.told_rev(position, account.did.clone(), rev);
    }
    send(disk, store, life).await
}

/// Takes all events, as a relay does that comes back.
async fn send(disk: &Arc<Disk>, store: &store::Store, life: &mut SecondLife) -> Result<(), String> {
    let mut subscription = store.subscribe(0);
    let mut after = 0;
    while after < store.last_seq() {
        let next = subscription.next().await.map_err(|error| super::check::full(&error))?;
        let Some(event) = next else { break };
        after = event.seq;
        life.promise(disk.ack("an event was sent again"), Thing::Event(event.seq), event.frame);
    }
    Ok(())
}

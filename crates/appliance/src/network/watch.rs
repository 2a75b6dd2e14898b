//! Watches the network on a thread of its own, and tells the supervisor what it is now.
//!
//! It decides nothing: what a change means is [`platform::NetworkState`]'s business.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use platform::{Network, NetworkState};
use tokio::sync::watch;

/// How long a look waits for a change; then the state is read all the same, since a message may be lost.
const LOOK: Duration = Duration::from_secs(5);

/// The wait after a failure, so that a kernel that tells nothing costs nothing.
const PAUSE: Duration = Duration::from_secs(5);

/// Tells each new state until `stop` is set or nobody listens. Blocks: for a thread of its own.
pub fn run(mut network: Box<dyn Network>, told: &watch::Sender<NetworkState>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) && !told.is_closed() {
        match network.state() {
            Ok(state) => {
                told.send_if_modified(|last| {
                    let is_new = *last != state;
                    *last = state;
                    is_new
                });
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the network is not known");
                std::thread::sleep(PAUSE);
            }
        }
        if let Err(error) = network.wait_change(LOOK) {
            tracing::warn!(error = &error as &dyn std::error::Error, "changes of the network are not heard");
            std::thread::sleep(PAUSE);
        }
    }
}

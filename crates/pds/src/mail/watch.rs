//! Tries the mail server before somebody needs it: at the start, then daily, and soon again after a failure.
//!
//! Without it a wrong password would be noticed by the owner who forgot theirs.

use std::time::Duration;

use super::MailError;
use crate::app::Shared;

/// Pause after a test that went well. A provider sees one sign-in a day more.
const WELL: Duration = Duration::from_secs(24 * 3600);

/// Pause after a failure: an outage is over soon, and an owner who repairs settings starts the server anew anyway.
const FAILED: Duration = Duration::from_secs(15 * 60);

/// Pause while the clock is not trusted; it usually is within a minute of the start.
const NO_TIME: Duration = Duration::from_secs(10);

/// Tests the mail server until the end.
pub(crate) async fn keep(app: Shared) {
    if !app.mailer.is_set_up() {
        tracing::info!("no mail server is set: codes are not mailed");
        return;
    }
    loop {
        let pause = tokio::select! {
            () = app.shutdown.cancelled() => return,
            tested = app.mailer.test() => match tested {
                Ok(()) => WELL,
                Err(MailError::ClockUntrusted(_)) => NO_TIME,
                // The mailer has logged it and shows it in the status.
                Err(_) => FAILED,
            },
        };
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

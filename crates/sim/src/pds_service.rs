//! The PDS under the simulated disk: it runs while the disk is plugged in, and a stand-in answers while it is not.
//!
//! Both use one listening socket, so that clients see one server that is short of its disk. The real box does the same:
//! without the disk there is nothing to serve from, and saying so beats a refused connection.
//!
//! The simulated pull is gentler than a real one: the store is closed in order, so writes on their way are finished or
//! refused, never torn. What a cut in the middle of a write does is proven below the store, by its crash test.

use std::net::TcpListener as StdListener;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use control::PdsStatus;
use control::status::PdsState;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long clients are asked to wait while the disk is away, in seconds: a person has to fetch it.
const RETRY_AFTER_S: &str = "30";

/// How long the PDS rests after it ended by itself, before it is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(2);

/// Why the PDS cannot run at all.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The listening socket could not be shared.
    #[error("the PDS's socket cannot be used")]
    Socket(#[from] std::io::Error),
    /// The data folder belongs to another PLC directory.
    #[error(transparent)]
    Pds(#[from] pds::RunError),
}

/// What the service is given.
#[derive(Debug)]
pub struct Service {
    /// The settings of the PDS.
    pub config: pds::Config,
    /// Clock and disk.
    pub platform: pds::Platform,
    /// The socket, bound.
    pub listener: StdListener,
    /// Whether the disk is plugged in.
    pub plugged: watch::Receiver<bool>,
    /// Where the status goes.
    pub status: watch::Sender<PdsStatus>,
}

impl Service {
    /// Runs until `shutdown`. Fails if the PDS cannot start the first time: then the owner must act.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), ServiceError> {
        let mut started = false;
        while !shutdown.is_cancelled() {
            let listener = TcpListener::from_std(self.listener.try_clone()?)?;
            if !*self.plugged.borrow_and_update() {
                self.stand_in(listener, &shutdown).await;
                continue;
            }
            let ended = self.serve(listener, &shutdown).await;
            match ended {
                Ok(()) => {}
                Err(error) if !started => return Err(error.into()),
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the PDS ended; it is started again"
                    );
                    self.stopped(format!("{error}."));
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = tokio::time::sleep(RESTART_PAUSE) => {}
                    }
                }
            }
            started = true;
        }
        Ok(())
    }

    /// Runs the PDS until it ends, the disk is pulled, or `shutdown`.
    async fn serve(
        &mut self,
        listener: TcpListener,
        shutdown: &CancellationToken,
    ) -> Result<(), pds::RunError> {
        self.status.send_modify(|status| status.state = PdsState::Starting);
        let stop = shutdown.child_token();
        let mut running = std::pin::pin!(pds::run(
            self.config.clone(),
            self.platform.clone(),
            listener,
            self.status.clone(),
            stop.clone()
        ));
        tokio::select! {
            ended = running.as_mut() => ended,
            () = until(&mut self.plugged, false) => {
                stop.cancel();
                running.await
            }
        }
    }

    /// Answers every request with what is missing, until the disk is back or `shutdown`.
    async fn stand_in(&mut self, listener: TcpListener, shutdown: &CancellationToken) {
        self.stopped("The data disk is unplugged.".to_owned());
        let stop = shutdown.child_token();
        let router = Router::new().fallback(unavailable);
        let mut serving = std::pin::pin!(panel::server::serve(listener, router, stop.clone()));
        tokio::select! {
            () = serving.as_mut() => {}
            () = until(&mut self.plugged, true) => {
                stop.cancel();
                serving.await;
            }
        }
    }

    fn stopped(&self, why: String) {
        self.status.send_modify(|status| status.state = PdsState::Stopped { why });
    }
}

/// Waits until the disk is plugged in, or is not.
async fn until(plugged: &mut watch::Receiver<bool>, wanted: bool) {
    let gone = plugged.wait_for(|plugged| *plugged == wanted).await.is_err();
    if gone {
        // Nobody is left who could plug or pull.
        std::future::pending::<()>().await;
    }
}

async fn unavailable() -> impl IntoResponse {
    let body = serde_json::json!({
        "error": "StorageUnavailable",
        "message": "The data disk of this server is unplugged. It comes back when the disk is plugged in again.",
    });
    (
        StatusCode::SERVICE_UNAVAILABLE,
        [(header::RETRY_AFTER, RETRY_AFTER_S), (header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
}

//! `com.atproto.sync.getRepo`: a repo, or what came since a rev, as a stream. Its memory does not grow with the repo.

use std::time::Instant;

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use futures_util::{Stream, stream};
use store::{Export, StoreError};

use super::super::shared::{CAR, readable_repo, typed};
use crate::{
    app::{App, Shared},
    auth::Viewer,
    error::XrpcError,
    input::Params,
    limits::places::{Place, What},
    server::Peer,
};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    viewer: Viewer,
    peer: Option<Extension<Peer>>,
    params: Params,
) -> Result<Response, XrpcError> {
    let did = params.did("did")?;
    let since = params.optional_tid("since")?;
    readable_repo(&app, &did, &viewer).await?;
    let place = place(&app, peer)?;
    let export = app.store.export(&did, since).await?;
    // An error in the middle breaks the chunked body off, so that nobody takes half a repo for a whole one.
    Ok(typed(Body::from_stream(chunks(app, export, place)), CAR))
}

/// Takes one of the client's places for exports: the store makes a bounded number, and one address must not have all.
pub(super) fn place(app: &App, peer: Option<Extension<Peer>>) -> Result<Option<Place>, XrpcError> {
    let taken = peer.map(|Extension(Peer(client))| app.places.take(What::Export, client));
    Ok(taken.transpose()?)
}

/// Why an export is broken off.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The repo cannot be read.
    #[error("the repository cannot be read")]
    Store(#[source] StoreError),
    /// The reader is too slow.
    #[error("the reader is too slow")]
    Stalled,
}

/// An export on its way to a client.
struct Sending {
    app: Shared,
    export: Export,
    begun: Instant,
    sent_bytes: u64,
    _place: Option<Place>,
}

/// An export as a stream, read no faster than it is taken, and broken off when it is taken too slowly on the average.
pub(super) fn chunks(
    app: Shared,
    export: Export,
    place: Option<Place>,
) -> impl Stream<Item = Result<Bytes, Broken>> {
    let sending = Sending { app, export, begun: Instant::now(), sent_bytes: 0, _place: place };
    stream::try_unfold(sending, |mut sending| async move {
        // This is called when the connection has room again: what was given before is taken, or in the kernel's hands.
        if sending.is_too_slow() {
            sending.app.metrics.export_stalled();
            return Err(Broken::Stalled);
        }
        let chunk = sending.export.next().await.map_err(Broken::Store)?;
        Ok(chunk.map(|chunk| {
            sending.sent_bytes = sending.sent_bytes.saturating_add(chunk.len() as u64);
            (chunk, sending)
        }))
    })
}

impl Sending {
    fn is_too_slow(&self) -> bool {
        let limits = self.app.places.limits();
        let counted = self.begun.elapsed().saturating_sub(limits.export_grace);
        self.sent_bytes < counted.as_secs().saturating_mul(limits.export_bytes_per_s_min)
    }
}

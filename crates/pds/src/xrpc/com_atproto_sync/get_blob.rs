//! `com.atproto.sync.getBlob`: the bytes of a blob. Whatever they are, a browser must neither run nor guess them.

use std::io::{self, Read};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use futures_util::{Stream, stream};
use store::FileRead;

use super::super::shared::{readable_repo, typed};
use crate::{app::Shared, auth::Viewer, error::XrpcError, input::Params, mime};

/// Bytes read from the file at once.
const CHUNK_BYTES: usize = 256 * 1024;

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const SANDBOX: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");
const CSP: HeaderName = header::CONTENT_SECURITY_POLICY;

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    viewer: Viewer,
    params: Params,
) -> Result<Response, XrpcError> {
    let did = params.did("did")?;
    let cid = params.cid("cid")?;
    readable_repo(&app, &did, &viewer).await?;
    let blob = app.store.open_blob(&did, &cid).await?;
    let store::BlobFile { meta, file } =
        blob.ok_or_else(|| XrpcError::bad("BlobNotFound", "Blob not found"))?;
    let kind = HeaderValue::from_str(&meta.mime).unwrap_or(HeaderValue::from_static(mime::OCTET_STREAM));
    let mut response = typed(Body::from_stream(chunks(file)), kind);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(meta.size));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(CSP, SANDBOX);
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"{cid}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// Reads a file on blocking threads, a chunk at a time, no faster than it is taken.
fn chunks(file: Box<dyn FileRead>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(file, |mut file| async move {
        let read = tokio::task::spawn_blocking(move || {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            let bytes = u64::try_from(CHUNK_BYTES).unwrap_or(u64::MAX);
            file.by_ref().take(bytes).read_to_end(&mut chunk).map(|_| (chunk, file))
        });
        let (chunk, file) = read.await.map_err(io::Error::other)??;
        Ok((!chunk.is_empty()).then(|| (Bytes::from(chunk), file)))
    })
}

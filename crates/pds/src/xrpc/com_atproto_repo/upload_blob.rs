//! `com.atproto.repo.uploadBlob`: streams a blob to the store; it stays temporary until a record names it.

use atproto::cid::Cid;
use axum::{
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header},
    response::Response,
};
use serde::Serialize;

use super::{super::shared::json, write::display};
use crate::{
    app::Shared,
    auth::SessionOrService,
    error::XrpcError,
    input::{content_length, next_data},
    limits, mime,
};

#[derive(Serialize)]
struct Output {
    blob: BlobView,
}

/// The JSON form of a blob reference.
#[derive(Serialize)]
struct BlobView {
    #[serde(rename = "$type")]
    kind: &'static str,
    #[serde(rename = "ref")]
    link: Link,
    #[serde(rename = "mimeType")]
    mime: String,
    size: u64,
}

#[derive(Serialize)]
struct Link {
    #[serde(rename = "$link", serialize_with = "display")]
    cid: Cid,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    caller: SessionOrService,
    request: Request,
) -> Result<Response, XrpcError> {
    let standing = app.limiter.take(limits::UPLOAD_BLOB, caller.did.as_str(), 1)?;
    // Accounts that are moving in are switched off still, and upload their blobs.
    app.free_account(&caller.did).await?;
    let (parts, body) = request.into_parts();
    let announced = content_length(&parts.headers);
    if announced.is_some_and(|n| n > app.config.blob_bytes_max) {
        return Err(XrpcError::payload_too_large(app.config.blob_bytes_max));
    }
    if announced.is_none() && !parts.headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(XrpcError::invalid_request("A request body is expected but none was provided"));
    }
    if !parts.headers.contains_key(header::CONTENT_TYPE) {
        return Err(XrpcError::invalid_request("Request encoding (Content-Type) required but not provided"));
    }
    if parts.headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(XrpcError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            "Blobs are taken as they are, not compressed for the way",
        ));
    }
    let header = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let blob = receive(&app, &caller.did, header, body).await?;
    let view = BlobView { kind: "blob", link: Link { cid: blob.cid }, mime: blob.mime, size: blob.size };
    let mut response = json(&Output { blob: view });
    if let Some(standing) = standing {
        response.extensions_mut().insert(standing);
    }
    Ok(response)
}

/// Takes the body in, a piece at a time; the first bytes decide the type.
async fn receive(
    app: &crate::app::App,
    did: &atproto::syntax::Did,
    header: Option<&str>,
    mut body: Body,
) -> Result<store::BlobMeta, XrpcError> {
    let mut upload = app.store.begin_blob(did).await?;
    let mut head = Vec::with_capacity(mime::SNIFF_BYTES);
    while let Some(data) = next_data(&mut body).await? {
        let missing = mime::SNIFF_BYTES.saturating_sub(head.len()).min(data.len());
        head.extend_from_slice(data.get(..missing).unwrap_or_default());
        upload.write(&data).await?;
    }
    Ok(upload.finish(mime::decide(&head, header)).await?)
}

//! `com.atproto.repo.importRepo`: replaces the caller's repo by the one in a CAR, as a whole. It is received and
//! verified away from the writer, and becomes visible in one step.

use axum::{
    extract::{Request, State},
    http::header,
    response::Response,
};

use super::super::shared::empty;
use crate::{
    app::Shared,
    auth::{Full, Session},
    error::XrpcError,
    input::{content_length, next_data},
};

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<Full>,
    request: Request,
) -> Result<Response, XrpcError> {
    let (parts, mut body) = request.into_parts();
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/vnd.ipld.car") {
        return Err(XrpcError::invalid_request(format!("Wrong request encoding (Content-Type): {kind}")));
    }
    let limit = app.config.import_bytes_max;
    if content_length(&parts.headers).is_some_and(|n| n > limit) {
        return Err(XrpcError::payload_too_large(limit));
    }
    app.free_account(&session.did).await?;
    let mut import = app.store.begin_import(&session.did).await?;
    while let Some(data) = next_data(&mut body).await? {
        import.write(&data).await?;
    }
    import.finish().await?;
    Ok(empty())
}

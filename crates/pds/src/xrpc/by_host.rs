//! What the names of this server and of its accounts say about themselves: the routes that answer by Host header, and
//! the question of a proxy whether a name is worth a certificate.

use atproto::{
    did_doc::{DidDocument, DocumentService},
    syntax::{AtIdentifier, Did, Handle},
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use store::{Account, Status};

use super::shared::json;
use crate::{
    app::{App, Shared},
    error::XrpcError,
    handles,
    input::Params,
};

/// `GET /.well-known/atproto-did`: the DID of the handle that the Host header names.
pub(super) async fn atproto_did(
    State(app): State<Shared>,
    headers: HeaderMap,
) -> Result<Response, XrpcError> {
    let account = match Handle::parse(&host(&headers)) {
        Ok(handle) if handles::is_under(&handle, &app.config.handle_domains) => {
            app.account(&AtIdentifier::Handle(handle)).await?
        }
        Ok(_) | Err(_) => None,
    };
    let text = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok(match account.filter(is_shown) {
        Some(account) => (text, account.did.to_string()).into_response(),
        None => (StatusCode::NOT_FOUND, text, "User not found").into_response(),
    })
}

/// `GET /.well-known/did.json`: the document of the service, or of the account whose `did:web` the Host header names.
pub(super) async fn did_json(State(app): State<Shared>, headers: HeaderMap) -> Result<Response, XrpcError> {
    let host = host(&headers);
    if host == app.config.hostname {
        return Ok(json(&service_document(&app)?));
    }
    let document = match Did::parse(&format!("did:web:{host}")) {
        Ok(did) if app.identity.gives_out(&did) => app.identity.fresh_document(&did).await,
        Ok(_) | Err(_) => return Err(nobody()),
    };
    match document {
        Ok(document) => Ok(json(&*document)),
        Err(e) if e.is_not_found() => Err(nobody()),
        Err(e) => Err(e.into()),
    }
}

/// `GET /tls-check?domain=`: whether this server answers for a name. Caddy asks before it gets a certificate.
pub(super) async fn tls_check(State(app): State<Shared>, params: Params) -> Result<Response, XrpcError> {
    let yes = || json(&serde_json::json!({ "success": true }));
    let domain = params.get("domain").filter(|domain| !domain.is_empty());
    let bad = || XrpcError::invalid_request("bad or missing domain query param");
    let domain = domain.ok_or_else(bad)?.to_ascii_lowercase();
    if domain == app.config.hostname {
        return Ok(yes());
    }
    let handle = Handle::parse(&domain).map_err(|_| bad())?;
    if !handles::is_under(&handle, &app.config.handle_domains) {
        return Err(XrpcError::invalid_request("handles are not provided on this domain"));
    }
    let by_handle = app.account(&AtIdentifier::Handle(handle)).await?;
    let account = match (by_handle, Did::parse(&format!("did:web:{domain}"))) {
        (Some(account), _) => Some(account),
        (None, Ok(did)) => app.account(&AtIdentifier::Did(did)).await?,
        (None, Err(_)) => None,
    };
    match account {
        Some(_) => Ok(yes()),
        None => Err(XrpcError::new(StatusCode::NOT_FOUND, "NotFound", "handle not found for this domain")),
    }
}

/// Handles of accounts that are switched off or hidden stand for nobody, as in the reference.
fn is_shown(account: &Account) -> bool {
    account.status == Status::Active
}

/// The Host header's name, lower case, without the port.
fn host(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    host.rsplit_once(':').map_or(host, |(name, _port)| name).to_ascii_lowercase()
}

fn service_document(app: &App) -> Result<DidDocument, XrpcError> {
    let id = Did::parse(&app.config.service_did()).map_err(XrpcError::internal)?;
    let service = DocumentService {
        id: "#atproto_pds".to_owned(),
        kind: "AtprotoPersonalDataServer".to_owned(),
        service_endpoint: app.config.public_url.clone(),
    };
    Ok(DidDocument {
        context: vec!["https://www.w3.org/ns/did/v1"].into(),
        id,
        also_known_as: Vec::new(),
        verification_method: Vec::new(),
        service: vec![service],
    })
}

fn nobody() -> XrpcError {
    XrpcError::new(StatusCode::NOT_FOUND, "NotFound", "This server has no DID document for this host")
}

//! `app.bsky.notification`: registering for push messages at the service that sends them.

mod register_push;
mod unregister_push;

use atproto::syntax::Did;
use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    response::Response,
};
use serde::Deserialize;

use super::{route::Route, shared::empty};
use crate::{
    app::{App, Shared},
    auth::{Policy, Session},
    error::XrpcError,
    input::{Json, field},
    proxy::{
        self, Passage,
        target::{self, Target},
    },
};

/// The methods of this namespace.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::procedure("app.bsky.notification.registerPush", register_push::handle)
            .auth("signed in, or waiting in the sign-up queue"),
        Route::procedure("app.bsky.notification.unregisterPush", unregister_push::handle).auth("signed in"),
    ]
}

/// What both methods take. All but the service is for the service.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    service_did: String,
    #[serde(rename = "token")]
    _token: String,
    #[serde(rename = "platform")]
    _platform: String,
    #[serde(rename = "appId")]
    _app_id: String,
}

/// Passes the call on to the service that its body names.
async fn pass_on<P: Policy>(app: &Shared, request: Request) -> Result<Response, XrpcError> {
    // Without an AppView this server knows nothing of push messages: the call is one like any other.
    if app.config.appview.is_none() {
        return proxy::pass_on(app, request).await;
    }
    let (mut parts, body) = request.into_parts();
    let session = Session::<P>::from_request_parts(&mut parts, app).await?;
    let method = proxy::method_of(&parts.uri)?;
    let body: Json = Json::from_request(Request::from_parts(parts.clone(), body), app).await?;
    let service = field("serviceDid", &body.parse::<Input>()?.service_did, Did::parse)?;
    let target = find(app, &service).await?;
    let passage = Passage::to(app, &session, method, target).await?;
    let response = proxy::pass_on_read(app, &passage, &parts, body.into_bytes()).await?;
    Ok(if response.status().is_success() { empty() } else { response })
}

/// The AppView, or the notification service in the DID's document.
async fn find(app: &App, service: &Did) -> Result<Target, XrpcError> {
    if let Some(appview) = app.config.appview.as_ref().filter(|appview| appview.did == service.as_str()) {
        return target::configured(appview);
    }
    let unknown = || XrpcError::invalid_request(format!("could not resolve did document: {service}"));
    let document = app.identity.document(service).await;
    let document = document.map_err(|e| target::unresolved(&e, unknown()))?;
    let endpoint = document.endpoint("bsky_notif", Some("BskyNotificationService"));
    let target = endpoint.and_then(|endpoint| target::foreign(app, service, endpoint));
    target.ok_or_else(|| {
        XrpcError::invalid_request(format!("invalid notification service details in did document: {service}"))
    })
}

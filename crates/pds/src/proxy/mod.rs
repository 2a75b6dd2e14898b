//! Calls that are passed on to other servers in the name of an account.
//!
//! Whoever calls is signed in here; the other server gets a token that the account's own key signs, good for that one
//! server and method for a minute, and never the caller's own token. Which headers cross is listed in `headers`, the
//! limits are in `upstream`. Nothing here is stored.

mod encoding;
mod failure;
mod headers;
pub(crate) mod methods;
mod places;
pub(crate) mod read_after_write;
pub(crate) mod target;
mod upstream;

use atproto::{
    crypto::SigningKey,
    service_jwt,
    syntax::{AtIdentifier, Did, Nsid},
};
use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, request::Parts},
    response::Response,
};

pub(crate) use self::upstream::{Sent, Upstreams};
use self::{
    target::Target,
    upstream::{Answer, Outgoing},
};
use crate::{
    app::{App, Shared},
    auth::{Policy, Privileged, Session, Standard, jwt::Scope},
    error::XrpcError,
    metrics::Outbound,
};

/// Life of a token that goes with one call, seconds: as in the reference. A server whose clock is that far off refuses.
const TOKEN_LIFE_S: u64 = 60;

/// The key by which a hosted account speaks to other servers.
///
/// # Errors
/// 403 `AccountNotFound` for a token that outlived its account, 401 for one whose account was taken down meanwhile.
pub(crate) async fn signing_key(app: &App, did: &Did, scope: Scope) -> Result<SigningKey, XrpcError> {
    check_standing(app, did, scope).await?;
    Ok(app.store.signing_key(did).await?)
}

/// The method that a path names.
///
/// # Errors
/// 400 for any other path.
pub(crate) fn method_of(uri: &Uri) -> Result<Nsid, XrpcError> {
    let name = uri.path().strip_prefix("/xrpc/").unwrap_or_default();
    Nsid::parse(name).map_err(|e| XrpcError::invalid_request("invalid xrpc path").because(e))
}

/// A call that may be passed on: who makes it, which method it is, and where it goes.
#[derive(Debug)]
pub(crate) struct Passage {
    /// The account in whose name it goes.
    pub(crate) caller: Did,
    /// The method.
    pub(crate) method: Nsid,
    /// The server it goes to.
    pub(crate) target: Target,
}

impl Passage {
    /// Decides about a call from its head. What needs nobody else comes first: the call's form, then who calls, then
    /// where the server is.
    ///
    /// # Errors
    /// 400 for a path, header or method that is not passed on; 401 and 400 for callers without a fitting session;
    /// 400 and 502 when the server cannot be found.
    pub(crate) async fn plan<P: Policy>(app: &Shared, parts: &mut Parts) -> Result<Self, XrpcError> {
        let method = method_of(&parts.uri)?;
        if methods::is_protected(method.as_str()) {
            return Err(XrpcError::invalid_token("Bad token method"));
        }
        target::wanted(&app.config, &parts.headers, method.as_str())?;
        let session = Session::<P>::from_request_parts(parts, app).await?;
        if methods::is_privileged(method.as_str()) && !Privileged::ALLOWED.contains(&session.scope) {
            return Err(XrpcError::invalid_token("Bad token method"));
        }
        let wanted = target::wanted(&app.config, &parts.headers, method.as_str())?;
        let target = target::find(app, wanted).await?;
        Self::to(app, &session, method, target).await
    }

    /// A call to a server that was chosen by the method's own rule.
    ///
    /// # Errors
    /// 401 and 403 when the account may not be spoken for any more.
    pub(crate) async fn to<P: Policy>(
        app: &App,
        session: &Session<P>,
        method: Nsid,
        target: Target,
    ) -> Result<Self, XrpcError> {
        check_standing(app, &session.did, session.scope).await?;
        Ok(Self { caller: session.did.clone(), method, target })
    }

    /// Sends the call with a token for its own method and server.
    ///
    /// # Errors
    /// As [`Upstreams::send`]; 503 `ClockUntrusted` while no token can be made.
    async fn send(
        &self,
        app: &App,
        parts: &Parts,
        headers: HeaderMap,
        body: Sent,
    ) -> Result<Answer, XrpcError> {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let token = self.token(app, &self.target.did, &self.method).await?;
        self.send_with(app, &parts.method, path, headers, token, body).await
    }

    async fn send_with(
        &self,
        app: &App,
        method: &Method,
        path_and_query: &str,
        mut headers: HeaderMap,
        token: HeaderValue,
        body: Sent,
    ) -> Result<Answer, XrpcError> {
        headers.insert(header::AUTHORIZATION, token);
        let url = self.target.url(path_and_query)?;
        let call = Outgoing {
            caller: Some(self.caller.clone()),
            method: method.clone(),
            url,
            reach: self.target.reach,
            headers,
            body,
        };
        deliver(app, call).await
    }

    /// Makes the account's token for a server and method, as the header's value.
    async fn token(&self, app: &App, audience: &str, method: &Nsid) -> Result<HeaderValue, XrpcError> {
        let now = app.now()?;
        let key = app.store.signing_key(&self.caller).await?;
        let token = service_jwt::make(&self.caller, audience, Some(method), TOKEN_LIFE_S, &key, now);
        let token = token.map_err(XrpcError::internal)?;
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(XrpcError::internal)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Asks the same server another question in the account's name and reads the answer as JSON; `None` for any
    /// failure.
    async fn ask(
        &self,
        app: &App,
        method: &str,
        params: &[(&str, &str)],
        bytes_max: usize,
    ) -> Option<serde_json::Value> {
        let method = Nsid::parse(method).ok()?;
        let mut url = self.target.url(&format!("/xrpc/{method}")).ok()?;
        url.query_pairs_mut().extend_pairs(params);
        let mut headers = headers::up(&HeaderMap::new(), false);
        headers.insert(header::AUTHORIZATION, self.token(app, &self.target.did, &method).await.ok()?);
        let call = Outgoing {
            caller: Some(self.caller.clone()),
            method: Method::GET,
            url,
            reach: self.target.reach,
            headers,
            body: Sent::Nothing,
        };
        let answer = deliver(app, call).await.ok()?;
        if !answer.status.is_success() {
            return None;
        }
        match answer.collect(bytes_max).await.ok()? {
            upstream::Collected::Whole(body) => serde_json::from_slice(&body).ok(),
            upstream::Collected::TooLong(..) => None,
        }
    }
}

/// Refuses sessions whose account was removed or taken down: a session outlives that by minutes.
///
/// # Errors
/// 403 `AccountNotFound`, 401 `AccountTakedown`.
pub(crate) async fn check_standing(app: &App, did: &Did, scope: Scope) -> Result<(), XrpcError> {
    let account = app.account(&AtIdentifier::Did(did.clone())).await?;
    let account = account.ok_or_else(|| XrpcError::forbidden("AccountNotFound", "Account not found"))?;
    if account.hold.is_some() && scope != Scope::Takendown {
        return Err(store::StoreError::AccountInactive { status: account.status }.into());
    }
    Ok(())
}

/// Sends a call and counts the failures of the way.
async fn deliver(app: &App, call: Outgoing) -> Result<Answer, XrpcError> {
    let answer = app.upstreams.send(call).await;
    answer.inspect_err(|e| {
        if matches!(e.status(), StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT) {
            app.metrics.outbound_failed(Outbound::Proxy);
        }
    })
}

/// Passes a call on as it is, and its answer back.
///
/// # Errors
/// As [`Passage::plan`] and [`Upstreams::send`].
pub(crate) async fn pass_on(app: &Shared, request: Request) -> Result<Response, XrpcError> {
    let (mut parts, body) = request.into_parts();
    if !matches!(parts.method, Method::GET | Method::HEAD | Method::POST) {
        return Err(XrpcError::invalid_request("XRPC requests only supports GET and POST"));
    }
    let passage = Passage::plan::<Standard>(app, &mut parts).await?;
    let has_body = parts.method == Method::POST;
    let sent = if has_body { Sent::Stream(body) } else { Sent::Nothing };
    let headers = headers::up(&parts.headers, has_body);
    let answer = passage.send(app, &parts, headers, sent).await?;
    failure::pass_down(answer).await
}

/// [`pass_on`] for a call whose body was read here, because it says where the call goes.
///
/// # Errors
/// As [`Upstreams::send`].
pub(crate) async fn pass_on_read(
    app: &App,
    passage: &Passage,
    parts: &Parts,
    body: axum::body::Bytes,
) -> Result<Response, XrpcError> {
    let headers = headers::up(&parts.headers, true);
    let answer = passage.send(app, parts, headers, Sent::Bytes(body)).await?;
    let mut response = failure::pass_down(answer).await?;
    // The answer is about the call's own subject, not about what is known of the account's repo.
    response.headers_mut().remove(headers::REPO_REV);
    Ok(response)
}

/// [`pass_on`] for a call whose token is for another server and method than the call itself: the AppView makes the
/// feed, and asks the feed's own generator with the token.
///
/// # Errors
/// As [`Upstreams::send`].
pub(crate) async fn pass_on_for(
    app: &App,
    passage: &Passage,
    parts: &Parts,
    audience: &str,
    method: &Nsid,
) -> Result<Response, XrpcError> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let token = passage.token(app, audience, method).await?;
    let headers = headers::up(&parts.headers, false);
    let answer = passage.send_with(app, &parts.method, path, headers, token, Sent::Nothing).await?;
    failure::pass_down(answer).await
}

/// Passes a public question on to the AppView in nobody's name.
///
/// # Errors
/// As [`Upstreams::send`].
pub(crate) async fn pass_on_unsigned(
    app: &App,
    target: &Target,
    parts: &Parts,
) -> Result<Response, XrpcError> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let call = Outgoing {
        caller: None,
        method: parts.method.clone(),
        url: target.url(path)?,
        reach: target.reach,
        headers: headers::up(&parts.headers, false),
        body: Sent::Nothing,
    };
    failure::pass_down(deliver(app, call).await?).await
}

/// Largest answer of a feed generator's record that is read, bytes: a record has no more.
const FEED_RECORD_BYTES_MAX: usize = 1_100_000;

/// Asks the AppView which server makes a feed; none if the feed's record names none.
///
/// # Errors
/// The AppView's own refusal, ready to be passed down.
pub(crate) async fn feed_generator(
    app: &App,
    passage: &Passage,
    feed: &atproto::syntax::AtUri,
) -> Result<Result<Option<String>, Response>, XrpcError> {
    let Passage { caller, target, .. } = passage;
    let mut url = target.url("/xrpc/com.atproto.repo.getRecord")?;
    url.query_pairs_mut()
        .append_pair("repo", feed.authority())
        .append_pair("collection", feed.collection().unwrap_or_default())
        .append_pair("rkey", feed.rkey().unwrap_or_default());
    let headers = headers::up(&HeaderMap::new(), false);
    let call = Outgoing {
        caller: Some(caller.clone()),
        method: Method::GET,
        url,
        reach: target.reach,
        headers,
        body: Sent::Nothing,
    };
    let answer = deliver(app, call).await?;
    // To whoever asks for a feed, a record that cannot be had is a feed that is not known.
    if answer.status.is_client_error() {
        return Ok(Ok(None));
    }
    if !answer.status.is_success() {
        return failure::pass_down(answer).await.map(Err);
    }
    let upstream::Collected::Whole(body) = answer.collect(FEED_RECORD_BYTES_MAX).await? else {
        return Ok(Ok(None));
    };
    let record: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let did = record.and_then(|record| record.pointer("/value/did")?.as_str().map(str::to_owned));
    Ok(Ok(did))
}

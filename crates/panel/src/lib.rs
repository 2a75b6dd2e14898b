//! The status page on the home network: what the screen shows, in words and as a picture.
//!
//! It reads status and changes nothing; the one exception is the simulated button, which exists only where `main` hands
//! one over. DNS rebinding and foreign pages are its threats: see [`guard`].

mod guard;
mod page;
pub mod picture;
pub mod server;
#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

pub use appliance::front::{Live, Press};
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use platform::Frame;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use guard::Names;

/// What the panel is given.
#[derive(Debug)]
pub struct Config {
    /// Where it listens.
    pub listener: TcpListener,
    /// The names and addresses it answers to besides loopback and what the status names as the box's own, without port,
    /// IPv6 in brackets.
    pub names: Vec<String>,
    /// Where presses on the page go; `None` on a box with a real button.
    pub button: Option<SyncSender<Press>>,
}

/// The side of one screen pixel in `/screen.png`: 512 x 256 pixels, about 1 KiB.
const PICTURE_SCALE: u8 = 4;

/// The longest request body: `press=short` and nothing more.
const BODY_BYTES_MAX: usize = 64;

/// Nothing is loaded from anywhere else, nothing is run that the page itself brings along, nobody frames it.
const POLICY: &str = "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

struct Panel {
    names: Names,
    live: watch::Receiver<Live>,
    button: Option<SyncSender<Press>>,
}

/// Serves the pages until `shutdown`.
pub async fn run(config: Config, live: watch::Receiver<Live>, shutdown: CancellationToken) {
    let router = router(config.names, live, config.button);
    server::serve(config.listener, router, shutdown).await;
}

fn router(names: Vec<String>, live: watch::Receiver<Live>, button: Option<SyncSender<Press>>) -> Router {
    let panel = Arc::new(Panel { names: Names::new(names), live, button });
    Router::new()
        .route("/", get(index))
        .route("/live", get(live_words))
        .route("/screen.png", get(screen))
        .route("/status.json", get(status_json))
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/panel.css",
            get(|| async { asset("text/css; charset=utf-8", include_str!("assets/panel.css")) }),
        )
        .route(
            "/panel.js",
            get(|| async { asset("text/javascript; charset=utf-8", include_str!("assets/panel.js")) }),
        )
        .route("/button", post(press))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is no such page; try /\n") })
        .layer(middleware::from_fn_with_state(Arc::clone(&panel), gate))
        .with_state(panel)
}

/// Turns foreign names and foreign pages away, and puts the security headers on every answer.
async fn gate(State(panel): State<Arc<Panel>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let own = guard::own_names(&panel.live.borrow().status.system);
    let allowed = panel
        .names
        .check_host(headers, &own)
        .and_then(|()| if request.method().is_safe() { Ok(()) } else { guard::check_origin(headers) });
    let mut response = match allowed {
        Ok(()) => next.run(request).await,
        Err(refusal) => (StatusCode::FORBIDDEN, format!("{refusal}\n")).into_response(),
    };
    let all = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in all {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind)], text)
}

async fn index(State(panel): State<Arc<Panel>>) -> Response {
    let live = panel.live.borrow().clone();
    let html = page::page(&live.status, &frame_name(&live.frame), panel.button.is_some());
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
}

/// What the page's script asks for every second.
#[derive(serde::Serialize)]
struct LiveWords {
    frame: String,
    alt: String,
    words: String,
}

async fn live_words(State(panel): State<Arc<Panel>>) -> Response {
    let live = panel.live.borrow().clone();
    let words = page::words(&live.status);
    Json(LiveWords { frame: frame_name(&live.frame), alt: words.alt, words: words.html }).into_response()
}

async fn screen(State(panel): State<Arc<Panel>>) -> Response {
    let frame = panel.live.borrow().frame.clone();
    match picture::png(&frame, PICTURE_SCALE) {
        Ok(bytes) => ([(header::CONTENT_TYPE, "image/png")], bytes).into_response(),
        Err(error) => {
            tracing::warn!(%error, "the screen could not be drawn");
            (StatusCode::INTERNAL_SERVER_ERROR, "the picture could not be made\n").into_response()
        }
    }
}

async fn status_json(State(panel): State<Arc<Panel>>) -> Response {
    let status = panel.live.borrow().status.clone();
    Json(status).into_response()
}

/// Presses the simulated button; on a box without one there is no such page.
async fn press(State(panel): State<Arc<Panel>>, request: Request<Body>) -> Response {
    let Some(button) = &panel.button else { return StatusCode::NOT_FOUND.into_response() };
    let body: Bytes = match axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(_) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
    };
    let press = match body.as_ref() {
        b"press=short" => Press::Short,
        b"press=long" => Press::Long,
        _ => return (StatusCode::BAD_REQUEST, "send press=short or press=long\n").into_response(),
    };
    if button.try_send(press).is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many presses at once; try again\n").into_response();
    }
    (StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response()
}

/// A name that changes with the picture, so that the page loads a picture only when it is new.
fn frame_name(frame: &Frame) -> String {
    let mut hasher = DefaultHasher::new();
    frame.as_bytes().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

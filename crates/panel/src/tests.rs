//! The panel's answers as a browser gets them, without a socket.

use std::sync::mpsc;

use axum::http::Method;
use control::Status;
use tower::ServiceExt;

use super::*;

fn serve(status: Status, button: Option<mpsc::SyncSender<Press>>) -> Router {
    let (_, live) = watch::channel(Live { status, frame: Frame::new() });
    router(vec!["perch.local".to_owned()], live, button)
}

async fn ask(
    router: Router,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &'static str,
) -> (StatusCode, String, Response) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    (parts.status, text, Response::from_parts(parts, Body::empty()))
}

const OWN: (&str, &str) = ("host", "localhost:8080");

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    for path in
        ["/", "/live", "/screen.png", "/status.json", "/healthz", "/panel.css", "/panel.js", "/nothing"]
    {
        let (_, _, response) = ask(serve(Status::default(), None), Method::GET, path, &[OWN], "").await;
        let headers = response.headers();
        assert_eq!(headers.get("content-security-policy").unwrap(), POLICY, "{path}");
        assert_eq!(headers.get("x-content-type-options").unwrap(), "nosniff", "{path}");
    }
}

#[tokio::test]
async fn a_foreign_host_sees_nothing() {
    for path in ["/", "/status.json", "/screen.png", "/healthz"] {
        let foreign = [("host", "rebound.example")];
        let (code, text, _) = ask(serve(Status::default(), None), Method::GET, path, &foreign, "").await;
        assert_eq!(code, StatusCode::FORBIDDEN, "{path}");
        assert!(text.contains("own names"), "{text}");
    }
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere_and_no_inline_script() {
    let (code, html, _) = ask(serve(Status::default(), None), Method::GET, "/", &[OWN], "").await;
    assert_eq!(code, StatusCode::OK);
    assert!(!html.contains("http://") && !html.contains("https://"), "{html}");
    assert_eq!(html.matches("<script").count(), html.matches("<script src=\"/").count());
    assert!(!html.contains(" style="), "{html}");
}

#[tokio::test]
async fn names_from_the_network_are_escaped() {
    let mut status = Status::default();
    let name = "<script>alert(1)</script>\"'&".to_owned();
    status.pds = Some(control::PdsStatus { name, ..control::PdsStatus::default() });
    for path in ["/", "/live"] {
        let (_, text, _) = ask(serve(status.clone(), None), Method::GET, path, &[OWN], "").await;
        assert!(!text.contains("<script>alert"), "{text}");
    }
}

#[tokio::test]
async fn a_simulation_says_so() {
    let mut status = Status::default();
    status.system.simulation = true;
    let (_, html, _) = ask(serve(status, None), Method::GET, "/", &[OWN], "").await;
    assert!(html.contains("SIMULATION"), "{html}");
    let (_, html, _) = ask(serve(Status::default(), None), Method::GET, "/", &[OWN], "").await;
    assert!(!html.contains("SIMULATION"), "{html}");
}

#[tokio::test]
async fn the_screen_is_a_png() {
    let (code, _, response) =
        ask(serve(Status::default(), None), Method::GET, "/screen.png", &[OWN], "").await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(response.headers().get("content-type").unwrap(), "image/png");
}

#[tokio::test]
async fn the_simulated_button_obeys_only_its_own_page() {
    let (sender, presses) = mpsc::sync_channel(2);
    let router = serve(Status::default(), Some(sender));
    let foreign = [OWN, ("origin", "http://evil.example")];
    let (code, _, _) = ask(router.clone(), Method::POST, "/button", &foreign, "press=long").await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    assert!(presses.try_recv().is_err());
    let own = [OWN, ("origin", "http://localhost:8080")];
    let (code, _, _) = ask(router.clone(), Method::POST, "/button", &own, "press=long").await;
    assert_eq!(code, StatusCode::SEE_OTHER);
    assert_eq!(presses.try_recv(), Ok(Press::Long));
    let (code, _, _) = ask(router, Method::POST, "/button", &own, "press=twice").await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_box_with_a_real_button_takes_no_presses() {
    let (code, _, _) =
        ask(serve(Status::default(), None), Method::POST, "/button", &[OWN], "press=short").await;
    assert_eq!(code, StatusCode::NOT_FOUND);
}

//! The mailer against a mail server that speaks TLS, with a clock that decides whether its certificate is any good.

use std::{sync::Arc, time::Duration};

use platform::sim::trusted_clock;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use self::mail_server::{MailServer, Manner};
use super::{MailError, Mailer};
use crate::config::{Mail, Secret};

#[path = "../../tests/it/mail_server.rs"]
#[expect(dead_code, reason = "the integration tests use the rest of it")]
mod mail_server;

/// 2030-01-01, when the certificate of the test is valid; and 2001, when it was not yet.
const IN_TIME_US: u64 = 1_893_456_000_000_000;
const TOO_EARLY_US: u64 = 1_000_000_000_000_000;

fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(include_bytes!("../../tests/it/fixtures/mail-server.pem")).unwrap()
}

fn server_tls() -> Arc<ServerConfig> {
    let key = include_bytes!("../../tests/it/fixtures/mail-server.key.pem");
    let key = PrivateKeyDer::from_pem_slice(key).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(builder.with_single_cert(vec![certificate()], key).unwrap())
}

fn client_tls(clock: platform::time::Clock) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).unwrap();
    crate::outbound::tls_with_roots(clock, roots).unwrap()
}

fn mailer(url: &str, now_us: u64) -> Mailer {
    let clock = trusted_clock(now_us).0;
    let mail = Mail { smtp_url: Secret::new(url.to_owned()), from: "Perch <perch@example.org>".to_owned() };
    let tls = client_tls(clock.clone());
    let mut mailer = Mailer::with_tls(Some(&mail), clock, "pds.test".to_owned(), tls).unwrap();
    mailer.patience = Duration::from_secs(20);
    mailer
}

#[tokio::test]
async fn starttls_comes_before_the_password_and_by_our_clock() {
    let mut server = MailServer::start(Manner { tls: Some(server_tls()), ..Manner::default() }).await;
    let url = format!("smtp://me@example.org:p@ss%23word@localhost:{}", server.port);
    mailer(&url, IN_TIME_US).send("Bob@Example.org", "Hi\r\nBcc: eve@example.org", "Grüße\n").await.unwrap();
    let mail = server.wait(1).await;
    assert!(mail.encrypted);
    assert_eq!(mail.login.as_deref(), Some("me@example.org\0p@ss#word"));
    assert_eq!(mail.to, "Bob@Example.org");
    assert!(mail.data.contains("Date: Tue, 01 Jan 2030 00:00:00 +0000\r\n"), "{}", mail.data);
    assert!(
        mail.data.contains("From: Perch <perch@example.org>\r\n") || mail.data.contains("From: \"Perch\"")
    );
    assert!(!mail.data.to_lowercase().contains("\r\nbcc:"), "{}", mail.data);

    let refused = mailer(&url, TOO_EARLY_US);
    let error = refused.send("bob@example.org", "Hi", "text").await.unwrap_err();
    assert!(matches!(error, MailError::Tls { .. }), "{error:?}");
    assert!(matches!(refused.state(), control::status::MailState::Fails { .. }));
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_silent_server_is_given_up_in_time_and_shown() {
    let server = MailServer::start(Manner { silent: true, ..Manner::default() }).await;
    let mut mailer = mailer(&format!("smtp://127.0.0.1:{}", server.port), IN_TIME_US);
    mailer.patience = Duration::from_millis(200);
    let error = mailer.send("bob@example.org", "Hi", "text").await.unwrap_err();
    assert!(matches!(error, MailError::Silent { .. }), "{error:?}");
    let control::status::MailState::Fails { why } = mailer.state() else { panic!("it is shown") };
    assert!(why.contains("127.0.0.1") && why.contains("smtp_url"), "{why}");
}

#[tokio::test]
async fn a_refused_recipient_is_no_trouble_of_the_box_and_a_good_mail_ends_trouble() {
    let picky = MailServer::start(Manner { refuses_recipient: true, ..Manner::default() }).await;
    let mailer = mailer(&format!("smtp://127.0.0.1:{}", picky.port), IN_TIME_US);
    let error = mailer.send("bob@example.org", "Hi", "text").await.unwrap_err();
    assert!(matches!(error, MailError::Refused { .. }), "{error:?}");
    assert_eq!(mailer.state(), control::status::MailState::SetUp);
    mailer.set_trouble(Some("before".to_owned()));
    mailer.test().await.unwrap();
    assert_eq!(mailer.state(), control::status::MailState::SetUp);
    assert!(matches!(mailer.send("not an address", "Hi", "text").await, Err(MailError::Address(_))));
}

#[tokio::test]
async fn a_server_without_encryption_gets_neither_password_nor_mail() {
    let server = MailServer::start(Manner::default()).await;
    let url = format!("smtp://me:hunter2@127.0.0.1:{}", server.port);
    // On this very machine it may be used; the same server elsewhere must offer STARTTLS.
    mailer(&url, IN_TIME_US).test().await.unwrap();
    let mut elsewhere = mailer(&url, IN_TIME_US);
    elsewhere.route.as_mut().unwrap().server.must_be_safe();
    let error = elsewhere.send("bob@example.org", "Hi", "text").await.unwrap_err();
    assert!(matches!(error, MailError::NoStartTls { .. }), "{error:?}");
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn whoever_asks_whether_mail_works_is_answered_for_a_minute_without_another_conversation() {
    let server = MailServer::start(Manner::default()).await;
    let (clock, sim) = trusted_clock(IN_TIME_US);
    let url = format!("smtp://127.0.0.1:{}", server.port);
    let mail = Mail { smtp_url: Secret::new(url), from: "Perch <perch@example.org>".to_owned() };
    let tls = client_tls(clock.clone());
    let mailer = Mailer::with_tls(Some(&mail), clock, "pds.test".to_owned(), tls).unwrap();
    mailer.ready().await.unwrap();
    // Gone: only a new conversation would notice.
    drop(server);
    mailer.ready().await.unwrap();
    sim.advance(Duration::from_secs(61));
    mailer.ready().await.unwrap_err();
    mailer.ready().await.unwrap_err();
}

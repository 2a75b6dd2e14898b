//! Mail: one message to one address, through the mail server that the owner named.
//!
//! Nothing is sent while the clock is not trusted, and a failure is never silent: the caller gets an error that says
//! what to do, and the box's status shows it until a mail or a test of the connection succeeds.

pub(crate) mod address;
mod letters;
mod server;
mod smtp;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use control::status::MailState;
use data_encoding::BASE32_NOPAD;
use lettre::{
    Address, Message,
    message::{Mailbox, header::ContentType},
};
use platform::time::{Clock, ClockUntrusted, TrustedTime};
use prometheus_client::metrics::counter::Counter;
use rustls::ClientConfig;
use tokio::{sync::Semaphore, time::timeout};

pub use self::server::{MailServer, MailSettingsError};
pub(crate) use self::{letters::Letter, watch::keep};
use crate::{config::Mail, error::XrpcError, outbound, store_error::chain};

/// Conversations with the mail server at once. Each takes some 100 KiB; providers refuse more than a few.
const CONVERSATIONS_MAX: usize = 4;

/// How long one mail may take in all, the wait for a free conversation included. Whoever asked for it waits, and apps
/// give up after half a minute to a minute.
const MAIL_TIMEOUT: Duration = Duration::from_secs(25);

/// How long a test that went well is believed, nanoseconds: a minute. Whoever asks for a new password
/// asks whether mail works, anybody may ask, and providers shut out who connects all the time.
const READY_NS: u64 = 60 * 1_000_000_000;

/// Longest subject, characters: what mail programs show of one, and no more than a line of the message may have.
const SUBJECT_CHARS_MAX: usize = 200;

/// Random bytes of a message's id: two ids never meet.
const MESSAGE_ID_BYTES: usize = 15;

/// Why a mail was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailError {
    /// No mail server is set.
    #[error("no mail server is set")]
    NotSetUp,
    /// Certificates and the date of a mail need the time.
    #[error("the time is not known well enough to send mail")]
    ClockUntrusted(#[source] ClockUntrusted),
    /// The recipient's address is none.
    #[error("the address cannot be written to")]
    Address(#[source] lettre::address::AddressError),
    /// The message cannot be put together.
    #[error("the message cannot be put together")]
    Message(#[source] lettre::error::Error),
    /// The system gives no random bytes for the message's id.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// No connection to the mail server.
    #[error("the mail server {host} cannot be reached on port {port}")]
    Connect {
        /// The server's name.
        host: String,
        /// The port.
        port: u16,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The encrypted connection did not come about.
    #[error("no safe connection to the mail server {host}")]
    Tls {
        /// The server's name.
        host: String,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// The server offers no encryption, and the password must not travel in the clear.
    #[error("the mail server {host} offers no STARTTLS")]
    NoStartTls {
        /// The server's name.
        host: String,
    },
    /// The server does not take user name and password.
    #[error("the mail server {host} does not accept the user name and password")]
    Login {
        /// The server's name.
        host: String,
        /// The server's words.
        #[source]
        source: lettre::transport::smtp::Error,
    },
    /// The server refuses this message.
    #[error("the mail server {host} refuses the mail")]
    Refused {
        /// The server's name.
        host: String,
        /// The server's words.
        #[source]
        source: lettre::transport::smtp::Error,
    },
    /// The server broke off, or speaks something else than SMTP.
    #[error("the mail server {host} does not answer as one")]
    Talk {
        /// The server's name.
        host: String,
        /// What it did.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server took too long.
    #[error("the mail server {host} does not answer in time")]
    Silent {
        /// The server's name.
        host: String,
    },
}

impl MailError {
    /// What the owner should do, as a sentence.
    fn advice(&self) -> &'static str {
        match self {
            Self::NotSetUp => "Set smtp_url and email_from.",
            Self::ClockUntrusted(_) => "It goes by itself once the clock is trusted.",
            Self::Address(_) => "Check the address.",
            Self::Message(_) => "Check email_from.",
            Self::Random(_) => "Restart the box.",
            Self::Connect { .. } => {
                "Check name and port in smtp_url; many networks block ports 25, 465 and 587."
            }
            Self::Tls { .. } => "Check name and port in smtp_url: smtps:// is for 465, smtp:// for 587.",
            Self::NoStartTls { .. } => "Use smtps:// and port 465 in smtp_url, or another mail server.",
            Self::Login { .. } => "Check user name and password in smtp_url.",
            Self::Refused { .. } => "Check email_from: most servers send for their own addresses only.",
            Self::Talk { .. } => "Check name and port in smtp_url.",
            Self::Silent { .. } => {
                "Check name and port in smtp_url; many networks block ports 25, 465 and 587."
            }
        }
    }

    /// Whether the failure says something about this one message only.
    fn is_of_one_message(&self) -> bool {
        match self {
            Self::Address(_) => true,
            Self::Refused { source, .. } => source.is_permanent() || source.is_transient(),
            _ => false,
        }
    }
}

impl From<MailError> for XrpcError {
    fn from(err: MailError) -> Self {
        match err {
            MailError::ClockUntrusted(why) => why.into(),
            MailError::NotSetUp => Self::not_implemented(
                "This server sends no mail. Its operator can change that with the settings smtp_url and email_from.",
            ),
            MailError::Address(_) => {
                Self::invalid_request("This e-mail address cannot be written to").because(chain(&err))
            }
            MailError::Message(_) | MailError::Random(_) => Self::internal(chain(&err)),
            err => {
                let text = format!(
                    "The mail was not sent: {err}. The operator of this server has to look at its mail settings; \
                     its log says more."
                );
                Self::upstream(text, chain(&err))
            }
        }
    }
}

/// Checks the mail settings without connecting.
///
/// # Errors
/// [`MailSettingsError`] names the setting; its text does not hold the password.
pub fn check(settings: &Mail) -> Result<(), MailSettingsError> {
    server::read(settings).map(|_| ())
}

/// Sends mail, or says why not.
pub(crate) struct Mailer {
    route: Option<Route>,
    clock: Clock,
    /// The host name of this server, for greetings and message ids.
    hostname: String,
    places: Semaphore,
    /// How long one mail may take.
    patience: Duration,
    trouble: Mutex<Option<String>>,
    /// When the last test went well, nanoseconds since the machine started; `None` after a failure.
    went_well_ns: Mutex<Option<u64>>,
    sent: Counter,
    failures: Counter,
}

struct Route {
    server: MailServer,
    from: Mailbox,
    tls: Arc<ClientConfig>,
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailer")
            .field("server", &self.route.as_ref().map(|r| &r.server))
            .finish_non_exhaustive()
    }
}

impl Mailer {
    /// Reads the settings; without any every mail fails with [`MailError::NotSetUp`].
    ///
    /// # Errors
    /// [`MailSettingsError`] names the setting.
    pub(crate) fn new(
        settings: Option<&Mail>,
        clock: Clock,
        hostname: String,
    ) -> Result<Self, MailSettingsError> {
        let tls = outbound::tls(clock.clone()).map_err(MailSettingsError::Tls)?;
        Self::with_tls(settings, clock, hostname, tls)
    }

    fn with_tls(
        settings: Option<&Mail>,
        clock: Clock,
        hostname: String,
        tls: ClientConfig,
    ) -> Result<Self, MailSettingsError> {
        let route = match settings {
            None => None,
            Some(mail) => {
                let (server, from) = server::read(mail)?;
                Some(Route { server, from, tls: Arc::new(tls) })
            }
        };
        Ok(Self {
            route,
            clock,
            hostname,
            places: Semaphore::new(CONVERSATIONS_MAX),
            patience: MAIL_TIMEOUT,
            trouble: Mutex::default(),
            went_well_ns: Mutex::default(),
            sent: Counter::default(),
            failures: Counter::default(),
        })
    }

    /// Counts there the mails that were taken, and those that were not.
    pub(crate) fn counted(self, sent: Counter, failures: Counter) -> Self {
        Self { sent, failures, ..self }
    }

    /// Tells whether a mail server is set.
    #[must_use]
    pub(crate) fn is_set_up(&self) -> bool {
        self.route.is_some()
    }

    /// How mail stands, for the owner: whether the last mail or test went well.
    #[must_use]
    pub(crate) fn state(&self) -> MailState {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match trouble {
            _ if self.route.is_none() => MailState::NotSetUp,
            Some(why) => MailState::Fails { why },
            None => MailState::SetUp,
        }
    }

    /// Sends a plain text to one address and waits until the mail server has taken it.
    ///
    /// # Errors
    /// [`MailError`]; the owner's status shows it too.
    pub(crate) async fn send(&self, to: &str, subject: &str, text: &str) -> Result<(), MailError> {
        let Some(route) = &self.route else { return Err(MailError::NotSetUp) };
        let now = self.clock.now().map_err(MailError::ClockUntrusted)?;
        let message = self.message(route, to, subject, text, now)?;
        self.talk(route, Some(&message)).await
    }

    /// Connects and signs in to the mail server without sending anything.
    ///
    /// # Errors
    /// [`MailError`].
    pub(crate) async fn test(&self) -> Result<(), MailError> {
        let Some(route) = &self.route else { return Err(MailError::NotSetUp) };
        self.clock.now().map_err(MailError::ClockUntrusted)?;
        let done = self.talk(route, None).await;
        // Mails leave no trace here: how long an answer takes must not tell that an account got one.
        let well = done.is_ok().then(|| self.clock.boottime_ns());
        *self.went_well_ns.lock().unwrap_or_else(PoisonError::into_inner) = well;
        done
    }

    /// Tells whether mail can be sent: by the last test while it is young, else by a new one.
    ///
    /// # Errors
    /// [`MailError`].
    pub(crate) async fn ready(&self) -> Result<(), MailError> {
        let went_well = *self.went_well_ns.lock().unwrap_or_else(PoisonError::into_inner);
        let is_young = |at: u64| self.clock.boottime_ns().saturating_sub(at) < READY_NS;
        if went_well.is_some_and(is_young) && self.clock.now().is_ok() { Ok(()) } else { self.test().await }
    }

    async fn talk(&self, route: &Route, message: Option<&Message>) -> Result<(), MailError> {
        let conversation = async {
            let _place = self.places.acquire().await;
            smtp::talk(&route.server, Arc::clone(&route.tls), &self.hostname, message).await
        };
        let done = match timeout(self.patience, conversation).await {
            Ok(done) => done,
            Err(_) => Err(MailError::Silent { host: route.server.host().to_owned() }),
        };
        if message.is_some() {
            if done.is_ok() {
                self.sent.inc()
            } else {
                self.failures.inc()
            };
        }
        match &done {
            Ok(()) => self.set_trouble(None),
            Err(e) => {
                tracing::warn!("mail: {}", chain(e));
                if !e.is_of_one_message() {
                    self.set_trouble(Some(sentence(e)));
                }
            }
        }
        done
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn message(
        &self,
        route: &Route,
        to: &str,
        subject: &str,
        text: &str,
        now: TrustedTime,
    ) -> Result<Message, MailError> {
        let to: Address = to.parse().map_err(MailError::Address)?;
        let mut id = [0_u8; MESSAGE_ID_BYTES];
        getrandom::fill(&mut id).map_err(MailError::Random)?;
        let id = format!("<{}@{}>", BASE32_NOPAD.encode(&id).to_lowercase(), self.hostname);
        // A line break would begin another header.
        let subject: String =
            subject.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SUBJECT_CHARS_MAX).collect();
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(now.unix_seconds());
        Message::builder()
            .from(route.from.clone())
            .to(Mailbox::new(None, to))
            .date(date)
            .message_id(Some(id))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text.to_owned())
            .map_err(MailError::Message)
    }
}

/// The failure and what to do about it, for the owner.
fn sentence(err: &MailError) -> String {
    let mut text = err.to_string();
    if let Some(first) = text.get(..1).map(str::to_ascii_uppercase) {
        text.replace_range(..1, &first);
    }
    format!("{text}. {}", err.advice())
}

//! Reads `smtp_url` and `email_from`, so forgivingly that a password pasted as it is works too.
//!
//! Owners write `smtp://name@host.example:p@ss/word#1@mail.host.example:587` although an URL wants such letters
//! percent-encoded. Here the last `@` ends the password and the first `:` ends the name, which reads both ways right;
//! `%` alone keeps its meaning where two hexadecimal digits follow.

use lettre::message::Mailbox;

use crate::{
    config::{Mail, Secret},
    outbound::OutboundError,
};

/// The submission port that begins in the clear and changes to TLS (RFC 6409).
const STARTTLS_PORT: u16 = 587;
/// The submission port that begins with TLS (RFC 8314).
const TLS_PORT: u16 = 465;

/// Says what is wrong with the mail settings. The text never shows the URL: it holds the password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailSettingsError {
    /// The URL has another scheme.
    #[error("smtp_url must begin with smtps:// (usually port 465) or smtp:// (usually port 587)")]
    Scheme,
    /// The URL names no server.
    #[error("smtp_url names no mail server: write smtps://user:password@host:465")]
    Host,
    /// What stands behind the server's name is no port.
    #[error("smtp_url has no number of a port behind the colon after the host")]
    Port,
    /// Name without password, or the reverse.
    #[error("smtp_url has a user name without a password: write smtps://user:password@host:465")]
    Password,
    /// The percent-encoded name or password is no text.
    #[error("the user name or password in smtp_url is not UTF-8 after its %XX are read")]
    NotText,
    /// The sender is none.
    #[error("email_from is not an e-mail address such as perch@example.com or Perch <perch@example.com>")]
    From(#[source] lettre::address::AddressError),
    /// TLS cannot be set up.
    #[error("no TLS for mail")]
    Tls(#[source] OutboundError),
}

/// How a connection becomes safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Safety {
    /// TLS from the first byte.
    Tls,
    /// STARTTLS, or nothing is sent.
    StartTls,
    /// STARTTLS where offered: a mail server on this very machine.
    StartTlsIfOffered,
}

/// A mail server as the settings name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailServer {
    host: String,
    port: u16,
    safety: Safety,
    /// User name and password.
    login: Option<(String, Secret)>,
}

impl MailServer {
    /// Reads `smtp://…` or `smtps://…`.
    ///
    /// # Errors
    /// [`MailSettingsError`].
    pub fn parse(url: &str) -> Result<Self, MailSettingsError> {
        let (scheme, rest) = url.trim().split_once("://").ok_or(MailSettingsError::Scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "smtps" => true,
            "smtp" => false,
            _ => return Err(MailSettingsError::Scheme),
        };
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        // Other servers' settings carry options behind the host; none of them means anything here.
        let place = place.split(['/', '?', '#']).next().unwrap_or_default();
        let (host, port) = split_port(place)?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(is_name) {
            return Err(MailSettingsError::Host);
        }
        let loopback = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        let safety = match (tls, loopback) {
            (true, _) => Safety::Tls,
            (false, true) => Safety::StartTlsIfOffered,
            (false, false) => Safety::StartTls,
        };
        let login = match login {
            None | Some("") => None,
            Some(login) => {
                let (name, password) = login.split_once(':').ok_or(MailSettingsError::Password)?;
                if name.is_empty() || password.is_empty() {
                    return Err(MailSettingsError::Password);
                }
                Some((decoded(name)?, Secret::new(decoded(password)?)))
            }
        };
        let port = port.unwrap_or(if tls { TLS_PORT } else { STARTTLS_PORT });
        Ok(Self { host: host.to_owned(), port, safety, login })
    }

    /// The server's name or address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The server's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn safety(&self) -> Safety {
        self.safety
    }

    /// Treats the server as one on another machine.
    #[cfg(test)]
    pub(super) fn must_be_safe(&mut self) {
        self.safety = Safety::StartTls;
    }

    pub(super) fn login(&self) -> Option<(&str, &Secret)> {
        self.login.as_ref().map(|(name, password)| (name.as_str(), password))
    }
}

/// Reads both settings.
pub(super) fn read(mail: &Mail) -> Result<(MailServer, Mailbox), MailSettingsError> {
    let server = MailServer::parse(mail.smtp_url.expose())?;
    let from = mail.from.trim().parse().map_err(MailSettingsError::From)?;
    Ok((server, from))
}

fn split_port(place: &str) -> Result<(&str, Option<u16>), MailSettingsError> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(MailSettingsError::Host)?;
            (host, port.strip_prefix(':'))
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = match port {
        None | Some("") => None,
        Some(port) => Some(port.parse().map_err(|_| MailSettingsError::Port)?),
    };
    Ok((host, port))
}

/// Reads `%XX`; a `%` without two hexadecimal digits stands for itself.
fn decoded(text: &str) -> Result<String, MailSettingsError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = match byte {
            Some(_) => after.get(2..).unwrap_or_default(),
            None => after,
        };
        bytes.push(byte.unwrap_or(*first));
    }
    String::from_utf8(bytes).map_err(|_| MailSettingsError::NotText)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> (String, u16, Safety, Option<(String, String)>) {
        let server = MailServer::parse(url).unwrap();
        let login = server.login().map(|(name, password)| (name.to_owned(), password.expose().to_owned()));
        (server.host().to_owned(), server.port(), server.safety(), login)
    }

    fn login(name: &str, password: &str) -> Option<(String, String)> {
        Some((name.to_owned(), password.to_owned()))
    }

    #[test]
    fn encoded_and_pasted_passwords_read_alike() {
        let expected = login("me@example.com", "p@ss:w/o#r?d%1 ü");
        for url in [
            "smtps://me%40example.com:p%40ss%3Aw%2Fo%23r%3Fd%251%20%C3%BC@mail.example.com",
            "smtps://me@example.com:p@ss:w/o#r?d%1 ü@mail.example.com",
            "SMTPS://me@example.com:p@ss:w/o#r?d%251%20ü@mail.example.com:465/?pool=true",
        ] {
            assert_eq!(
                read(url),
                ("mail.example.com".to_owned(), 465, Safety::Tls, expected.clone()),
                "{url}"
            );
        }
    }

    #[test]
    fn plain_smtp_must_become_safe_unless_it_stays_on_this_machine() {
        let host = |url| {
            let (host, port, safety, _) = read(url);
            (host, port, safety)
        };
        assert_eq!(
            host("smtp://a:b@mail.example.com"),
            ("mail.example.com".to_owned(), 587, Safety::StartTls)
        );
        assert_eq!(host("smtp://127.0.0.1:2525"), ("127.0.0.1".to_owned(), 2525, Safety::StartTlsIfOffered));
        assert_eq!(host("smtp://[::1]:25"), ("::1".to_owned(), 25, Safety::StartTlsIfOffered));
        assert_eq!(host("smtp://localhost"), ("localhost".to_owned(), 587, Safety::StartTlsIfOffered));
    }

    #[test]
    fn mistakes_are_named_and_the_password_is_not() {
        for (url, start) in [
            ("mail.example.com:587", "smtp_url must begin"),
            ("https://mail.example.com", "smtp_url must begin"),
            ("smtp://", "smtp_url names no"),
            ("smtp://a:hunter2@", "smtp_url names no"),
            ("smtp://a:hunter2@mail server", "smtp_url names no"),
            ("smtp://a:hunter2@host:many", "smtp_url has no number"),
            ("smtp://a:hunter2@host:99999", "smtp_url has no number"),
            ("smtp://name@host", "smtp_url has a user name"),
            ("smtp://a:hunter2%FF@host", "the user name or password"),
        ] {
            let error = MailServer::parse(url).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.starts_with(start), "{url}: {text}");
            assert!(!text.contains("hunter2"));
        }
        assert!(!format!("{:?}", MailServer::parse("smtp://a:hunter2@host").unwrap()).contains("hunter2"));
    }
}

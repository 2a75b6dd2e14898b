//! The forms of values: each takes what was given and makes the value of it, or says what is wrong.
//!
//! Pure. A refusal quotes what was given, but never a secret.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use atproto::{
    crypto::{PublicKey, SECRET_KEY_BYTES, SigningKey},
    didkey,
    syntax::{Datetime, Did, Handle},
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::Url;

use crate::{
    config::Secret,
    mail::{MailServer, MailSettingsError},
    server::client::LOOPBACK,
};

/// What a setting's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A name of a host.
    Host,
    /// A port.
    Port,
    /// An IP address.
    Address,
    /// An address of a private network with a port, or `none`.
    MetricsAddress,
    /// An http or https URL without a path.
    Url,
    /// A URL, or `none`.
    OptionalUrl,
    /// A list of URLs.
    Urls,
    /// A folder or file.
    Path,
    /// Yes or no.
    Switch,
    /// Domains of handles.
    Domains,
    /// A secret text.
    Secret {
        /// Fewest characters.
        chars_min: usize,
    },
    /// A private key.
    PrivateKey,
    /// A public key.
    PublicKey,
    /// A DID.
    Did,
    /// Networks.
    Networks,
    /// An SMTP server.
    Smtp,
    /// A sender of mail.
    Mailbox,
    /// A size.
    Bytes {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A span of time, or `none`.
    Span,
    /// A moment.
    Moment,
    /// A format of log lines.
    LogFormat,
    /// How much is logged.
    LogLevel,
}

impl Form {
    /// Describes the form to an owner.
    pub(super) fn words(self) -> String {
        let words = match self {
            Self::Host => "a host name",
            Self::Port => "a number, 1 to 65535",
            Self::Address => "an IP address",
            Self::MetricsAddress => "an IP address with a port, or `none`",
            Self::Url => "a URL without a path",
            Self::OptionalUrl => "a URL without a path, or `none`",
            Self::Urls => "a list of URLs",
            Self::Path => "an absolute path",
            Self::Switch => "`true` or `false`",
            Self::Domains => "a list of domains",
            Self::Secret { .. } => "text",
            Self::PrivateKey => "64 hexadecimal digits",
            Self::PublicKey => "a `did:key`",
            Self::Did => "a DID",
            Self::Networks => "a list of networks",
            Self::Smtp => "an SMTP URL",
            Self::Mailbox => "a mail address, perhaps with a name",
            Self::Bytes { .. } => {
                "a size: a number of bytes, or text with kB, MB, GB (1000) or KiB, MiB, GiB (1024)"
            }
            Self::Span => "a number with `days` or `hours`, or `none`",
            Self::Moment => "a date and time with its zone (RFC 3339), in quotation marks",
            Self::LogFormat => "`plain` or `json`",
            Self::LogLevel => "`error`, `warn`, `info`, `debug` or `trace`",
        };
        words.to_owned()
    }
}

/// What was given, before its form is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A string of the file, or a variable.
    Text(String),
    /// A number of the file.
    Number(i64),
    /// `true` or `false` in the file.
    Switch(bool),
    /// A list of strings in the file.
    List(Vec<String>),
    /// Something that no setting is, by its name.
    Other(&'static str),
}

/// The word that switches an optional setting off.
pub(super) const NONE: &str = "none";

impl Value {
    pub(super) fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) if text.trim().is_empty() => {
                Err("is empty; remove it, or give a value".to_owned())
            }
            Self::Text(text) => Ok(text.trim()),
            Self::Number(_) => Err("is a number; write it in quotation marks".to_owned()),
            Self::Switch(_) => Err("is true or false; text is needed".to_owned()),
            Self::List(_) => Err("is a list; one text is needed".to_owned()),
            Self::Other(what) => Err(format!("is a {what}; text is needed")),
        }
    }

    /// A list; a text is split at its commas, as in a variable.
    pub(super) fn list(&self) -> Result<Vec<String>, String> {
        match self {
            Self::List(list) => Ok(list.iter().map(|item| item.trim().to_owned()).collect()),
            Self::Text(text) if text.trim() == NONE => Ok(Vec::new()),
            Self::Text(_) => Ok(self.text()?.split(',').map(|item| item.trim().to_owned()).collect()),
            Self::Number(_) | Self::Switch(_) | Self::Other(_) => Err("must be a list of texts".to_owned()),
        }
    }

    fn number(&self) -> Result<i64, String> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Text(_) => {
                let text = self.text()?;
                text.parse().map_err(|_| format!("\"{text}\" is no whole number"))
            }
            Self::Switch(_) | Self::List(_) | Self::Other(_) => Err("must be a whole number".to_owned()),
        }
    }

    pub(super) fn switch(&self) -> Result<bool, String> {
        match self {
            Self::Switch(on) => Ok(*on),
            Self::Text(_) => match self.text()? {
                "true" => Ok(true),
                "false" => Ok(false),
                other => Err(format!("\"{other}\" is neither true nor false")),
            },
            Self::Number(_) | Self::List(_) | Self::Other(_) => Err("must be true or false".to_owned()),
        }
    }

    pub(super) fn port(&self) -> Result<u16, String> {
        let number = self.number()?;
        match u16::try_from(number) {
            Ok(port) if port > 0 => Ok(port),
            Ok(_) | Err(_) => Err(format!("{number} is no port: ports go from 1 to 65535")),
        }
    }

    /// An address on which to listen.
    pub(super) fn address(&self) -> Result<IpAddr, String> {
        let text = self.text()?;
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        bare.parse().map_err(|_| format!("\"{text}\" is no IP address (names and ports do not belong here)"))
    }

    /// An address that only this machine or a private network reaches.
    pub(super) fn metrics_address(&self) -> Result<Option<SocketAddr>, String> {
        let text = self.text()?;
        if text == NONE {
            return Ok(None);
        }
        let address: SocketAddr =
            text.parse().map_err(|_| format!("\"{text}\" is no IP address with a port"))?;
        if is_inside(address.ip()) {
            Ok(Some(address))
        } else {
            Err(format!(
                "{} can be reached from the internet; figures are for this machine or a private network",
                address.ip()
            ))
        }
    }

    /// A host name in lower case.
    pub(super) fn host(&self) -> Result<String, String> {
        let text = self.text()?;
        if text.contains("://") || text.contains('/') {
            return Err(format!("\"{text}\" is an address; give the name only, without https:// and path"));
        }
        if text.contains(':') {
            return Err(format!("\"{text}\" has a port; give the name only"));
        }
        let name = text.to_ascii_lowercase();
        if name == "localhost" {
            return Ok(name);
        }
        // A handle is a host name that can stand in DNS: the same rules.
        Handle::parse(&name).map(|_| name).map_err(|_| {
            format!("\"{text}\" is no name that can stand in DNS (it needs a dot, and letters at the end)")
        })
    }

    /// A base URL without its trailing slash.
    pub(super) fn url(&self) -> Result<String, String> {
        base_url(self.text()?)
    }

    /// A base URL, or none.
    pub(super) fn optional_url(&self) -> Result<Option<String>, String> {
        match self.text()? {
            NONE => Ok(None),
            text => base_url(text).map(Some),
        }
    }

    /// Base URLs.
    pub(super) fn urls(&self) -> Result<Vec<String>, String> {
        self.list()?.iter().map(|text| base_url(text)).collect()
    }

    pub(super) fn path(&self) -> Result<PathBuf, String> {
        let text = self.text()?;
        let path = PathBuf::from(text);
        if path.is_absolute() {
            Ok(path)
        } else {
            Err(format!(
                "\"{text}\" does not start with /: where it leads would depend on where the program is started"
            ))
        }
    }

    /// Domains, each with its leading dot.
    pub(super) fn domains(&self) -> Result<Vec<String>, String> {
        let list = self.list()?;
        if list.is_empty() {
            return Err("names no domain; without one nobody can have a handle".to_owned());
        }
        let domain = |text: &String| {
            let name = text.trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase();
            // What could be handed out must be a handle.
            let fits = Handle::parse(&format!("ada.{name}")).is_ok();
            if fits { Ok(format!(".{name}")) } else { Err(format!("\"{text}\" is no domain")) }
        };
        list.iter().map(domain).collect()
    }

    pub(super) fn secret(&self, chars_min: usize) -> Result<Secret, String> {
        let text = self.text()?;
        let chars = text.chars().count();
        if chars < chars_min {
            return Err(format!("has {chars} characters; {chars_min} are the least"));
        }
        Ok(Secret::new(text.to_owned()))
    }

    pub(super) fn private_key(&self) -> Result<SigningKey, String> {
        let text = self.text()?;
        let digits = text.len();
        let wrong = || {
            format!(
                "has {digits} characters that are not all hexadecimal digits, or is no private key; {} digits are needed",
                2 * SECRET_KEY_BYTES
            )
        };
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| wrong())?;
        SigningKey::from_bytes(&bytes).map_err(|_| wrong())
    }

    pub(super) fn public_key(&self) -> Result<PublicKey, String> {
        let text = self.text()?;
        didkey::parse_did_key(text).map_err(|error| format!("\"{text}\" is no public key: {error}"))
    }

    pub(super) fn did(&self) -> Result<String, String> {
        let text = self.text()?;
        if let Some((did, _)) = text.split_once('#') {
            return Err(format!("\"{text}\" names a service of {did}; give the DID alone"));
        }
        Did::parse(text).map(|did| did.to_string()).map_err(|error| format!("\"{text}\" is no DID: {error}"))
    }

    pub(super) fn networks(&self) -> Result<Vec<IpNet>, String> {
        let mut networks = Vec::new();
        for text in self.list()? {
            match (
                NETWORK_WORDS.iter().find(|(word, _)| *word == text),
                text.parse::<IpNet>(),
                text.parse::<IpAddr>(),
            ) {
                (Some((_, meant)), _, _) => networks.extend_from_slice(meant),
                (None, Ok(network), _) => networks.push(network.trunc()),
                (None, Err(_), Ok(address)) => networks.push(IpNet::from(address)),
                (None, Err(_), Err(_)) => {
                    return Err(format!(
                        "\"{text}\" is no address, no network such as 10.0.0.0/8, and none of the words loopback, linklocal, uniquelocal"
                    ));
                }
            }
        }
        if let Some(everybody) = networks.iter().find(|network| network.prefix_len() == 0) {
            return Err(format!("{everybody} is everybody: each caller could then choose an address"));
        }
        Ok(networks)
    }

    /// The URL of an SMTP server; what is wrong is said without showing it.
    pub(super) fn smtp(&self) -> Result<Secret, String> {
        let text = self.text()?;
        let read = MailServer::parse(text);
        // The name of the setting is said already.
        let why = |error: MailSettingsError| error.to_string().trim_start_matches("smtp_url ").to_owned();
        read.map(|_| Secret::new(text.to_owned())).map_err(why)
    }

    pub(super) fn mailbox(&self) -> Result<String, String> {
        let text = self.text()?;
        text.parse::<lettre::message::Mailbox>()
            .map(|_| text.to_owned())
            .map_err(|error| format!("\"{text}\" is no mail address: {error}"))
    }

    pub(super) fn bytes(&self, min: u64, max: u64) -> Result<u64, String> {
        let bytes = match self {
            Self::Number(number) => {
                u64::try_from(*number).map_err(|_| format!("{number} is less than nothing"))?
            }
            Self::Text(_) => size(self.text()?)?,
            Self::Switch(_) | Self::List(_) | Self::Other(_) => return Err("must be a size".to_owned()),
        };
        if bytes < min {
            return Err(format!("{bytes} bytes are too few; {min} are the least"));
        }
        if bytes > max {
            return Err(format!("{bytes} bytes are too many; {max} are the most"));
        }
        Ok(bytes)
    }

    /// A span of time, or none.
    pub(super) fn span(&self) -> Result<Option<Duration>, String> {
        let text = self.text()?;
        if text == NONE {
            return Ok(None);
        }
        let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
        let hours = match unit.trim() {
            "day" | "days" => 24,
            "hour" | "hours" => 1,
            _ => return Err(format!("\"{text}\" does not end in days or hours")),
        };
        match number.parse::<u32>() {
            Ok(number) if number > 0 => Ok(Some(Duration::from_secs(u64::from(number) * hours * 3600))),
            Ok(_) | Err(_) => Err(format!("\"{text}\" does not begin with a whole number above 0")),
        }
    }

    /// A moment, microseconds since 1970.
    pub(super) fn moment_us(&self) -> Result<u64, String> {
        let text = self.text()?;
        let moment = Datetime::parse(text).map_err(|error| format!("\"{text}\" is no moment: {error}"))?;
        u64::try_from(moment.unix_micros()).map_err(|_| format!("\"{text}\" is before 1970"))
    }

    /// One of some words.
    pub(super) fn word(&self, words: &[&'static str]) -> Result<&'static str, String> {
        let text = self.text()?;
        let found = words.iter().find(|word| **word == text).copied();
        found.ok_or_else(|| format!("\"{text}\" is none of {}", words.join(", ")))
    }
}

/// Words for networks, with the meaning that express and so the reference give them.
const NETWORK_WORDS: [(&str, &[IpNet]); 3] = [
    ("loopback", &LOOPBACK),
    ("linklocal", &[v4(169, 254, 16), v6(0xfe80, 10)]),
    ("uniquelocal", &[v4(10, 0, 8), v4(172, 16, 12), v4(192, 168, 16), v6(0xfc00, 7)]),
];

const fn v4(first: u8, second: u8, prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(first, second, 0, 0), prefix))
}

const fn v6(first: u16, prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), prefix))
}

/// Whether an address is this machine's own or one of a private network.
fn is_inside(address: IpAddr) -> bool {
    let address = address.to_canonical();
    NETWORK_WORDS.iter().any(|(_, networks)| networks.iter().any(|network| network.contains(&address)))
}

fn base_url(text: &str) -> Result<String, String> {
    let url =
        Url::parse(text).map_err(|error| format!("\"{text}\" is no URL: {error}")).and_then(
            |url| match url.scheme() {
                "https" | "http" => Ok(url),
                other => Err(format!("\"{text}\" is a {other} address; it must begin with https://")),
            },
        )?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user name or password in it, which do not belong there".to_owned());
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("\"{text}\" has a path; give the address of the server only"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Reads `100 MiB`.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let factor =
        SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor);
    match (number.parse::<u64>(), factor) {
        (Ok(number), Some(factor)) => {
            number.checked_mul(factor).ok_or_else(|| format!("\"{text}\" is larger than any disk"))
        }
        (Ok(_), None) => Err(format!("\"{unit}\" is no unit of size: kB, MB, GB, KiB, MiB and GiB are")),
        (Err(_), _) => Err(format!("\"{text}\" is no size: it begins with a whole number")),
    }
}

const SIZE_UNITS: [(&str, u64); 8] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

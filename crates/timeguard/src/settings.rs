//! What the owner may set about time: a small TOML file, or nothing. Every setting is in `docs/settings-time.md`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::certificates::Hosts;
use crate::names::{NTP_PORT, host_and_port};
use crate::policy::{AGREEING_MIN, GIVEN_OPERATOR, Server};

/// Longest settings file, bytes: 64 KiB, a hundred times what all settings take.
pub const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Most servers of the file. Sixteen: each takes memory and is asked every minute.
const SERVERS_MAX: usize = 16;

/// Most hosts whose certificates are looked at: each is a connection to a stranger.
const HOSTS_MAX: usize = 8;

/// Bounds of the poll, seconds: RFC 4330 section 10 forbids less than 15, and an answer votes for 10 min.
const POLL_MIN_S: u64 = 16;
const POLL_MAX_S: u64 = 256;

/// Seconds between questions to one server when nothing is set: a minute, of which any public server takes millions.
const POLL_DEFAULT_S: u64 = 64;

/// Servers that are asked when none are set: five operators in five organisations, none of which smears leap seconds
/// (a server that smears contradicts the others for a day around one).
const SERVERS_DEFAULT: [(&str, &str); 5] = [
    ("ptbtime1.ptb.de", "PTB"),
    ("ntp.se", "Netnod"),
    ("time.nist.gov", "NIST"),
    ("ntp.time.nl", "SIDN Labs"),
    ("2.pool.ntp.org", "NTP Pool"),
];

/// Hosts whose certificates are looked at when none are set: different owners, and certificates of different
/// authorities that are renewed every few weeks.
const HOSTS_DEFAULT: [&str; 4] =
    ["www.debian.org", "www.wikipedia.org", "www.rfc-editor.org", "www.kernel.org"];

/// The settings in force.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The servers.
    pub servers: Vec<Server>,
    /// Whether servers that DHCP names are asked.
    pub use_dhcp: bool,
    /// Seconds between questions to one server.
    pub poll_s: u64,
    /// Whose certificates tell the date.
    pub hosts: Hosts,
}

impl Default for Settings {
    fn default() -> Self {
        let server =
            |(name, operator): (&str, &str)| Server { name: name.to_owned(), operator: operator.to_owned() };
        Self {
            servers: SERVERS_DEFAULT.into_iter().map(server).collect(),
            use_dhcp: true,
            poll_s: POLL_DEFAULT_S,
            hosts: Hosts { names: HOSTS_DEFAULT.map(str::to_owned).to_vec(), roots: None },
        }
    }
}

/// Why settings are refused, in words for whoever wrote them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The text is no TOML, or has a setting that there is none of.
    #[error("{0}")]
    Text(String),
    /// A name or address cannot be one.
    #[error("{setting}: \"{name}\" is no host name or address (write time.example.org, or 192.0.2.1:123)")]
    Name {
        /// The setting.
        setting: &'static str,
        /// What was written.
        name: String,
    },
    /// Too few operators.
    #[error(
        "servers: {operators} operators, but {AGREEING_MIN} must agree; name at least {AGREEING_MIN}, better 4 or more"
    )]
    FewOperators {
        /// How many there are.
        operators: usize,
    },
    /// The operator's name is empty or taken.
    #[error("servers: the operator of {name} is empty or \"{GIVEN_OPERATOR}\": say who runs the server")]
    Operator {
        /// The server.
        name: String,
    },
    /// A server stands twice.
    #[error("servers: {name} stands there twice")]
    Twice {
        /// The server.
        name: String,
    },
    /// A list is too long.
    #[error("{setting}: {count} entries, at most {most} are allowed")]
    Many {
        /// The setting.
        setting: &'static str,
        /// How many there are.
        count: usize,
        /// How many may be.
        most: usize,
    },
    /// One host cannot prove a date.
    #[error("certificate_hosts: name two hosts at least, of different owners, or none to do without")]
    OneHost,
    /// The poll is out of bounds.
    #[error("poll_s: {poll_s} is not from {POLL_MIN_S} to {POLL_MAX_S} seconds")]
    Poll {
        /// What was written.
        poll_s: u64,
    },
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    servers: Option<Vec<Server>>,
    use_dhcp: Option<bool>,
    poll_s: Option<u64>,
    certificate_hosts: Option<Vec<String>>,
    certificate_roots: Option<PathBuf>,
}

impl Settings {
    /// Reads settings; what is not written has its default, and an empty text is all defaults.
    ///
    /// # Errors
    /// [`SettingsError`], for the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let written: Written = toml::from_str(text)
            .map_err(|error| SettingsError::Text(error.to_string().trim_end().to_owned()))?;
        let default = Self::default();
        let settings = Self {
            servers: written.servers.unwrap_or(default.servers),
            use_dhcp: written.use_dhcp.unwrap_or(default.use_dhcp),
            poll_s: written.poll_s.unwrap_or(default.poll_s),
            hosts: Hosts {
                names: written.certificate_hosts.unwrap_or(default.hosts.names),
                roots: written.certificate_roots,
            },
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), SettingsError> {
        check_len("servers", self.servers.len(), SERVERS_MAX)?;
        check_len("certificate_hosts", self.hosts.names.len(), HOSTS_MAX)?;
        let mut operators: Vec<&str> = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        for server in &self.servers {
            check_name("servers", &server.name)?;
            let operator = server.operator.trim();
            if operator.is_empty() || operator == GIVEN_OPERATOR {
                return Err(SettingsError::Operator { name: server.name.clone() });
            }
            if names.contains(&server.name.as_str()) {
                return Err(SettingsError::Twice { name: server.name.clone() });
            }
            names.push(&server.name);
            if !operators.contains(&operator) {
                operators.push(operator);
            }
        }
        if operators.len() < AGREEING_MIN {
            return Err(SettingsError::FewOperators { operators: operators.len() });
        }
        for host in &self.hosts.names {
            check_name("certificate_hosts", host)?;
        }
        if self.hosts.names.len() == 1 {
            return Err(SettingsError::OneHost);
        }
        if !(POLL_MIN_S..=POLL_MAX_S).contains(&self.poll_s) {
            return Err(SettingsError::Poll { poll_s: self.poll_s });
        }
        Ok(())
    }
}

fn check_len(setting: &'static str, count: usize, most: usize) -> Result<(), SettingsError> {
    if count > most { Err(SettingsError::Many { setting, count, most }) } else { Ok(()) }
}

fn check_name(setting: &'static str, name: &str) -> Result<(), SettingsError> {
    match host_and_port(name, NTP_PORT) {
        Some(_) => Ok(()),
        None => Err(SettingsError::Name { setting, name: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_written_is_the_defaults_and_they_pass_their_own_checks() {
        let settings = Settings::parse("").unwrap();
        assert_eq!(settings.servers.len(), SERVERS_DEFAULT.len());
        assert!(settings.servers.len() > AGREEING_MIN && settings.hosts.names.len() > 2);
        assert!(settings.use_dhcp && settings.hosts.roots.is_none());
    }

    #[test]
    fn all_settings_are_read() {
        let text = r#"
            use_dhcp = false
            poll_s = 32
            certificate_hosts = ["a.example", "b.example:8443"]
            certificate_roots = "/etc/roots.pem"
            servers = [
                { name = "192.0.2.1:1123", operator = "A" },
                { name = "b.example", operator = "B" },
                { name = "2001:db8::1", operator = "C" },
            ]
        "#;
        let settings = Settings::parse(text).unwrap();
        assert_eq!((settings.use_dhcp, settings.poll_s, settings.servers.len()), (false, 32, 3));
        assert_eq!(settings.servers[1].operator, "B");
        assert_eq!(settings.hosts.roots, Some(PathBuf::from("/etc/roots.pem")));
        assert!(Settings::parse("certificate_hosts = []").unwrap().hosts.names.is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let three = |third: &str| {
            format!(
                "servers = [{{ name = \"a\", operator = \"A\" }}, {{ name = \"b\", operator = \"B\" }}, {third}]"
            )
        };
        let cases = [
            ("poll = 5".to_owned(), "poll"),
            ("poll_s = 5".to_owned(), "16 to 256"),
            ("servers = []".to_owned(), "0 operators"),
            (three(r#"{ name = "c", operator = "A" }"#), "2 operators"),
            (three(r#"{ name = "c", operator = "dhcp" }"#), "say who runs"),
            (three(r#"{ name = "c", operator = " " }"#), "say who runs"),
            (three(r#"{ name = "a", operator = "C" }"#), "twice"),
            (three(r#"{ name = "http://c", operator = "C" }"#), "http://c"),
            (three(r#"{ name = "c" }"#), "operator"),
            (r#"certificate_hosts = ["a"]"#.to_owned(), "two hosts"),
            (r#"certificate_hosts = ["a", "b c"]"#.to_owned(), "b c"),
            (format!("certificate_hosts = [{}]", r#""a","#.repeat(9)), "at most 8"),
        ];
        for (text, expected) in cases {
            let said = Settings::parse(&text).unwrap_err().to_string();
            assert!(said.contains(expected), "{text}\n{said}");
        }
    }
}

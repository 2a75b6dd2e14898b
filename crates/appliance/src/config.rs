//! The owner's settings, `perch.toml` on the boot partition: read by the supervisor, of which each program gets its part.
//!
//! Parsing only. The file holds the Wi-Fi password and the secret of the box, so that no other program may read it.

use serde::Deserialize;

/// Largest `perch.toml` that is read, bytes: a full one has 4 KiB.
pub const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The box's name on the home network when its owner gives none.
pub const HOSTNAME: &str = "perch";

/// The settings.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The box's name on the home network; `perch` without it.
    pub hostname: Option<String>,
    /// Proves presence on a box without screen and button, once; at least 12 characters.
    pub secret: Option<String>,
    /// The wireless network to join; without it only cables are used.
    pub wifi: Option<Wifi>,
    /// What the time guard is given.
    pub time: toml::Table,
    /// What the PDS is given: the settings of `docs/settings.md`.
    pub pds: toml::Table,
}

/// A wireless network.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wifi {
    /// Two letters: which channels are allowed where the box stands.
    pub country: String,
    /// The network's name.
    pub ssid: String,
    /// Its password, 8 to 63 characters; none for an open network.
    pub password: Option<String>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("hostname", &self.hostname).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Wifi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wifi").field("ssid", &self.ssid).finish_non_exhaustive()
    }
}

/// Why settings are refused. The text never holds a value: one of them is a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// It is no TOML, or a name is unknown.
    #[error("perch.toml, line {line}: {what}")]
    Form {
        /// The line.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// The hostname cannot be one.
    #[error("perch.toml: `hostname` is 1 to 63 letters, digits and hyphens (RFC 1123 section 2.1)")]
    Hostname,
    /// The wireless network cannot be.
    #[error("perch.toml: in `wifi`, {0}")]
    Wifi(&'static str),
}

impl Settings {
    /// Reads and checks the text of the file.
    ///
    /// # Errors
    /// [`SettingsError`], in words for the owner.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let settings: Self = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).map_or(0, |before| before.matches('\n').count()) + 1;
            SettingsError::Form { line, what: error.message().to_owned() }
        })?;
        if settings.hostname.as_deref().is_some_and(|name| !is_hostname(name)) {
            return Err(SettingsError::Hostname);
        }
        if let Some(wifi) = &settings.wifi {
            wifi.check()?;
        }
        Ok(settings)
    }

    /// Gives the PDS's address for clients; empty while its settings name no host.
    #[must_use]
    pub fn pds_url(&self) -> String {
        let hostname = self.pds.get("hostname").and_then(toml::Value::as_str);
        hostname.map(|hostname| format!("https://{hostname}")).unwrap_or_default()
    }
}

fn is_hostname(name: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (1..=63).contains(&name.len()) && letters && !name.starts_with('-') && !name.ends_with('-')
}

impl Wifi {
    fn check(&self) -> Result<(), SettingsError> {
        let wrong = |what| Err(SettingsError::Wifi(what));
        if self.country.len() != 2 || !self.country.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return wrong("`country` is two capital letters, such as DE");
        }
        // IEEE 802.11 section 9.4.2.2.
        if !(1..=32).contains(&self.ssid.len()) {
            return wrong("`ssid` is 1 to 32 bytes long");
        }
        let password = self.password.as_deref().unwrap_or("eight888");
        if !(8..=63).contains(&password.len()) || !password.bytes().all(|byte| (32..127).contains(&byte)) {
            return wrong("`password` is 8 to 63 plain characters");
        }
        Ok(())
    }

    /// Writes the file that wpa_supplicant reads. The name goes in hexadecimal digits and the password was checked, so
    /// that neither can end its line or its quotes.
    #[must_use]
    pub fn wpa_supplicant(&self) -> String {
        use std::fmt::Write as _;
        let mut ssid = String::new();
        for byte in self.ssid.bytes() {
            // Writing into a string cannot fail.
            let _never = write!(ssid, "{byte:02x}").is_err();
        }
        let key = match &self.password {
            // Within quotes everything up to the last quote of the line counts (wpa_supplicant.conf).
            Some(password) => format!("\tpsk=\"{password}\"\n\tkey_mgmt=WPA-PSK SAE\n\tieee80211w=1\n"),
            None => "\tkey_mgmt=NONE\n".to_owned(),
        };
        format!(
            "country={}\nupdate_config=0\nnetwork={{\n\tssid={ssid}\n\tscan_ssid=1\n{key}}}\n",
            self.country
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "hostname = \"perch\"\nsecret = \"correct horse battery\"\n[wifi]\ncountry = \"DE\"\n\
        ssid = \"Home \\\"net\\\"\\n\"\npassword = \"pass\\\" word\"\n[time]\nservers = [\"a.example\"]\n\
        [pds]\nhostname = \"pds.example.com\"\n";

    #[test]
    fn settings_are_read_and_never_shown() {
        let settings = Settings::parse(FULL).unwrap();
        assert_eq!(settings.pds["hostname"].as_str(), Some("pds.example.com"));
        let shown = format!("{settings:?} {:?}", settings.wifi);
        assert!(!shown.contains("horse") && !shown.contains("word"), "{shown}");
        assert_eq!(Settings::parse("").unwrap(), Settings::default());
    }

    #[test]
    fn mistakes_are_named_by_their_line_and_without_the_value() {
        let error = Settings::parse("hostname = \"x\"\nsecrt = \"correct horse\"\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("secrt") && !error.contains("horse"), "{error}");
        assert_eq!(Settings::parse("hostname = \"-x\""), Err(SettingsError::Hostname));
        for wifi in [
            "country = \"de\"\nssid = \"x\"",
            "country = \"DE\"\nssid = \"\"",
            "country = \"DE\"\nssid = \"x\"\npassword = \"short\"",
            "country = \"DE\"\nssid = \"x\"\npassword = \"long enough\\n}\"",
        ] {
            let text = format!("[wifi]\n{wifi}\n");
            assert!(matches!(Settings::parse(&text), Err(SettingsError::Wifi(_))), "{wifi}");
        }
    }

    #[test]
    fn no_name_of_a_network_can_write_lines_of_its_own() {
        let wifi = Settings::parse(FULL).unwrap().wifi.unwrap();
        let file = wifi.wpa_supplicant();
        assert!(file.contains("\tssid=486f6d6520226e6574220a\n"), "{file}");
        assert!(file.contains("\tpsk=\"pass\" word\"\n"));
        assert_eq!(file.lines().count(), 9);
    }
}

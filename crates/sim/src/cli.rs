//! The command line of `perch`: what can be asked for, and its help text.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::command;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "perch",
    version,
    about = "The whole Perch appliance on this computer: PDS, status page, screen, time guard, PLC directory.",
    after_long_help = after_help(),
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// How to run, when no subcommand is given.
    #[command(flatten)]
    pub run: RunArgs,
    /// What to do instead of running.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// The options of a running appliance.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Prints one line when everything serves, reads commands from standard input, draws nothing.
    #[arg(long)]
    pub headless: bool,
    /// The data folder. It remembers its PLC directory and refuses another.
    #[arg(long, value_name = "DIR", default_value = "perch-data")]
    pub data: PathBuf,
    /// The port of the PDS on 127.0.0.1; 0 chooses a free one.
    #[arg(long, value_name = "N", default_value_t = 2583)]
    pub pds_port: u16,
    /// The port of the status page on 127.0.0.1; 0 chooses a free one.
    #[arg(long, value_name = "N", default_value_t = 8080)]
    pub panel_port: u16,
    /// Where accounts are registered: `builtin` is a directory inside this process (a simulation: nobody else sees it),
    /// or the URL of a real one.
    #[arg(long, value_name = "builtin|URL", default_value = "builtin")]
    pub plc: Plc,
    /// The port of the built-in PLC directory; 0 chooses a free one, the same at every start of a data folder.
    #[arg(long, value_name = "N", default_value_t = 2582)]
    pub plc_port: u16,
    /// The seed of what is random in the simulated world: network delays of the time servers.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Multiplies every rate limit of the PDS; for load tests.
    #[arg(long, value_name = "N", env = "PERCH_RATE_LIMIT_MULTIPLIER", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub rate_limit_multiplier: u32,
    /// What is logged to standard error: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: tracing::Level,
}

/// What `perch` can do besides running.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Saves a page of the screen as a PNG picture.
    ///
    /// The page shows the appliance that runs on this computer (see --panel); when none runs, an example.
    Screenshot {
        /// The page: trouble, set-up, home, network, time or storage.
        page: appliance::screen::Page,
        /// The file to write.
        file: PathBuf,
        /// The side of one screen pixel in the picture, in pixels.
        #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
        scale: u8,
        /// The status page of the running appliance.
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080", value_parser = panel_address)]
        panel: String,
    },
}

/// Reads the address of a status page: `HOST:PORT`, or the URL as the browser shows it.
fn panel_address(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let port =
        bare.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) if !bare.contains('/') => Ok(bare.to_owned()),
        _ => Err("give HOST:PORT, such as 127.0.0.1:8080".to_owned()),
    }
}

/// Which PLC directory accounts belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plc {
    /// The one inside this process.
    Builtin,
    /// One on the network, by URL without a trailing slash.
    Url(String),
}

impl std::str::FromStr for Plc {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "builtin" {
            return Ok(Self::Builtin);
        }
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        match rest {
            Some(host) if !host.trim_matches('/').is_empty() => {
                Ok(Self::Url(text.trim_end_matches('/').to_owned()))
            }
            _ => Err("give builtin, or a URL that starts with https:// or http://".to_owned()),
        }
    }
}

impl std::fmt::Display for Plc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Builtin => f.write_str("builtin"),
            Self::Url(url) => f.write_str(url),
        }
    }
}

fn after_help() -> String {
    format!(
        "Commands, one a line on standard input while it runs:\n{}\n\n\
         With --headless exactly one line is printed on standard output when all serve:\n\
         READY pds=URL panel=URL plc=URL\n\n\
         The settings of the PDS (docs/settings.md) are taken from variables PERCH_PDS_*, such as\n\
         PERCH_PDS_APPVIEW_URL; the ports and folders above go before them.\n\n\
         Exit codes: 0 ended in order, 1 failed, 2 the command line or the data folder is refused.",
        command::HELP
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_explains_the_commands_on_standard_input() {
        let help = Cli::command().render_long_help().to_string();
        for word in ["ssd pull", "power cut", "READY pds=URL", "--plc-port", "screenshot"] {
            assert!(help.contains(word), "{word} is missing");
        }
    }

    #[test]
    fn plc_is_builtin_or_a_url() {
        assert_eq!("builtin".parse(), Ok(Plc::Builtin));
        assert_eq!("https://plc.directory/".parse(), Ok(Plc::Url("https://plc.directory".to_owned())));
        assert!("plc.directory".parse::<Plc>().is_err());
        assert!("https://".parse::<Plc>().is_err());
    }

    #[test]
    fn a_status_page_is_named_as_the_browser_shows_it_or_refused() {
        for text in ["127.0.0.1:8080", "http://127.0.0.1:8080", "http://127.0.0.1:8080/"] {
            assert_eq!(panel_address(text), Ok("127.0.0.1:8080".to_owned()), "{text}");
        }
        for text in ["", "8080", ":8080", "localhost", "https://box:8080", "http://box:8080/x", "box:port"] {
            assert!(panel_address(text).is_err(), "{text}");
        }
    }
}

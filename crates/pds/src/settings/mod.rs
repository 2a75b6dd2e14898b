//! The settings of a PDS that runs alone: one TOML file, and over it environment variables of the same names.
//!
//! All mistakes are found at once, each with its place and a right example. No value of a secret is ever shown. Reads
//! no file and no environment itself: `main` hands both over.

mod build;
mod given;
mod show;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::{fmt, net::SocketAddr, path::PathBuf};

pub use show::document;

use self::given::Origin;
use crate::config::Config;

/// What every variable begins with.
pub const ENV_PREFIX: &str = "PERCH_PDS_";

/// Everything that `perch-pds` is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the PDS itself is told.
    pub config: Config,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether the owner chose the address: without a choice, a machine without IPv6 listens on IPv4.
    pub listen_chosen: bool,
    /// Which clock it believes.
    pub time: TimeSource,
    /// How it logs.
    pub log: Log,
    /// What is allowed but may surprise, in whole sentences.
    pub notes: Vec<String>,
    in_force: Vec<show::InForce>,
}

/// Which clock is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// The kernel's, while the kernel says that it is synchronised to within 5 s.
    Kernel,
    /// The word of the time guard in a file.
    Guard(PathBuf),
    /// The kernel's without proof: dev mode alone.
    Unproven,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// As JSON objects instead of plain lines.
    pub json: bool,
    /// The least important level that is written.
    pub level: tracing::Level,
}

/// One mistake in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(String);

impl Problem {
    fn at(origin: &Origin, what: impl fmt::Display) -> Self {
        Self(format!("{origin}: {what}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the settings from the file's name and text, if there is a file, and the environment.
///
/// # Errors
/// All problems, in the order of the file, then the variables.
pub fn read(
    file: Option<(&str, &str)>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut given = file.map(|(name, text)| given::from_file(text, name, &mut problems)).unwrap_or_default();
    given::overlay(&mut given, variables, &mut problems);
    build::settings(&given, problems)
}

/// Lays the variables alone over settings that were made elsewhere: the simulator's.
///
/// # Errors
/// All problems.
pub fn overlay(
    config: Config,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut given = given::AllGiven::new();
    given::overlay(&mut given, variables, &mut problems);
    build::over(config, &given, problems)
}

//! What can go wrong while a machine is prepared, booted and used: one variant per failed operation.

use std::{path::PathBuf, time::Duration};

/// Why the test machine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TestbedError {
    /// A program of the host is missing.
    #[error("cannot start `{program}`: run `cargo xtask test --only device` once, which installs it")]
    Program {
        /// Its name.
        program: String,
        /// Why it did not start.
        #[source]
        source: std::io::Error,
    },
    /// A program of the host failed.
    #[error("`{command}` failed: {said}")]
    Command {
        /// The command line.
        command: String,
        /// What it wrote to standard error.
        said: String,
    },
    /// A Debian package is not offered.
    #[error("no package {0}: run `apt-get update`, and before it for arm64 `dpkg --add-architecture arm64`")]
    Package(String),
    /// A file of the host could not be read or written.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// An image is no image of a box, or its card cannot be written.
    #[error("the card cannot be used")]
    Card(#[from] image::ImageError),
    /// The firmware finds nothing on the card that it can start.
    #[error("the box stays dark")]
    Dark(#[from] image::firmware::StartError),
    /// The kernel's package does not hold what was expected.
    #[error("the kernel package has no {0}")]
    Kernel(String),
    /// QEMU ended before the agent spoke.
    #[error("the machine ended while booting ({status}); its log ends with:\n{log}")]
    Ended {
        /// QEMU's exit status, and what it said.
        status: String,
        /// The end of the serial log.
        log: String,
    },
    /// The guest did not answer in time.
    #[error("the guest did not answer `{what}` within {limit:?}; its log ends with:\n{log}")]
    Late {
        /// What was asked.
        what: String,
        /// How long was waited.
        limit: Duration,
        /// The end of the serial log.
        log: String,
    },
    /// The connection to the guest broke.
    #[error("the guest is gone")]
    Gone,
    /// Talking to the guest or to QEMU failed.
    #[error("cannot {operation}")]
    Talk {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A command ran in the guest and failed.
    #[error("`{script}` ended with {code} in the guest:\n{stdout}{stderr}")]
    Failed {
        /// What was run.
        script: String,
        /// Its exit code.
        code: i32,
        /// What it wrote.
        stdout: String,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// QEMU's monitor refused.
    #[error("QEMU refused `{command}`: {answer}")]
    Refused {
        /// The monitor command.
        command: String,
        /// QEMU's answer.
        answer: String,
    },
}

impl TestbedError {
    /// Names the operation on a file that failed.
    pub(crate) fn file(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { operation, path, source }
    }

    /// Names the conversation that failed.
    pub(crate) fn talk(operation: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Talk { operation, source }
    }
}

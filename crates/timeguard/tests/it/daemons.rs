//! chronyd and ntpd as Debian ships them, unpacked below `target/` and never installed: installed, they would start by
//! themselves and set this machine's clock. They run without the right to set it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// The packages, with the libraries that a bare system lacks.
const PACKAGES: &[&str] = &[
    "chrony",
    "ntpsec",
    "libfaketime",
    "libedit2",
    "libbsd0",
    "libmd0",
    "libnettle8",
    "libhogweed6",
    "libgnutls30",
    "libseccomp2",
    "libcap2",
];

/// A program that ends with the test.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Gives the folder with the unpacked packages, fetching them once.
fn unpacked() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("time-servers");
        if target.join("usr/sbin/chronyd").exists() {
            return target;
        }
        let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let fetch = || {
            let mut apt = Command::new("apt-get");
            apt.args(["-q", "download"]).args(PACKAGES).current_dir(work.path());
            apt.stdout(Stdio::null()).status().unwrap().success()
        };
        if !fetch() {
            // A fresh machine knows no packages yet.
            drop(Command::new("apt-get").args(["-q", "update"]).stdout(Stdio::null()).status());
            assert!(fetch(), "these tests need the Debian packages {PACKAGES:?}");
        }
        let new = work.path().join("root");
        for package in std::fs::read_dir(work.path()).unwrap().flatten() {
            if package.path().extension().is_some_and(|extension| extension == "deb") {
                let done = Command::new("dpkg-deb").arg("-x").arg(package.path()).arg(&new).status();
                assert!(done.unwrap().success());
            }
        }
        // Another process may have been quicker; its copy is as good.
        drop(std::fs::rename(&new, &target));
        target
    })
}

fn libraries() -> PathBuf {
    let lib = unpacked().join("usr/lib");
    let folders = std::fs::read_dir(lib).unwrap().flatten().map(|entry| entry.path());
    folders.into_iter().find(|folder| folder.join("faketime").exists()).unwrap()
}

fn start(program: &str, arguments: &[&str], ahead_s: i64) -> Running {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-sys_time", "--inh-caps", "-sys_time", "--"]);
    command.arg(unpacked().join(program)).args(arguments);
    command.env("LD_LIBRARY_PATH", libraries());
    if ahead_s != 0 {
        command.env("LD_PRELOAD", libraries().join("faketime/libfaketime.so.1"));
        command.env("FAKETIME", format!("{ahead_s:+}"));
    }
    Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// Starts chronyd on port 123 of a loopback address; it serves a time that is so many seconds ahead.
pub(crate) fn chrony(folder: &Path, address: Ipv4Addr, ahead_s: i64) -> Running {
    let file = chrony_file(folder, address, 123);
    start("usr/sbin/chronyd", &["-d", "-x", "-U", "-u", "root", "-f", file.to_str().unwrap()], ahead_s)
}

/// Gives the line of a shell that starts an honest chronyd on a port of a loopback address.
pub(crate) fn chrony_command(folder: &Path, address: Ipv4Addr, port: u16) -> String {
    let file = chrony_file(folder, address, port);
    line("usr/sbin/chronyd", &format!("-d -x -U -u root -f {}", file.display()))
}

fn chrony_file(folder: &Path, address: Ipv4Addr, port: u16) -> PathBuf {
    let file = folder.join(format!("chrony-{address}.conf"));
    let pid = folder.join(format!("chrony-{address}.pid"));
    let text = format!(
        "bindaddress {address}\nport {port}\nallow all\nlocal stratum 2\ncmdport 0\nbindcmdaddress /\npidfile {}\n",
        pid.display()
    );
    std::fs::write(&file, text).unwrap();
    file
}

/// Gives the line of a shell that starts ntpsec's ntpd on port 123 of an interface's address.
pub(crate) fn ntpsec_command(folder: &Path, address: Ipv4Addr) -> String {
    let file = folder.join("ntp.conf");
    let text = format!(
        "interface ignore all\ninterface listen {address}\ndisable ntp\ntos orphan 3 orphanwait 0\nrefclock local stratum 3\n"
    );
    std::fs::write(&file, text).unwrap();
    line("usr/sbin/ntpd", &format!("-n -c {}", file.display()))
}

fn line(program: &str, arguments: &str) -> String {
    format!(
        "LD_LIBRARY_PATH={} setpriv --bounding-set -sys_time --inh-caps -sys_time -- {} {arguments} >/dev/null 2>&1 &",
        libraries().display(),
        unpacked().join(program).display()
    )
}

//! chronyd and ntpd as Debian ships them, unpacked below `target/` and never installed: installed, they would start by
//! themselves and set this machine's clock. They run without the right to set it.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use testbed::Programs;

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

fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| Programs::fetch(PACKAGES).unwrap())
}

fn libraries() -> OsString {
    std::env::join_paths(programs().libraries()).unwrap()
}

fn start(program: &str, arguments: &[&str], ahead_s: i64) -> Running {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-sys_time", "--inh-caps", "-sys_time", "--"]);
    command.arg(programs().file(program).unwrap()).args(arguments);
    command.env("LD_LIBRARY_PATH", libraries());
    if ahead_s != 0 {
        let folders =
            programs().libraries().into_iter().map(|folder| folder.join("faketime/libfaketime.so.1"));
        command.env("LD_PRELOAD", folders.into_iter().find(|file| file.exists()).unwrap());
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
        libraries().to_string_lossy(),
        programs().file(program).unwrap().display()
    )
}

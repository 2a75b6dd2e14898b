//! Run by tests: shuts itself in as one of the box's programs does, then does what somebody would who had broken into
//! that program. Says `done`, or `refused` and why; the kernel may end it instead.
//!
//! No deed changes the machine: clocks are set to times that cannot be, restarts are asked for in a way that is never
//! obeyed, and files are those that the test names.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use platform::Gap;
use platform::confine::{self, Confinement, GuardPlaces, PdsPlaces};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [program, root, deed @ ..] = words.as_slice() else {
        say("intruder PROGRAM ROOT [without-landlock|without-seccomp] DEED [WHAT]");
        return ExitCode::FAILURE;
    };
    let deed = match deed {
        ["without-landlock", deed @ ..] => {
            lack(libc::SYS_landlock_create_ruleset, libc::ENOSYS);
            deed
        }
        ["without-seccomp", deed @ ..] => {
            lack(libc::SYS_seccomp, libc::EINVAL);
            deed
        }
        deed => deed,
    };
    let gaps = match confinement(program, Path::new(root)) {
        Some(confinement) => platform_linux::confine(&confinement),
        None => Gap::switched_off(),
    };
    for gap in gaps {
        say(&format!("gap {:?}: {}", gap.fence, gap.why));
    }
    match act(deed) {
        Ok(()) => {
            say("done");
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("refused: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "a command-line tool: its output is its purpose")]
fn say(line: &str) {
    println!("{line}");
}

/// Takes a call from this process, as a kernel that lacks it answers.
fn lack(call: libc::c_long, answer: libc::c_int) {
    let answer = SeccompAction::Errno(answer.unsigned_abs());
    let here = std::env::consts::ARCH.try_into().map_err(io::Error::other);
    let filter = here.and_then(|here| {
        SeccompFilter::new([(call, Vec::new())].into(), SeccompAction::Allow, answer, here)
            .map_err(io::Error::other)
    });
    let program: io::Result<BpfProgram> =
        filter.and_then(|filter| filter.try_into().map_err(io::Error::other));
    if let Err(error) = program.and_then(|program| apply_filter(&program).map_err(io::Error::other)) {
        say(&format!("still there: {error}"));
    }
}

/// The programs as they are on the device, with all their folders below `root`.
fn confinement(program: &str, root: &Path) -> Option<Confinement> {
    let run = root.join("run/perch");
    match program {
        "pds" => Some(confine::pds(&PdsPlaces {
            data: root.join("data/pds"),
            status: Some(run.join("pds/status.json")),
            verdict: Some(run.join("timeguard/verdict.json")),
            name_servers: platform_linux::name_server_file(),
            network: None,
            metrics: None,
        })),
        "timeguard" => Some(confine::guard(&GuardPlaces {
            run: run.join("timeguard"),
            data: root.join("data/timeguard"),
            sets_clock: true,
            name_servers: platform_linux::name_server_file(),
            ..GuardPlaces::default()
        })),
        "panel" => Some(confine::panel(&run.join("appliance/live.json"))),
        _ => None,
    }
}

fn act(deed: &[&str]) -> io::Result<()> {
    match deed {
        ["nothing"] => Ok(()),
        ["read", path] => std::fs::File::open(path)?.read(&mut [0; 16]).map(drop),
        ["list", path] => std::fs::read_dir(path).map(drop),
        ["write", path] => std::fs::write(path, "intruder"),
        ["empty", path] => truncate(path),
        ["remove", path] => std::fs::remove_file(path),
        ["rename", from, to] => std::fs::rename(from, to),
        ["link", from, to] => std::fs::hard_link(from, to),
        ["device", path] => std::fs::OpenOptions::new().read(true).write(true).open(path).map(drop),
        ["node", path] => call(libc::SYS_mknodat, [at_cwd(), text(path).as_ptr() as i64, 0o020_666, 0x0103]),
        ["thread"] => std::thread::spawn(|| ()).join().map_err(|_| io::Error::other("no thread")),
        ["exec"] => std::process::Command::new("/bin/true").status().map(drop),
        ["become"] => {
            use std::os::unix::process::CommandExt;
            Err(std::process::Command::new("/bin/true").exec())
        }
        ["fork"] => fork(),
        ["set-clock"] => set_impossible_clock(),
        ["step-clock"] => step_impossibly(),
        ["raw-socket"] => call(libc::SYS_socket, [libc::AF_INET.into(), libc::SOCK_RAW.into(), 1, 0]),
        ["packet-socket"] => call(libc::SYS_socket, [libc::AF_PACKET.into(), libc::SOCK_RAW.into(), 0, 0]),
        ["listen", port] => TcpListener::bind(("127.0.0.1", port.parse().unwrap_or_default())).map(drop),
        ["connect", port] => TcpStream::connect(("127.0.0.1", port.parse().unwrap_or_default())).map(drop),
        ["signal", pid] => call(libc::SYS_kill, [number(pid), 0, 0, 0]),
        ["trace", pid] => call(libc::SYS_ptrace, [libc::PTRACE_ATTACH.into(), number(pid), 0, 0]),
        ["peek", pid] => call(libc::SYS_process_vm_readv, [number(pid), 0, 0, 0]),
        ["set-user"] => call(libc::SYS_setresuid, [0, 0, 0, 0]),
        ["own-namespace"] => call(libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0, 0]),
        ["mount"] => call(libc::SYS_mount, [0, 0, 0, 0]),
        ["load-module"] => call(libc::SYS_init_module, [0, 0, 0, 0]),
        // Without its magic numbers (reboot(2)) nothing is restarted.
        ["restart"] => call(libc::SYS_reboot, [0, 0, 0, 0]),
        ["run-written-memory"] => map(libc::PROT_WRITE | libc::PROT_EXEC).map(drop),
        ["make-memory-run"] => {
            let page = map(libc::PROT_WRITE)?;
            call(libc::SYS_mprotect, [page, 4096, libc::PROT_EXEC.into(), 0])
        }
        ["resolve", name] => std::net::ToSocketAddrs::to_socket_addrs(&(*name, 80)).map(drop),
        ["eat", mib] => eat(mib.parse().unwrap_or_default()),
        other => Err(io::Error::other(format!("no such deed: {other:?}"))),
    }
}

fn number(word: &str) -> i64 {
    word.parse().unwrap_or_default()
}

fn text(path: &str) -> std::ffi::CString {
    std::ffi::CString::new(path).unwrap_or_default()
}

fn at_cwd() -> i64 {
    libc::AT_FDCWD.into()
}

fn truncate(path: &str) -> io::Result<()> {
    std::fs::OpenOptions::new().write(true).truncate(true).open(PathBuf::from(path)).map(drop)
}

#[expect(unsafe_code, reason = "calls that no library makes")]
fn call(number: libc::c_long, arguments: [i64; 4]) -> io::Result<()> {
    let [a, b, c, d] = arguments;
    // SAFETY: each deed passes integers, null pointers, or a pointer to text that outlives the call.
    let result = unsafe { libc::syscall(number, a, b, c, d) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[expect(unsafe_code, reason = "fork")]
fn fork() -> io::Result<()> {
    // SAFETY: the child ends at once and touches nothing.
    match unsafe { libc::fork() } {
        // SAFETY: as above.
        0 => unsafe { libc::_exit(0) },
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Nanoseconds that are none (EINVAL): the clock is never set, and the call still tells whether it may be made.
#[expect(unsafe_code, reason = "no library makes this call")]
fn set_impossible_clock() -> io::Result<()> {
    let time = libc::timespec { tv_sec: 0, tv_nsec: -1 };
    // SAFETY: the pointer is to a value on this stack.
    let result = unsafe { libc::syscall(libc::SYS_clock_settime, libc::CLOCK_REALTIME, &raw const time) };
    allowed_if_invalid(result)
}

/// Microseconds that are none (EINVAL), after the right to set the clock was looked at.
#[expect(unsafe_code, reason = "clock_adjtime has no safe wrapper")]
fn step_impossibly() -> io::Result<()> {
    // SAFETY: a timex is integers, for which zero is a value.
    let mut request: libc::timex = unsafe { std::mem::zeroed() };
    request.modes = libc::ADJ_SETOFFSET;
    request.time.tv_usec = -1;
    // SAFETY: the pointer is to a value on this stack.
    let result = unsafe { libc::clock_adjtime(libc::CLOCK_REALTIME, &raw mut request) };
    allowed_if_invalid(result.into())
}

fn allowed_if_invalid(result: i64) -> io::Result<()> {
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EINVAL) if result < 0 => Ok(()),
        _ => Err(error),
    }
}

#[expect(unsafe_code, reason = "maps a page of its own")]
fn map(rights: libc::c_int) -> io::Result<i64> {
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new page at an address of the kernel's choice.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, rights, kind, -1, 0) };
    if page == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(page as i64) }
}

/// Takes memory, touches all of it, and keeps it a while: less than the test waits.
fn eat(mib: usize) -> io::Result<()> {
    let mut eaten = Vec::new();
    for _ in 0..mib {
        eaten.push(vec![1_u8; 1024 * 1024]);
    }
    io::stdout().flush()?;
    drop(std::hint::black_box(eaten));
    Ok(())
}

//! Starts children with few rights, and sees them end without waiting (pidfd, cgroup v2, capabilities).
//!
//! Between fork and exec only system calls are made: no memory is taken there, since another thread may hold the
//! allocator's lock.

mod devices;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use platform::DeviceError;
use platform::process::{Capability, Exit, Launch, ProcessId, Processes, Spawned};

/// The highest capability number that the kernel could ever have: sets are of 64 bits (capabilities(7)). Numbers that
/// this kernel lacks are refused with EINVAL, which is no failure.
const CAPABILITY_MAX: libc::c_int = 63;

/// The version of `capset`'s structures with two words (linux/capability.h).
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Largest cgroup file that is read, bytes.
const CGROUP_FILE_BYTES_MAX: u64 = 4096;

/// The children of this process.
#[derive(Debug)]
pub struct LinuxProcesses {
    groups: Option<PathBuf>,
    children: BTreeMap<ProcessId, Child>,
}

#[derive(Debug)]
struct Child {
    pidfd: OwnedFd,
    group: Option<PathBuf>,
    /// Kills for memory in its group before it was started: the group outlives the child.
    killed_before: u64,
}

impl LinuxProcesses {
    /// Takes the folder of a mounted cgroup v2 under which each child gets a group; what was left there by an earlier
    /// supervisor is ended. Without one, children run without memory limits.
    #[must_use]
    pub fn new(cgroup: Option<&Path>) -> Self {
        let groups = cgroup.and_then(|root| prepare_groups(root).ok());
        Self { groups, children: BTreeMap::new() }
    }

    /// Tells whether children get memory limits.
    #[must_use]
    pub fn has_groups(&self) -> bool {
        self.groups.is_some()
    }

    fn group_of(&self, launch: &Launch) -> io::Result<Option<PathBuf>> {
        let Some(groups) = &self.groups else { return Ok(None) };
        let group = groups.join(launch.name.replace([' ', '/', '.'], "-"));
        fs::create_dir_all(&group)?;
        let limit = |value: Option<u64>| value.map_or_else(|| "max".to_owned(), |value| value.to_string());
        fs::write(group.join("memory.high"), limit(launch.memory.high_bytes))?;
        fs::write(group.join("memory.max"), limit(launch.memory.max_bytes))?;
        // All processes of a child go together; a half of one is of no use.
        fs::write(group.join("memory.oom.group"), "1")?;
        fs::write(group.join("pids.max"), launch.tasks_max.to_string())?;
        Ok(Some(group))
    }
}

/// Makes the group of all children and empties it.
fn prepare_groups(root: &Path) -> io::Result<PathBuf> {
    if !root.join("cgroup.controllers").exists() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let groups = root.join("perch");
    fs::create_dir_all(&groups)?;
    for of in [root, &groups] {
        fs::write(of.join("cgroup.subtree_control"), "+memory +pids")?;
    }
    for entry in fs::read_dir(&groups)? {
        let group = entry?.path();
        if group.is_dir() && fs::write(group.join("cgroup.kill"), "1").is_ok() {
            // Refused while its processes go; the group is then taken over as it is.
            let _stays = fs::remove_dir(&group).is_err();
        }
    }
    Ok(groups)
}

impl Processes for LinuxProcesses {
    fn spawn(&mut self, launch: &Launch) -> Result<Spawned, DeviceError> {
        let failed = |operation| move |source| DeviceError::new("program", operation, source);
        let group = self.group_of(launch).map_err(failed("limit its memory"))?;
        self.lend(launch);
        let (log, log_writer) = io::pipe().map_err(failed("open its log"))?;
        let joins = match &group {
            Some(group) => {
                let file = fs::OpenOptions::new().write(true).open(group.join("cgroup.procs"));
                Some(file.map_err(failed("join its group"))?)
            }
            None => None,
        };
        let mut command = Command::new(&launch.program);
        command
            .args(&launch.args)
            .env_clear()
            .envs(launch.env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log_writer.try_clone().map_err(failed("open its log"))?)
            .stderr(log_writer);
        let birth = Birth::of(launch, joins.as_ref().map(AsRawFd::as_raw_fd));
        before_exec(&mut command, birth);
        let child = command.spawn().map_err(failed("start"))?;
        let pid = ProcessId(child.id());
        let pidfd = pidfd_open(child.id()).map_err(failed("watch"))?;
        let killed_before = group.as_deref().map_or(0, kills_for_memory);
        self.children.insert(pid, Child { pidfd, group, killed_before });
        Ok(Spawned { pid, log: log.into() })
    }

    fn lend(&mut self, launch: &Launch) {
        if let Some(user) = launch.user {
            devices::lend(&launch.devices, user.gid);
        }
    }

    fn ended(&mut self) -> Vec<(ProcessId, Exit)> {
        let mut ended = Vec::new();
        for (pid, child) in &self.children {
            use std::os::fd::AsFd;
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
            let exit = match waitid(Id::PIDFd(child.pidfd.as_fd()), flags) {
                Ok(WaitStatus::Exited(_, code)) => Exit::Code(code),
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    let killed = child.group.as_deref().map_or(0, kills_for_memory) > child.killed_before;
                    if killed { Exit::OutOfMemory } else { Exit::Signal(signal as i32) }
                }
                // Somebody else reaped it, which nobody does; it is gone all the same.
                Err(nix::errno::Errno::ECHILD) => Exit::Code(0),
                Ok(_) | Err(_) => continue,
            };
            ended.push((*pid, exit));
        }
        for (pid, _) in &ended {
            if let Some(child) = self.children.remove(pid) {
                // What it started must not outlive it.
                kill_group(child.group.as_deref());
            }
        }
        ended
    }

    fn terminate(&mut self, pid: ProcessId) {
        if let Some(child) = self.children.get(&pid) {
            send_signal(&child.pidfd, libc::SIGTERM);
        }
    }

    fn kill(&mut self, pid: ProcessId) {
        if let Some(child) = self.children.get(&pid) {
            kill_group(child.group.as_deref());
            send_signal(&child.pidfd, libc::SIGKILL);
        }
    }
}

fn kill_group(group: Option<&Path>) {
    // On a kernel before 5.14 there is no such file; the child itself is signalled besides.
    let _old = group.is_some_and(|group| fs::write(group.join("cgroup.kill"), "1").is_err());
}

/// Has the kernel end every other program first when the machine runs out of memory (-1000, proc(5)): who keeps the
/// others running must not be what is given up for them. Children are given values of their own.
///
/// # Errors
/// When the kernel does not take it, as from a program that is not root.
pub fn outlive_the_others() -> io::Result<()> {
    fs::write("/proc/self/oom_score_adj", "-1000")
}

/// Counts the kills for memory in a group (`oom_kill` in `memory.events`, cgroup-v2.rst).
fn kills_for_memory(group: &Path) -> u64 {
    let mut text = String::new();
    let Ok(file) = fs::File::open(group.join("memory.events")) else { return 0 };
    if file.take(CGROUP_FILE_BYTES_MAX).read_to_string(&mut text).is_err() {
        return 0;
    }
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[expect(unsafe_code, reason = "pidfd_open has no wrapper")]
fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: two integers go in, a new descriptor or -1 comes out.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(pid), 0 as libc::c_long) };
    let fd = RawFd::try_from(fd).map_err(|_| io::Error::last_os_error())?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[expect(unsafe_code, reason = "pidfd_send_signal has no wrapper")]
fn send_signal(pidfd: &OwnedFd, signal: libc::c_int) {
    // SAFETY: the descriptor lives; a null `siginfo` and no flags are allowed. One that ended already gives ESRCH.
    let _gone = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0_u32,
        )
    };
}

/// What the child does to itself before it becomes the program, prepared so that no memory is taken there.
#[derive(Clone, Copy, Debug)]
struct Birth {
    parent: libc::pid_t,
    joins: Option<RawFd>,
    oom: [u8; 8],
    oom_len: usize,
    open_files_max: u64,
    tasks_max: u64,
    user: Option<(libc::uid_t, libc::gid_t)>,
    /// Bits of the kept capabilities; all numbers are below 32.
    keeps: u32,
}

impl Birth {
    fn of(launch: &Launch, joins: Option<RawFd>) -> Self {
        let mut oom = [0_u8; 8];
        let mut rest = oom.as_mut_slice();
        // A number of at most five characters fits.
        let _cut = write!(rest, "{}", launch.memory.oom_score.clamp(-1000, 1000)).is_err();
        let oom_len = 8 - rest.len();
        Self {
            parent: nix::unistd::getpid().as_raw(),
            joins,
            oom,
            oom_len,
            open_files_max: launch.open_files_max,
            tasks_max: launch.tasks_max,
            user: launch.user.map(|ids| (ids.uid, ids.gid)),
            keeps: launch.keeps.iter().fold(0, |bits, capability| bits | 1 << number(*capability)),
        }
    }
}

/// Numbers of linux/capability.h.
fn number(capability: Capability) -> u32 {
    match capability {
        Capability::NetBindService => 10,
        Capability::NetAdmin => 12,
        Capability::NetRaw => 13,
        Capability::SysTime => 25,
    }
}

#[expect(unsafe_code, reason = "what happens between fork and exec is unsafe by its nature")]
fn before_exec(command: &mut Command, birth: Birth) {
    // SAFETY: the closure makes system calls on values that it owns and takes no memory or lock.
    unsafe { command.pre_exec(move || be_born(&birth)) };
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Runs in the child. The order matters: what needs root's rights comes before they go.
#[expect(unsafe_code, reason = "system calls without wrappers that are safe after fork")]
fn be_born(birth: &Birth) -> io::Result<()> {
    // SAFETY: each call takes integers or pointers to values that live on this stack; none keeps them.
    unsafe {
        check(libc::setsid())?;
        libc::umask(0o022);
        if let Some(joins) = birth.joins {
            // "0" is the writer itself (cgroup-v2.rst).
            if libc::write(joins, c"0".as_ptr().cast(), 1) != 1 {
                return Err(io::Error::last_os_error());
            }
        }
        let oom = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if oom >= 0 {
            libc::write(oom, birth.oom.as_ptr().cast(), birth.oom_len);
            libc::close(oom);
        }
        limit(libc::RLIMIT_CORE, 0)?;
        limit(libc::RLIMIT_NOFILE, birth.open_files_max)?;
        if birth.user.is_some() {
            limit(libc::RLIMIT_NPROC, birth.tasks_max)?;
        }
        for capability in 0..=CAPABILITY_MAX {
            let kept = capability < 32 && birth.keeps & (1 << capability) != 0;
            if !kept && libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 {
                let error = io::Error::last_os_error();
                if error.raw_os_error() != Some(libc::EINVAL) {
                    return Err(error);
                }
            }
        }
        if let Some((uid, gid)) = birth.user {
            check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0))?;
            check(libc::setgroups(0, std::ptr::null()))?;
            check(libc::setresgid(gid, gid, gid))?;
            check(libc::setresuid(uid, uid, uid))?;
            keep_capabilities(birth.keeps)?;
        }
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        // With its supervisor dead nobody would restart it or tell it anything: it ends and is started by the next one.
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM, 0, 0, 0))?;
        if libc::getppid() != birth.parent {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    Ok(())
}

#[expect(unsafe_code, reason = "setrlimit after fork")]
unsafe fn limit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the pointer is to a value on this stack.
    check(unsafe { libc::setrlimit(resource, &raw const limit) })
}

/// Cuts the capabilities down to `keeps` and raises these, so that they outlive `exec` (ambient set).
#[expect(unsafe_code, reason = "capset has no wrapper")]
unsafe fn keep_capabilities(keeps: u32) -> io::Result<()> {
    let header = [CAPABILITY_VERSION_3, 0];
    // Effective, permitted, inheritable; the lower word, then the upper.
    let sets = [keeps, keeps, keeps, 0, 0, 0];
    // SAFETY: version 3 reads a header of two words and two structures of three (linux/capability.h).
    let done = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    for capability in 0..32_u32 {
        if keeps & (1 << capability) != 0 {
            let capability = libc::c_ulong::from(capability);
            // SAFETY: integers only.
            check(unsafe {
                libc::prctl(
                    libc::PR_CAP_AMBIENT,
                    libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
                    capability,
                    0,
                    0,
                )
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

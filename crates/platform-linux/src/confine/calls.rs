//! seccomp: which system calls this process can still make.
//!
//! Three filters, of which the kernel takes the strictest answer. What only an intruder does ends the process, so that
//! the attempt is seen. What is listed is allowed. Anything else is answered as by a kernel that does not have the call
//! (ENOSYS): libraries know a way around a missing call and none around a forbidden one, and a rare path that nobody
//! tested costs one answer and not the server.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use libc::c_long;
use platform::confine::{Confinement, Fence, Gap, KernelClock, Network};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

/// Rules by the number of the call; no rule means every use of it.
type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// What every program does: memory, threads, waiting, time, and files that are open or may be opened (which Landlock
/// says).
const COMMON: &[c_long] = &[
    // Open files and sockets.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_fadvise64,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    // Files by name, for reading.
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    // Memory; mapping and its rights are below.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_brk,
    libc::SYS_membarrier,
    // Threads; making one is below.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    // Signals that arrive.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Time and facts.
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Sockets; making one is below.
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_socketpair,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
];

/// The same by their older names, which aarch64 never had.
#[cfg(target_arch = "x86_64")]
const COMMON_OLD: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_create,
    libc::SYS_pipe,
    libc::SYS_dup2,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const COMMON_OLD: &[c_long] = &[];

/// What changes files.
const WRITING: &[c_long] = &[
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_mkdirat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    // SQLite gives its files to the database's owner when it runs as root; for anybody else it is refused anyway.
    libc::SYS_fchown,
    libc::SYS_utimensat,
    libc::SYS_umask,
];

#[cfg(target_arch = "x86_64")]
const WRITING_OLD: &[c_long] = &[
    libc::SYS_creat,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_unlink,
    libc::SYS_chmod,
];
#[cfg(not(target_arch = "x86_64"))]
const WRITING_OLD: &[c_long] = &[];

/// What sets clocks. Reading the kernel's opinion of its clock is the same call, which the right of root then guards.
const CLOCK_SETTING: &[c_long] = &[libc::SYS_clock_settime, libc::SYS_settimeofday];

/// Calls of which nobody in the box has any need, the supervisor included.
const NOBODYS: &[c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_open_by_handle_at,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_chroot,
    libc::SYS_personality,
    libc::SYS_quotactl,
];

/// Calls that end a confined program: no honest path of ours makes them.
const ENDING: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_reboot,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_mknodat,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

#[cfg(target_arch = "x86_64")]
const ENDING_OLD: &[c_long] =
    &[libc::SYS_fork, libc::SYS_vfork, libc::SYS_mknod, libc::SYS_iopl, libc::SYS_ioperm];
#[cfg(not(target_arch = "x86_64"))]
const ENDING_OLD: &[c_long] = &[];

/// Calls that libraries try first and of which they know the older kind. Refused: `clone3` has its flags in memory, where
/// no filter sees that it makes a process and not a thread.
const TRIED_FIRST: &[c_long] = &[libc::SYS_clone3];

/// Commands to open files that every program may give: is it a terminal, how much waits, do not block
/// (asm-generic/ioctls.h, the same on both machines).
const COMMANDS: &[u64] = &[libc::TCGETS, libc::TIOCGWINSZ, libc::FIONREAD, libc::FIONBIO, libc::FIOCLEX];

/// Commands to clock chips and their bus: RTC_RD_TIME, RTC_SET_TIME, RTC_VL_READ (linux/rtc.h), I2C_RDWR
/// (linux/i2c-dev.h).
const CHIP_COMMANDS: &[u64] = &[0x8024_7009, 0x4024_700a, 0x8004_7013, 0x0707];

/// `PR_SET_VMA` (linux/prctl.h): the C library gives its memory names.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// The bits of a socket's type that are the type and no flags (linux/net.h: SOCK_TYPE_MASK).
const SOCKET_TYPE: u64 = 0xf;

/// Restricts this process and gives what could not be enforced.
pub(super) fn restrict(to: &Confinement) -> Vec<Gap> {
    match filters(to) {
        Ok(filters) => filters.iter().find_map(install).into_iter().collect(),
        Err(error) => vec![Gap::new(Fence::Calls, error.to_string())],
    }
}

/// Gives up calls that neither the supervisor nor anything that it starts ever makes; they are refused (EPERM). Never
/// ends anybody: the supervisor must not fall, and what it starts is not ours to end.
///
/// # Errors
/// With what is missing on a kernel without filters.
pub fn give_up_what_nobody_needs() -> Result<(), Gap> {
    let refused = SeccompAction::Errno(errno(libc::EPERM));
    let program = compile(all_of(NOBODYS), SeccompAction::Allow, refused);
    let program = program.map_err(|error| Gap::new(Fence::Calls, error.to_string()))?;
    install(&program).map_or(Ok(()), Err)
}

fn install(program: &BpfProgram) -> Option<Gap> {
    let failed = apply_filter_all_threads(program).err()?;
    Some(Gap::new(Fence::Calls, format!("the kernel takes no filter: {failed}")))
}

fn errno(number: libc::c_int) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

/// The filters, in the order in which they are installed.
fn filters(to: &Confinement) -> Result<[BpfProgram; 3], BackendError> {
    let ends = compile(ending(to)?, SeccompAction::Allow, SeccompAction::KillProcess)?;
    let missing = SeccompAction::Errno(errno(libc::ENOSYS));
    let older = compile(all_of(TRIED_FIRST), SeccompAction::Allow, missing.clone())?;
    let unknown = if to.strict { SeccompAction::KillProcess } else { missing };
    Ok([ends, older, compile(allowed(to)?, unknown, SeccompAction::Allow)?])
}

fn compile(
    rules: Rules,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let here = TargetArch::try_from(ARCH)?;
    SeccompFilter::new(rules, otherwise, listed, here)?.try_into()
}

fn all_of(calls: &[c_long]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

fn ending(to: &Confinement) -> Result<Rules, BackendError> {
    let mut rules = all_of(NOBODYS);
    rules.extend(all_of(ENDING));
    rules.extend(all_of(ENDING_OLD));
    if to.clock == KernelClock::Reads {
        rules.extend(all_of(CLOCK_SETTING));
    }
    // A process of its own, as against a thread.
    rules.insert(libc::SYS_clone, vec![rule(&[masked(0, flag(libc::CLONE_THREAD), 0)?])?]);
    Ok(rules)
}

fn allowed(to: &Confinement) -> Result<Rules, BackendError> {
    let mut rules = all_of(COMMON);
    rules.extend(all_of(COMMON_OLD));
    if !to.writes.is_empty() {
        rules.extend(all_of(WRITING));
        rules.extend(all_of(WRITING_OLD));
    }
    // Read by anybody; to set, it takes the right of root, which the supervisor leaves to the guard alone.
    rules.extend(all_of(&[libc::SYS_clock_adjtime, libc::SYS_adjtimex]));
    if to.clock == KernelClock::Sets {
        rules.extend(all_of(CLOCK_SETTING));
    }
    if to.network == Network::Connects {
        // The C library's resolver asks for both kinds of address at once.
        rules.extend(all_of(&[libc::SYS_connect, libc::SYS_sendmmsg, libc::SYS_recvmmsg]));
    }
    rules.insert(libc::SYS_socket, sockets(to.network)?);
    rules.extend(all_of(TRIED_FIRST));
    // Threads only.
    rules.insert(
        libc::SYS_clone,
        vec![rule(&[masked(0, flag(libc::CLONE_THREAD), flag(libc::CLONE_THREAD))?])?],
    );
    // No memory is written and run: a library is mapped to be run, and nothing becomes so later.
    let (write, run) = (flag(libc::PROT_WRITE), flag(libc::PROT_EXEC));
    let mut mappings = Vec::new();
    for rights in [0, write, run] {
        mappings.push(rule(&[masked(2, write | run, rights)?])?);
    }
    rules.insert(libc::SYS_mmap, mappings);
    rules.insert(libc::SYS_mprotect, vec![rule(&[masked(2, run, 0)?])?]);
    // Of and to itself only.
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![rule(&[equal(0, own)?])?]);
    rules.insert(libc::SYS_prlimit64, vec![rule(&[equal(0, 0)?])?]);
    let names =
        [flag(libc::PR_SET_NAME), flag(libc::PR_GET_NAME), flag(libc::PR_SET_NO_NEW_PRIVS), PR_SET_VMA];
    rules.insert(libc::SYS_prctl, any_of(0, &names)?);
    let mut commands = any_of(1, COMMANDS)?;
    if !to.devices.is_empty() {
        commands.extend(any_of(1, CHIP_COMMANDS)?);
    }
    rules.insert(libc::SYS_ioctl, commands);
    Ok(rules)
}

/// Sockets of the internet and of this machine, none of them raw; with connections, also the kernel's tables of
/// addresses and routes, which the C library reads to order a host's addresses.
fn sockets(network: Network) -> Result<Vec<SeccompRule>, BackendError> {
    let mut rules = vec![rule(&[equal(0, flag(libc::AF_UNIX))?])?];
    if network == Network::Connects {
        for family in [libc::AF_INET, libc::AF_INET6] {
            for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
                rules.push(rule(&[equal(0, flag(family))?, masked(1, SOCKET_TYPE, flag(kind))?])?);
            }
        }
        let routes = [equal(0, flag(libc::AF_NETLINK))?, equal(2, flag(libc::NETLINK_ROUTE))?];
        rules.push(rule(&routes)?);
    }
    Ok(rules)
}

fn any_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|value| rule(&[equal(argument, *value)?])).collect()
}

fn rule(conditions: &[SeccompCondition]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.to_vec())
}

fn equal(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, Dword, SeccompCmpOp::Eq, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, Dword, SeccompCmpOp::MaskedEq(mask), value)
}

/// A constant of the C library as the filter compares it; all of ours are positive.
fn flag(value: libc::c_int) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

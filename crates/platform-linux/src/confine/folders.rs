//! Landlock: which files and TCP ports this process can still open. Best effort by what the kernel knows; what it does
//! not know is said.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use platform::confine::{Confinement, Fence, Gap, Network};

/// The newest kernel interface whose every right was looked at for our programs.
const NEWEST: ABI = ABI::V6;

/// From which kernel interface on each fence stands, but the folders themselves.
const FENCES: &[(ABI, Fence, &str)] = &[
    (ABI::V3, Fence::Truncation, "this kernel is older than Linux 6.2"),
    (ABI::V4, Fence::Ports, "this kernel is older than Linux 6.7"),
    (ABI::V5, Fence::DeviceCommands, "this kernel is older than Linux 6.10"),
    (ABI::V6, Fence::Signals, "this kernel is older than Linux 6.12"),
];

/// Restricts this process and gives what the kernel does not enforce.
pub(super) fn restrict(to: &Confinement) -> Vec<Gap> {
    if threads() != 1 {
        // The others would stay free: a program that calls this late is told so and not trusted.
        return vec![Gap::new(Fence::Folders, "threads were started before")];
    }
    let Ok(ruleset) = ruleset_that_moves() else {
        return vec![Gap::new(Fence::Folders, "this kernel has no Landlock, or one older than Linux 5.19")];
    };
    let status = match enforce(ruleset, to) {
        Ok(status) => status,
        Err(error) => return vec![Gap::new(Fence::Folders, why(&error))],
    };
    let effective_abi = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi,
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => ABI::Unsupported,
    };
    if status.ruleset == RulesetStatus::NotEnforced {
        return vec![Gap::new(Fence::Folders, "Landlock refused the rules")];
    }
    let missing = FENCES.iter().filter(|(since, _, _)| effective_abi < *since);
    missing.map(|(_, fence, why)| Gap::new(*fence, *why)).collect()
}

/// Begins rules under which files may be moved between folders. Where that cannot be allowed (before Linux 5.19) it is
/// always refused, which the store cannot live with: no fence is put up there.
fn ruleset_that_moves() -> Result<Ruleset, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V2))
}

fn enforce(ruleset: Ruleset, to: &Confinement) -> Result<landlock::RestrictionStatus, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let device: BitFlags<AccessFs> = read | AccessFs::WriteFile | AccessFs::IoctlDev;
    // Programs, device nodes and links are made by nobody.
    let write: BitFlags<AccessFs> = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSock
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    let mut ruleset = ruleset
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(NEWEST))?;
    if to.network == Network::Answers {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    ruleset
        .create()?
        .add_rules(path_beneath_rules(&to.reads, read))?
        .add_rules(path_beneath_rules(&to.devices, device))?
        .add_rules(path_beneath_rules(&to.writes, write))?
        .add_rules(
            to.listens.iter().map(|port| Ok::<_, RulesetError>(NetPort::new(*port, AccessNet::BindTcp))),
        )?
        .restrict_self()
}

/// Counts this process's threads; what cannot be read counts as more than one.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

fn why(error: &RulesetError) -> String {
    use std::error::Error;
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

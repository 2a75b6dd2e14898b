//! Chains of operations: what may follow what, and until when it may be replaced.

use serde::{Deserialize, Serialize};

use super::{PlcError, Signed, State};
use crate::cid::Cid;
use crate::syntax::{Datetime, Did};

/// How long a more powerful key may replace operations of a less powerful one, in microseconds (72 hours).
pub const RECOVERY_WINDOW_US: u64 = 72 * HOUR_US;
const HOUR_US: u64 = 3_600_000_000;

/// An entry of a DID's audit log; JSON as the directory speaks it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// Whose log it is.
    pub did: Did,
    /// The operation.
    pub operation: Signed,
    /// The operation's name, as text.
    pub cid: String,
    /// Whether a later operation of a more powerful key replaced it.
    pub nullified: bool,
    /// When the directory took it.
    pub created_at: Datetime,
}

impl LogEntry {
    /// Gives when the directory took it, in microseconds since 1970 (0 before that).
    pub fn created_at_us(&self) -> u64 {
        u64::try_from(self.created_at.unix_micros()).unwrap_or_default()
    }
}

/// Says what a directory does with an operation that it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The operation's name.
    pub cid: Cid,
    /// The operations that it replaces, oldest first.
    pub nullified: Vec<Cid>,
}

/// Checks an operation against a DID's log, as a directory does before it takes it.
///
/// `log` holds the entries that are not nullified, oldest first; `now_us` is the directory's time in microseconds.
/// The limits of [`Signed::check_limits`] are not checked here, because old logs exceed them.
pub fn check_next(did: &Did, log: &[LogEntry], proposed: &Signed, now_us: u64) -> Result<Accepted, PlcError> {
    let cid = proposed.cid();
    let Some(newest) = log.last() else {
        check_genesis(did, proposed)?;
        return Ok(Accepted { cid, nullified: Vec::new() });
    };
    let prev = proposed.prev()?.ok_or(PlcError::Misordered)?.to_string();
    let at = log.iter().position(|entry| entry.cid == prev).ok_or(PlcError::Misordered)?;
    let followed = log.get(at).and_then(|entry| entry.operation.state()).ok_or(PlcError::Misordered)?;
    let replaced = log.get(at + 1..).unwrap_or_default();
    let Some(disputed) = replaced.first() else {
        proposed.signer(&followed.rotation_keys)?;
        return Ok(Accepted { cid, nullified: Vec::new() });
    };
    // A key may only undo what a less powerful key did.
    let disputed_signer = disputed.operation.signer(&followed.rotation_keys)?;
    proposed.signer(followed.rotation_keys.get(..disputed_signer).unwrap_or_default())?;
    // As in the reference, the order of times matters only where it decides about the window.
    if now_us <= newest.created_at_us() {
        return Err(PlcError::Misordered);
    }
    let age_us = now_us.saturating_sub(disputed.created_at_us());
    if age_us > RECOVERY_WINDOW_US {
        return Err(PlcError::TooLate { hours: age_us / HOUR_US });
    }
    let nullified = replaced
        .iter()
        .map(|entry| Cid::parse(&entry.cid))
        .collect::<Result<_, _>>()
        .map_err(PlcError::Prev)?;
    Ok(Accepted { cid, nullified })
}

/// Checks a log without nullified operations from the first on; gives what the DID says now.
///
/// None when the last operation is a tombstone. The caller bounds the log's length.
pub fn check_log(did: &Did, log: &[Signed]) -> Result<Option<State>, PlcError> {
    let (first, rest) = log.split_first().ok_or(PlcError::NotGenesis)?;
    let mut state = Some(check_genesis(did, first)?);
    let mut prev = first.cid();
    for operation in rest {
        let followed = state.as_ref().ok_or(PlcError::Misordered)?;
        if operation.prev()? != Some(prev) || matches!(operation, Signed::Create(_)) {
            return Err(PlcError::Misordered);
        }
        operation.signer(&followed.rotation_keys)?;
        state = operation.state();
        prev = operation.cid();
    }
    Ok(state)
}

/// Replays an audit log, nullified operations included, with the times that the directory wrote.
///
/// Gives what the DID says now, none after a tombstone. The caller bounds the log's length.
pub fn check_audit_log(did: &Did, entries: &[LogEntry]) -> Result<Option<State>, PlcError> {
    let mut current: Vec<LogEntry> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        if entry.did != *did {
            return Err(PlcError::BadEntry { index });
        }
        let accepted = check_next(did, &current, &entry.operation, entry.created_at_us())?;
        if accepted.cid.to_string() != entry.cid {
            return Err(PlcError::BadEntry { index });
        }
        current.truncate(current.len().saturating_sub(accepted.nullified.len()));
        current.push(entry.clone());
    }
    let kept = entries.iter().filter(|entry| !entry.nullified);
    if !kept.map(|entry| &entry.cid).eq(current.iter().map(|entry| &entry.cid)) {
        return Err(PlcError::BadEntry { index: entries.len() });
    }
    Ok(current.last().ok_or(PlcError::NotGenesis)?.operation.state())
}

fn check_genesis(did: &Did, operation: &Signed) -> Result<State, PlcError> {
    let state = operation.state().ok_or(PlcError::NotGenesis)?;
    operation.signer(&state.rotation_keys)?;
    let made = operation.did();
    if made != *did {
        return Err(PlcError::OtherDid { made });
    }
    if operation.prev()?.is_some() {
        return Err(PlcError::NotGenesis);
    }
    Ok(state)
}

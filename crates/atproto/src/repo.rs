//! The repository: its signed commit, and the checks that a consumer makes of a whole one or of one event.
//!
//! Source: atproto specification "Repository" (version 3), "Sync" (inductive proofs, "Sync 1.1").

mod commit;
mod verify;

pub use commit::{Commit, CommitError, decode_commit, sign, verify};
pub use verify::{
    EventFault, InvertError, RepoFault, VERIFY_NODE_BYTES_MAX, VerifiedRepo, invert_ops, verify_commit_event,
    verify_repo,
};

/// The repository format that is written and read.
pub const REPO_VERSION: u64 = 3;

#[cfg(test)]
mod tests;

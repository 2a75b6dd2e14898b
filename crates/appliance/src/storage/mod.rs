//! Where the data lives: which disk, which copy, and how it gets to a better one.
//!
//! [`decide`] is the policy, [`run`] carries it out with the hands that it is given. The situations and what the box
//! does in each are in `docs/design/008-storage.md`.

mod attended;
mod copies;
mod driver;
mod evidence;
mod identity;
mod policy;
#[cfg(test)]
pub(crate) mod tests;
mod transfer;
mod words;

pub use attended::Attended;
pub use driver::{Answer, Config, Platform, Writers, run};
pub use evidence::{Action, DataState, Decision, Evidence, Held, Limits, Live, Note, Question, Session};
pub use identity::{ApplianceId, CopyState, FORMAT, Identity, IdentityError, Place};
pub use policy::decide;
pub use words::status;

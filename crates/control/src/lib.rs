//! Requests, status and the time verdict between the processes.
//!
//! Status and verdict are small files on tmpfs, replaced by rename: readers survive restarts of the writer and
//! never see half a file. Requests are length-limited JSON of a closed set. Nothing here decides anything.

pub mod file;
pub mod placement;
pub mod request;
pub mod sandbox;
pub mod socket;
pub mod status;
pub mod users;
pub mod verdict;

pub use placement::PlacementStatus;
pub use sandbox::SandboxReport;
pub use status::{PdsStatus, Stamped, Status, StorageStatus, SystemStatus, TimeStatus};
pub use verdict::VerdictFile;

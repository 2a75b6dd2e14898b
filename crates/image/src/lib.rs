//! The flashable image: where its partitions are, what a slot holds, and what a Raspberry Pi's firmware makes of it.
//!
//! It reads and writes image files and starts nothing: `cargo xtask image` calls the programs that make the parts,
//! `testbed` boots the result. Nothing of this runs on the box. `docs/design/013-image.md` has the reasons.

mod config_txt;
mod error;
pub mod fat;
pub mod firmware;
pub mod imager;
mod layout;
pub mod lint;
mod part;
pub mod sbom;
pub mod slot;

pub use config_txt::Model;
pub use error::ImageError;
pub use layout::{DATA_BYTES, Layout, PartitionPlace, SECTOR_BYTES, read_partitions, write_table};
pub use part::Part;

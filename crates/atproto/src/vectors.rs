//! Reads the public test vectors that lie beside the checkout (tests only).

use std::path::PathBuf;

/// Gives the text of a file below `shared/`, or says plainly that it is absent and gives nothing.
pub(crate) fn read(name: &str) -> Option<String> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = std::env::var_os("PERCH_SHARED").map_or_else(beside, PathBuf::from);
    match std::fs::read_to_string(root.join(name)) {
        Ok(text) => Some(text),
        Err(_) => {
            println!("shared/{name} absent: vectors not run");
            None
        }
    }
}

//! Reads the public test vectors that lie beside the checkout (tests only).

use std::path::PathBuf;

/// Gives the text of a file below `shared/`, or says plainly that it is absent and gives nothing.
pub(crate) fn read(name: &str) -> Option<String> {
    read_bytes(name).map(|bytes| String::from_utf8(bytes).unwrap())
}

/// Gives the bytes of a file below `shared/`, or says plainly that it is absent and gives nothing.
pub(crate) fn read_bytes(name: &str) -> Option<Vec<u8>> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = std::env::var_os("PERCH_SHARED").map_or_else(beside, PathBuf::from);
    match std::fs::read(root.join(name)) {
        Ok(bytes) => Some(bytes),
        Err(_) => {
            println!("shared/{name} absent: vectors not run");
            None
        }
    }
}

//! Reads the public test vectors that lie beside the checkout (tests only).

use std::path::PathBuf;

/// Gives the text of a file below `shared/`, or says plainly that it is absent and gives nothing.
pub(crate) fn read(name: &str) -> Option<String> {
    read_bytes(name).map(|bytes| String::from_utf8(bytes).unwrap())
}

/// Gives the bytes of a file below `shared/`, or says plainly that it is absent and gives nothing.
pub(crate) fn read_bytes(name: &str) -> Option<Vec<u8>> {
    match std::fs::read(shared(name)) {
        Ok(bytes) => Some(bytes),
        Err(_) => {
            println!("shared/{name} absent: vectors not run");
            None
        }
    }
}

/// Gives the path of a file or folder below `shared/`, whether it is there or not.
pub(crate) fn shared(name: &str) -> PathBuf {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    std::env::var_os("PERCH_SHARED").map_or_else(beside, PathBuf::from).join(name)
}

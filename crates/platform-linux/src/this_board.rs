//! Which board this machine is, by its device tree.

use std::fs;
use std::io::Read;
use std::path::Path;

use platform::Board;

/// Where the firmware's description of the machine names its model.
const COMPATIBLE: &str = "/proc/device-tree/compatible";

/// Board files that are looked at.
const BOARDS_MAX: usize = 64;

/// Longest file that is read, bytes; a board file has about 1 KiB.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Finds the board of this machine among `FOLDER/NAME/board.toml`; `None` on a computer that is no known board.
#[must_use]
pub fn this_board(boards: &Path) -> Option<Board> {
    board_among(boards, Path::new(COMPATIBLE))
}

fn board_among(boards: &Path, compatible: &Path) -> Option<Board> {
    let compatible = read(compatible)?;
    let entries = fs::read_dir(boards).ok()?;
    entries.flatten().take(BOARDS_MAX).find_map(|entry| {
        let text = String::from_utf8(read(&entry.path().join("board.toml"))?).ok()?;
        Board::parse(&text).ok().filter(|board| board.is_for(&compatible))
    })
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_tree_chooses_the_board() {
        let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../board");
        let tree = tempfile::tempdir().unwrap();
        let compatible = tree.path().join("compatible");
        assert!(board_among(&boards, &compatible).is_none(), "a computer without a device tree");
        fs::write(&compatible, b"raspberrypi,5-model-b\0brcm,bcm2712\0").unwrap();
        assert_eq!(board_among(&boards, &compatible).unwrap().name, "Raspberry Pi 5");
        fs::write(&compatible, b"somebody,else\0").unwrap();
        assert!(board_among(&boards, &compatible).is_none());
    }
}

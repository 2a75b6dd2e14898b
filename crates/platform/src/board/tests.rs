//! Every board in the tree reads, and a wrong one is refused with the reason.

use super::{Board, BoardError, Memory};

fn boards() -> Vec<(String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../board");
    let mut boards: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it lists").path())
        .filter(|path| path.join("board.toml").is_file())
        .map(|path| {
            let text = std::fs::read_to_string(path.join("board.toml")).expect("it reads");
            (path.file_name().expect("it has a name").to_string_lossy().into_owned(), text)
        })
        .collect();
    boards.sort();
    boards
}

#[test]
fn every_board_in_the_tree_reads() {
    let boards = boards();
    assert!(boards.len() >= 5, "{boards:?}");
    for (name, text) in boards {
        Board::parse(&text).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
}

#[test]
fn a_machine_that_is_no_board_gets_what_the_smallest_board_gets() {
    let all: Vec<Memory> =
        boards().iter().map(|(_, text)| Board::parse(text).expect("it reads").memory).collect();
    let least = |of: fn(&Memory) -> u32| all.iter().map(of).min().expect("there are boards");
    let smallest = Memory {
        pds_mib: least(|memory| memory.pds_mib),
        panel_mib: least(|memory| memory.panel_mib),
        timeguard_mib: least(|memory| memory.timeguard_mib),
    };
    assert_eq!(Memory::default(), smallest);
}

#[test]
fn no_device_tree_means_two_boards() {
    let mut seen = std::collections::BTreeMap::new();
    for (name, text) in boards() {
        for compatible in Board::parse(&text).expect("it reads").compatible {
            if let Some(other) = seen.insert(compatible.clone(), name.clone()) {
                panic!("{compatible} means both {other} and {name}");
            }
        }
    }
}

#[test]
fn a_pi_4_is_found_by_its_device_tree() {
    let (_, text) = boards().into_iter().find(|(name, _)| name == "raspberrypi-4").expect("it is there");
    let board = Board::parse(&text).expect("it reads");
    assert!(board.is_for(b"raspberrypi,4-model-b\0brcm,bcm2711\0"));
    assert!(!board.is_for(b"raspberrypi,5-model-b\0brcm,bcm2712\0"));
}

fn refused(change: impl Fn(String) -> String) -> String {
    let (_, text) = boards().into_iter().find(|(name, _)| name == "raspberrypi-4").expect("it is there");
    let changed = change(text.clone());
    assert_ne!(changed, text, "the change must hit something");
    match Board::parse(&changed).expect_err("it is wrong") {
        BoardError::Value(text) => text,
        BoardError::Form(error) => error.to_string(),
    }
}

#[test]
fn reserved_addresses_are_refused() {
    assert!(refused(|text| text.replace("[0x3c, 0x3d]", "[0x7c]")).contains("0x7c is reserved"));
}

#[test]
fn two_things_on_one_line_are_refused() {
    assert!(refused(|text| text.replace("line = 27", "line = 17")).contains("both on line 17"));
}

#[test]
fn unknown_keys_are_refused() {
    assert!(refused(|text| text.replace("upside_down", "upsidedown")).contains("upsidedown"));
}

#[test]
fn the_wiring_page_says_what_the_boards_say() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/hardware.md");
    let page = std::fs::read_to_string(page).expect("it reads");
    // Header pins of BCM lines (Raspberry Pi documentation, "GPIO and the 40-pin header").
    let pin_of = |line| match line {
        2 => 3,
        3 => 5,
        17 => 11,
        27 => 13,
        other => panic!("GPIO{other} is on no wiring picture"),
    };
    for (name, text) in boards().into_iter().filter(|(name, _)| name.starts_with("raspberrypi")) {
        let board = Board::parse(&text).expect("it reads");
        for (what, line) in [("button", board.button), ("light", board.led)] {
            let line = line.expect("every Pi has one").line;
            let row = format!("| GPIO{line} | {} |", pin_of(line));
            assert!(page.lines().any(|l| l.contains(what) && l.ends_with(&row)), "{name}: {what} {row}");
        }
        let screen = board.screen.expect("every Pi has one");
        assert_eq!(screen.bus, "/dev/i2c-1", "{name}: pins 3 and 5 are bus 1");
    }
}

//! Recognition of what the usual tools write, from recorded first bytes.

use super::*;
use crate::disk::FileSystem;

/// Rebuilds the head of a recorded disk.
fn head(name: &str) -> Vec<u8> {
    let mut bytes = vec![0; HEAD_BYTES];
    let rows = include_str!("heads.txt").lines().skip_while(|line| *line != name).skip(1);
    let mut found = false;
    for row in rows.take_while(|line| line.contains(": ")) {
        let (at, row) = row.split_once(": ").unwrap();
        let at = usize::from_str_radix(at, 16).unwrap();
        for (offset, pair) in row.as_bytes().chunks(2).enumerate() {
            bytes[at + offset] = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        }
        found = true;
    }
    assert!(found, "no recording of {name}");
    bytes
}

fn named(kind: &str, label: &str, uuid: &str) -> FileSystem {
    FileSystem { kind: kind.to_owned(), label: label.to_owned(), uuid: uuid.to_owned() }
}

#[test]
fn file_systems_are_named_as_their_tools_named_them() {
    let cases = [
        ("ext4", named("ext4", "posts", "5e1f0000-1111-2222-3333-444455556666")),
        ("ext3", named("ext3", "", "5e1f0000-1111-2222-3333-444455556667")),
        ("ext2", named("ext2", "", "5e1f0000-1111-2222-3333-444455556668")),
        ("fat32", named("vfat", "PERCH", "1234-ABCD")),
        ("fat16", named("vfat", "", "0000-BEEF")),
        ("exfat", named("exfat", "", "")),
        ("ntfs", named("ntfs", "", "")),
        ("btrfs", named("btrfs", "pool", "5e1f0000-1111-2222-3333-444455556669")),
        ("xfs", named("xfs", "big", "5e1f0000-1111-2222-3333-44445555666a")),
        ("f2fs", named("f2fs", "", "bc5fbfdc-b75f-4e05-8dab-585b14401db3")),
        ("swap", named("swap", "swp", "5e1f0000-1111-2222-3333-44445555666b")),
        ("luks", named("crypto_LUKS", "", "")),
        ("squashfs", named("squashfs", "", "")),
    ];
    for (name, wanted) in cases {
        assert_eq!(file_system(&head(name)), Some(wanted), "{name}");
    }
    assert_eq!(file_system(&head("gpt")), None);
    assert_eq!(file_system(&[0; HEAD_BYTES]), None);
}

#[test]
fn a_gpt_names_its_partitions() {
    let disk = head("gpt");
    assert!(Mbr::parse(&disk).unwrap().is_protective());
    let header = GptHeader::parse(&disk[512..1024]).unwrap();
    assert_eq!(header.guid, "a1b2c3d4-0000-4000-8000-00000000cafe");
    assert_eq!((header.entries_block, header.entries_bytes), (2, 128 * 128));
    let entries = header.entries(&disk[1024..]).unwrap();
    let first = entries[0].clone().unwrap();
    assert_eq!(first.part_uuid, "11111111-aaaa-4bbb-8ccc-0123456789ab");
    assert_eq!(first.part_type, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    assert_eq!(entries[1].clone().unwrap().name, "perch-dätä");
    assert_eq!(entries[2], None);
}

#[test]
fn a_damaged_gpt_is_none() {
    let disk = head("gpt");
    for at in [0, 60, 91] {
        let mut header = disk[512..1024].to_vec();
        header[at] ^= 1;
        assert_eq!(GptHeader::parse(&header), None, "byte {at}");
    }
    let header = GptHeader::parse(&disk[512..1024]).unwrap();
    let mut raw = disk[1024..].to_vec();
    raw[16] ^= 1;
    assert_eq!(header.entries(&raw), None);
    assert_eq!(header.entries(&raw[..100]), None);
}

#[test]
fn an_mbr_names_its_partitions_as_the_kernel_does() {
    let mbr = Mbr::parse(&head("mbr")).unwrap();
    assert!(!mbr.is_protective());
    assert_eq!((mbr.part_uuid(2).as_str(), mbr.part_type(2).as_deref()), ("deadbeef-02", Some("0x83")));
    assert_eq!(mbr.part_type(5), None);
    assert_eq!(Mbr::parse(&head("ext4")), None);
}

#[test]
fn only_untouched_bytes_are_blank() {
    assert!(is_blank(&[0; 64]) && is_blank(&[0xFF; 64]));
    let mut piece = [0; 64];
    piece[63] = 1;
    assert!(!is_blank(&piece));
    assert!(!is_blank(&[1; 64]));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_taken_without_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2048)) {
        drop((file_system(&bytes), Mbr::parse(&bytes), GptHeader::parse(&bytes)));
    }
}

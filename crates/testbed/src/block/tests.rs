//! The log of a disk, what a cut may leave of it, and the protocol as a client sees it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use fastrand::Rng;

use super::{Entry, Log, Manner, Recorder, Replay, SECTOR_BYTES, serve};

const DISK_BYTES: usize = 64 * 1024;

/// Cuts tried where chance decides.
const TRIES: u64 = 200;

fn recorder() -> Recorder {
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(DISK_BYTES as u64).unwrap();
    Recorder::new(image.path(), &std::env::temp_dir()).unwrap()
}

/// The disks that cuts at the end of a log leave: for each sector its first byte.
fn cuts(log: &Log) -> Vec<Vec<u8>> {
    let mut replay = Replay::new(log).unwrap();
    replay.advance_to(log.entries.len()).unwrap();
    let mut rng = Rng::with_seed(1);
    (0..TRIES)
        .map(|number| {
            let manner = Manner::ALL[usize::try_from(number).unwrap() % Manner::ALL.len()];
            let state = replay.cut(&mut rng, manner).unwrap();
            assert_eq!(state.open > 0, state.dropped > 0, "{manner:?}");
            let mut file = tempfile::tempfile().unwrap();
            replay.write_to(&state, 0, &file).unwrap();
            let mut disk = Vec::new();
            file.read_to_end(&mut disk).unwrap();
            assert_eq!(disk.len(), DISK_BYTES);
            for sector in disk.chunks(SECTOR_BYTES) {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is a mixture");
            }
            disk.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect()
        })
        .collect()
}

fn sectors(byte: u8, count: usize) -> Vec<u8> {
    vec![byte; count * SECTOR_BYTES]
}

#[test]
fn what_an_answered_flush_covers_stays_in_every_state() {
    let disk = recorder();
    disk.write(0, &sectors(1, 2), false).unwrap();
    disk.answered();
    disk.flush();
    disk.answered();
    disk.write(512, &sectors(2, 4), false).unwrap();
    disk.answered();
    let states = cuts(&disk.finish().unwrap());
    for state in &states {
        assert_eq!(state[0], 1);
        assert!(matches!(state[1], 1 | 2) && state[2..5].iter().all(|byte| matches!(byte, 0 | 2)));
        assert!(state[1..5] != [2, 2, 2, 2], "nothing was dropped");
    }
    assert!(states.iter().any(|state| state[1..5] == [2, 0, 2, 2]), "no write is torn in its middle");
}

#[test]
fn a_flush_without_its_answer_or_beside_the_write_covers_nothing() {
    let disk = recorder();
    disk.write(0, &sectors(1, 1), false).unwrap();
    disk.answered();
    disk.flush();
    assert!(cuts(&disk.finish().unwrap()).iter().all(|state| state[0] == 0));
    let disk = recorder();
    disk.write(0, &sectors(1, 1), false).unwrap();
    disk.flush();
    disk.answered();
    assert!(cuts(&disk.finish().unwrap()).iter().all(|state| state[0] == 0));
}

#[test]
fn a_write_with_fua_stays_by_itself() {
    let disk = recorder();
    disk.write(512, &sectors(1, 1), false).unwrap();
    disk.write(0, &sectors(1, 1), true).unwrap();
    disk.answered();
    assert!(cuts(&disk.finish().unwrap()).iter().all(|state| state[0] == 1 && state[1] == 0));
}

#[test]
fn an_older_write_may_outlive_a_newer_one() {
    let disk = recorder();
    disk.write(0, &sectors(1, 1), false).unwrap();
    disk.write(0, &sectors(2, 1), false).unwrap();
    disk.write_zeros(512, 512, false).unwrap();
    disk.answered();
    let states = cuts(&disk.finish().unwrap());
    for byte in [0, 1, 2] {
        assert!(states.iter().any(|state| state[0] == byte), "{byte} is never seen");
    }
}

#[test]
fn equal_disks_have_equal_prints() {
    let disk = recorder();
    disk.write(0, &sectors(1, 1), false).unwrap();
    disk.answered();
    let position = disk.mark("kept");
    disk.flush();
    disk.answered();
    disk.write(0, &sectors(0, 1), true).unwrap();
    disk.answered();
    let log = disk.finish().unwrap();
    let mut replay = Replay::new(&log).unwrap();
    let mut print = |position| {
        replay.advance_to(position).unwrap();
        replay.cut(&mut Rng::with_seed(1), Manner::Nothing).unwrap().print
    };
    let (before, with, back) = (print(position), print(position + 2), print(log.entries.len()));
    assert_eq!(before, back);
    assert_ne!(before, with);
}

#[test]
fn a_back_end_that_loses_flushes_keeps_every_place() {
    let disk = recorder();
    for byte in 1..=4 {
        disk.write(0, &sectors(byte, 1), false).unwrap();
        disk.answered();
        disk.flush();
        disk.answered();
    }
    let honest = disk.finish().unwrap();
    let lossy = honest.with_lost_flushes(0, 0, 2).unwrap();
    assert_eq!(honest.entries.len(), lossy.entries.len());
    assert_eq!(lossy.entries.iter().filter(|entry| **entry == Entry::Flush(0)).count(), 2);
}

#[test]
fn a_flush_of_one_disk_covers_nothing_of_the_disk_beside_it() {
    let one = recorder();
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(DISK_BYTES as u64).unwrap();
    let other = one.beside(image.path(), &std::env::temp_dir()).unwrap();
    for disk in [&one, &other] {
        disk.write(0, &sectors(1, 1), false).unwrap();
        disk.answered();
    }
    one.flush();
    one.answered();
    let log = other.finish().unwrap();
    assert_eq!(log.open_writes(), [0, 1, 1, 2, 2, 2, 1]);
    let mut replay = Replay::new(&log).unwrap();
    replay.advance_to(log.entries.len()).unwrap();
    let state = replay.cut(&mut Rng::with_seed(1), Manner::Nothing).unwrap();
    let first = [0, 1].map(|disk| {
        let mut file = tempfile::tempfile().unwrap();
        replay.write_to(&state, disk, &file).unwrap();
        let mut byte = [9];
        file.read_exact(&mut byte).unwrap();
        byte[0]
    });
    assert_eq!((first, state.open, state.dropped), ([1, 0], 1, 1));
}

/// A request as NBD writes it.
fn request(command: u16, flags: u16, offset: u64, data: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = 0x2560_9513_u32.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend(command.to_be_bytes());
    bytes.extend(7_u64.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(u32::try_from(len).unwrap().to_be_bytes());
    bytes.extend(data);
    bytes
}

/// Reads an answer, and the bytes after it.
fn answer(stream: &mut UnixStream, len: usize) -> (u32, Vec<u8>) {
    let mut bytes = vec![0; 16];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes[..4], 0x6744_6698_u32.to_be_bytes());
    assert_eq!(bytes[8..], 7_u64.to_be_bytes());
    let mut data = vec![0; len];
    stream.read_exact(&mut data).unwrap();
    (u32::from_be_bytes(bytes[4..8].try_into().unwrap()), data)
}

#[test]
fn a_client_writes_flushes_and_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("disk");
    let disk = Arc::new(recorder());
    let server = serve(&socket, Arc::clone(&disk)).unwrap();
    let mut stream = UnixStream::connect(&socket).unwrap();
    let mut hello = [0; 18];
    stream.read_exact(&mut hello).unwrap();
    assert_eq!(&hello[..16], b"NBDMAGICIHAVEOPT");
    let mut go = 3_u32.to_be_bytes().to_vec();
    for option in [8_u32, 7] {
        go.extend(b"IHAVEOPT");
        go.extend(option.to_be_bytes());
        go.extend(if option == 7 { vec![0, 0, 0, 6, 0, 0, 0, 0, 0, 0] } else { vec![0; 4] });
    }
    stream.write_all(&go).unwrap();
    // One refusal, then size and flags, sizes of blocks, and the end.
    let mut replies = [0; 20 + (20 + 12) + (20 + 14) + 20];
    stream.read_exact(&mut replies).unwrap();
    assert_eq!(replies[12..16], [0x80, 0, 0, 1]);
    assert_eq!(replies[42..50], (DISK_BYTES as u64).to_be_bytes());
    stream.write_all(&request(1, 0, 512, &sectors(5, 1), 512)).unwrap();
    assert_eq!(answer(&mut stream, 0).0, 0);
    stream.write_all(&request(3, 0, 0, &[], 0)).unwrap();
    assert_eq!(answer(&mut stream, 0).0, 0);
    stream.write_all(&request(1, 1, 0, &sectors(6, 1), 512)).unwrap();
    assert_eq!(answer(&mut stream, 0).0, 0);
    stream.write_all(&request(6, 0, 1024, &[], 512)).unwrap();
    assert_eq!(answer(&mut stream, 0).0, 0);
    stream.write_all(&request(0, 0, 0, &[], 1024)).unwrap();
    assert_eq!(answer(&mut stream, 1024), (0, [sectors(6, 1), sectors(5, 1)].concat()));
    stream.write_all(&request(1, 0, DISK_BYTES as u64, &sectors(1, 1), 512)).unwrap();
    assert_eq!(answer(&mut stream, 0).0, 22);
    stream.write_all(&request(2, 0, 0, &[], 0)).unwrap();
    server.join().unwrap();
    let log = disk.finish().unwrap();
    let kinds: Vec<_> = log.entries.iter().filter(|entry| **entry != Entry::Answered(0)).collect();
    let write = |offset, data, fua| Entry::Write { disk: 0, offset, len: 512, data, fua };
    assert_eq!(
        kinds,
        [
            &write(512, Some(0), false),
            &Entry::Flush(0),
            &write(0, Some(512), true),
            &write(1024, None, false)
        ]
    );
}

//! CAR files written and read back, cut short and lied in.

use super::*;
use bytes::Bytes;

fn blocks() -> Vec<(Cid, Bytes)> {
    [0usize, 1, 91, 92, 300, 20_000]
        .into_iter()
        .map(|length| Bytes::from(vec![7u8; length]))
        .map(|block| (Cid::for_raw(&block), block))
        .collect()
}

fn file() -> (Vec<u8>, Vec<(Cid, Bytes)>) {
    let blocks = blocks();
    let bytes = to_vec(&[blocks[0].0], blocks.iter().map(|(cid, block)| (*cid, &block[..])));
    (bytes, blocks)
}

fn fault(bytes: &[u8]) -> CarFault {
    let error = match Reader::new(bytes) {
        Err(error) => error,
        Ok(reader) => reader.filter_map(Result::err).next().expect("the file is malformed"),
    };
    let CarError::Malformed { why, .. } = error else { panic!("reading from memory does not fail") };
    why
}

#[test]
fn round_trips_by_reader_and_in_pieces_of_any_size() {
    let (bytes, blocks) = file();
    let reader = Reader::new(&bytes[..]).unwrap();
    assert_eq!(reader.roots(), [blocks[0].0]);
    assert_eq!(reader.map(Result::unwrap).collect::<Vec<_>>(), blocks);

    for size in [1, 2, 3, 37, 1000, bytes.len()] {
        let (mut decoder, mut got) = (Decoder::new(), Vec::new());
        for piece in bytes.chunks(size) {
            decoder.push(piece);
            while let Some(block) = decoder.next_block().unwrap() {
                got.push(block);
            }
        }
        decoder.finish().unwrap();
        assert_eq!(got, blocks);
    }
}

#[test]
fn sizes_are_known_before_writing() {
    for (cid, block) in blocks() {
        let mut out = Vec::new();
        write_block(&mut out, &cid, &block);
        assert_eq!(out.len(), block_bytes(block.len()));
    }
}

#[test]
fn a_block_given_twice_is_written_once() {
    let blocks = blocks();
    let twice = blocks.iter().chain(&blocks).map(|(cid, block)| (*cid, &block[..]));
    assert_eq!(to_vec(&[blocks[0].0], twice), file().0);
}

#[test]
fn every_truncation_is_an_error() {
    let (bytes, blocks) = file();
    let mut ends = vec![];
    let mut out = Vec::new();
    write_header(&mut out, &[blocks[0].0]);
    ends.push(out.len());
    for (cid, block) in &blocks {
        write_block(&mut out, cid, block);
        ends.push(out.len());
    }
    for length in (0..600).chain(bytes.len() - 600..bytes.len()) {
        if !ends.contains(&length) {
            assert_eq!(fault(&bytes[..length]), CarFault::Truncated, "{length}");
        }
    }
}

#[test]
fn refuses_wrong_hashes_lengths_and_headers() {
    let (mut bytes, blocks) = file();
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(fault(&bytes), CarFault::Hash(blocks.last().unwrap().0));

    let mut start = Vec::new();
    write_header(&mut start, &[]);
    let with = |tail: &[u8]| [&start[..], tail].concat();
    assert_eq!(fault(&with(&[0x80, 0x00])), CarFault::Length);
    assert_eq!(fault(&with(&[0xff; 9])), CarFault::TooLong);
    assert_eq!(fault(&with(&[0xff, 0xff, 0xff, 0x7f])), CarFault::TooLong);
    assert_eq!(fault(&with(&[0])), CarFault::Cid(CidError::Length(0)));
    assert_eq!(fault(&with(&[&[36][..], &[0; 36]].concat())), CarFault::Cid(CidError::Kind));

    assert_eq!(fault(&[0]), CarFault::Header(DecodeError { at: 0, why: cbor::Malformed::Truncated }));
    assert_eq!(fault(&[0xff, 0x7f]), CarFault::TooLong);
    let version = start.len() - 1;
    start[version] = 2;
    assert_eq!(fault(&start), CarFault::Version);
    let mut many = Vec::new();
    write_header(&mut many, &[Cid::for_raw(b""); ROOTS_MAX + 1]);
    assert_eq!(fault(&many), CarFault::TooManyRoots);
    assert_eq!(Reader::new(&[][..]).err().map(|error| error.to_string()).unwrap(), "byte 0 of the CAR file");
}

#[test]
fn a_claimed_length_reserves_nothing() {
    let mut bytes = Vec::new();
    write_header(&mut bytes, &[]);
    bytes.extend_from_slice(&[0xff, 0xff, 0x79]); // 1,998,847 bytes to come
    let mut decoder = Decoder::new();
    decoder.push(&bytes);
    assert!(decoder.next_block().unwrap().is_none());
    assert!(decoder.finish().is_err());
}

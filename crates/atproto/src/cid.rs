//! Content identifiers in the one shape that atproto uses: CID version 1, SHA-256, codec dag-cbor or raw.
//!
//! Other codecs, hashes and CID version 0 are refused when parsed, so that every `Cid` in the program is 36 bytes
//! with a known meaning. Source: atproto specification "Data Model", section "link and CID formats".

use sha2::{Digest, Sha256};
use std::fmt;

/// Length of a binary CID: version, codec, hash function, digest length, then 32 bytes of digest.
pub const CID_BYTES: usize = 36;
/// Length of the text form: multibase prefix `b` and 58 base32 characters for 36 bytes.
pub const CID_TEXT_BYTES: usize = 59;

const VERSION_1: u8 = 0x01;
const CODEC_DAG_CBOR: u8 = 0x71;
const CODEC_RAW: u8 = 0x55;
const SHA2_256: u8 = 0x12;
const DIGEST_BYTES: u8 = 0x20;
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The hash name of a block: CIDv1, SHA-256, of DAG-CBOR or of raw bytes.
///
/// The order is that of the binary form. `Display` gives the base32 text (`bafyrei…`, `bafkrei…`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cid([u8; CID_BYTES]);

/// Why bytes or text are not a CID of atproto's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CidError {
    #[error("a CID is {CID_BYTES} bytes long, these are {0}")]
    Length(usize),
    #[error("only CID version 1, codec dag-cbor or raw, hash sha2-256 is used here")]
    Kind,
    #[error("CID text is `b` and 58 characters of lower-case base32")]
    Text,
}

impl Cid {
    /// Names a DAG-CBOR block (a record, an MST node, a commit).
    #[must_use]
    pub fn for_dag_cbor(bytes: &[u8]) -> Self {
        Self::from_digest(CODEC_DAG_CBOR, &Sha256::digest(bytes).into())
    }

    /// Names raw bytes (a blob).
    #[must_use]
    pub fn for_raw(bytes: &[u8]) -> Self {
        Self::from_digest(CODEC_RAW, &Sha256::digest(bytes).into())
    }

    /// Names the DAG-CBOR block that has this SHA-256.
    #[must_use]
    pub fn dag_cbor_of_digest(digest: &[u8; 32]) -> Self {
        Self::from_digest(CODEC_DAG_CBOR, digest)
    }

    /// Takes the binary form, all of it.
    ///
    /// Fails on another length, version, codec or hash function.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CidError> {
        let raw: [u8; CID_BYTES] = bytes.try_into().map_err(|_| CidError::Length(bytes.len()))?;
        match raw {
            [VERSION_1, CODEC_DAG_CBOR | CODEC_RAW, SHA2_256, DIGEST_BYTES, ..] => Ok(Self(raw)),
            _ => Err(CidError::Kind),
        }
    }

    /// Parses the text form, base32 lower case only; other multibases are not used by atproto.
    ///
    /// Fails also on unused trailing bits that are not zero, so that one CID has one text.
    pub fn parse(text: &str) -> Result<Self, CidError> {
        let text = text.as_bytes();
        let Some((b'b', digits)) = text.split_first() else { return Err(CidError::Text) };
        if text.len() != CID_TEXT_BYTES {
            return Err(CidError::Text);
        }
        let mut raw = [0u8; CID_BYTES];
        let mut out = raw.iter_mut();
        let (mut bits, mut held) = (0u32, 0u32);
        for digit in digits {
            let five = match digit {
                b'a'..=b'z' => digit - b'a',
                b'2'..=b'7' => digit - b'2' + 26,
                _ => return Err(CidError::Text),
            };
            bits = (bits << 5) | u32::from(five);
            held += 5;
            if held >= 8 {
                held -= 8;
                let [.., byte] = (bits >> held).to_be_bytes();
                if let Some(slot) = out.next() {
                    *slot = byte;
                }
                bits &= (1 << held) - 1;
            }
        }
        if bits != 0 {
            return Err(CidError::Text);
        }
        Self::from_bytes(&raw)
    }

    /// Returns the binary form.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; CID_BYTES] {
        &self.0
    }

    /// Returns the SHA-256 of the block.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        let [_, _, _, _, digest @ ..] = &self.0;
        digest
    }

    /// Says whether this names raw bytes (a blob) rather than DAG-CBOR.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        let [_, codec, ..] = self.0;
        codec == CODEC_RAW
    }

    /// Says whether `block` is what this CID names.
    #[must_use]
    pub fn names(&self, block: &[u8]) -> bool {
        self.digest().as_slice() == Sha256::digest(block).as_slice()
    }

    fn from_digest(codec: u8, digest: &[u8; 32]) -> Self {
        let mut raw = [0u8; CID_BYTES];
        let [version, kind, hash, length, rest @ ..] = &mut raw;
        (*version, *kind, *hash, *length) = (VERSION_1, codec, SHA2_256, DIGEST_BYTES);
        *rest = *digest;
        Self(raw)
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(CID_TEXT_BYTES);
        text.push('b');
        let (mut bits, mut held) = (0u32, 0u32);
        for byte in self.0 {
            bits = (bits << 8) | u32::from(byte);
            held += 8;
            while held >= 5 {
                held -= 5;
                text.push(base32_digit(bits >> held));
                bits &= (1 << held) - 1;
            }
        }
        // 288 bits are 57 digits and 3 bits: the last digit is those 3 bits and two zeros.
        text.push(base32_digit(bits << (5 - held)));
        f.write_str(&text)
    }
}

fn base32_digit(bits: u32) -> char {
    let [.., low] = bits.to_be_bytes();
    BASE32.get(usize::from(low & 31)).copied().map_or('a', char::from)
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cid({self})")
    }
}

impl std::str::FromStr for Cid {
    type Err = CidError;

    fn from_str(text: &str) -> Result<Self, CidError> {
        Self::parse(text)
    }
}

/// Hashes a blob as it streams past, so that it is never held whole.
#[derive(Debug, Clone, Default)]
pub struct RawHasher(Sha256);

impl RawHasher {
    /// Starts with no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the blob.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Names all that was taken.
    #[must_use]
    pub fn finish(self) -> Cid {
        Cid::from_digest(CODEC_RAW, &self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW_HELLO: &str = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq";

    #[test]
    fn text_round_trips() {
        let cid = Cid::for_raw(b"hello");
        assert_eq!(cid.to_string(), RAW_HELLO);
        assert_eq!(Cid::parse(RAW_HELLO), Ok(cid));
        assert!(cid.is_raw() && cid.names(b"hello") && !cid.names(b"hell"));
        let node = Cid::for_dag_cbor(b"hello");
        assert!(node.to_string().starts_with("bafyrei") && !node.is_raw());
        assert_eq!(Cid::parse(&node.to_string()), Ok(node));
        assert_eq!(Cid::from_bytes(node.as_bytes()), Ok(node));
    }

    #[test]
    fn streamed_hash_equals_whole_hash() {
        let mut hasher = RawHasher::new();
        hasher.update(b"he");
        hasher.update(b"llo");
        assert_eq!(hasher.finish(), Cid::for_raw(b"hello"));
    }

    #[test]
    fn refuses_other_kinds() {
        for bad in [
            "",
            "b",
            "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR",
            "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
            "zdj7WWeQ43G6JJvLWQWZpyHuAMq6uYWRjkBXFad11vE2LHhQ7",
            "BAFKREIBM6JG3UX5QUMHCN2B3FLC3TYU6DMLB4XA7U5BF44YEGNRJHC4YEQ",
            // The last digit carries two bits that must be zero: `q` is 16, `r` sets one of them.
            "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yer",
            "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeqa",
        ] {
            assert!(Cid::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Cid::from_bytes(&[1, 0x71, 0x12]), Err(CidError::Length(3)));
        let mut sha512 = *Cid::for_raw(b"x").as_bytes();
        sha512[2] = 0x13;
        assert_eq!(Cid::from_bytes(&sha512), Err(CidError::Kind));
    }
}

//! Finds a blob's media type from its first bytes.
//!
//! The sniffed type wins over the header's, as in the reference: a client that calls a PNG `image/jpeg` must not make
//! the record refer to a type the bytes do not have. Only types that the network's records use are known here; all
//! else keeps the header's type.

/// How many leading bytes [`sniff`] looks at; more never changes its answer.
pub(crate) const SNIFF_BYTES: usize = 64;

/// Media type of a blob that nothing tells about.
pub(crate) const OCTET_STREAM: &str = "application/octet-stream";

/// Leading bytes and the type they prove.
const PREFIXES: &[(&[u8], &str)] = &[
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"\0\0\x01\0", "image/x-icon"),
    (b"\xff\x0a", "image/jxl"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf2", "audio/mpeg"),
    (b"\xff\xf1", "audio/aac"),
    (b"\xff\xf9", "audio/aac"),
    (b"fLaC", "audio/x-flac"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"\0asm", "application/wasm"),
    (b"WEBVTT", "text/vtt"),
];

/// ISO base media brands (ISO/IEC 14496-12, `ftyp`) and the type they prove.
const BRANDS: &[(&[u8; 4], &str)] = &[
    (b"avif", "image/avif"),
    (b"avis", "image/avif"),
    (b"heic", "image/heic"),
    (b"heix", "image/heic"),
    (b"mif1", "image/heif"),
    (b"msf1", "image/heif-sequence"),
    (b"qt  ", "video/quicktime"),
    (b"M4V ", "video/x-m4v"),
    (b"M4A ", "audio/x-m4a"),
    (b"M4B ", "audio/mp4"),
    (b"3gp4", "video/3gpp"),
    (b"3gp5", "video/3gpp"),
    (b"3g2a", "video/3gpp2"),
];

/// Names the type that `head`, the blob's first [`SNIFF_BYTES`] bytes or all of it, proves.
#[must_use]
pub(crate) fn sniff(head: &[u8]) -> Option<&'static str> {
    if let Some((_, mime)) = PREFIXES.iter().find(|(prefix, _)| head.starts_with(prefix)) {
        return Some(mime);
    }
    match (head.get(0..4), head.get(4..8), head.get(8..12)) {
        (_, Some(b"ftyp"), Some(brand)) => {
            Some(BRANDS.iter().find(|(b, _)| brand == b.as_slice()).map_or("video/mp4", |(_, mime)| mime))
        }
        (Some(b"RIFF"), _, Some(b"WEBP")) => Some("image/webp"),
        (Some(b"RIFF"), _, Some(b"WAVE")) => Some("audio/wav"),
        (Some(b"RIFF"), _, Some(b"AVI ")) => Some("video/vnd.avi"),
        (Some(b"\x1a\x45\xdf\xa3"), _, _) => {
            // EBML: Matroska and WebM differ in the DocType element, which stands within the first few dozen bytes.
            let is_webm = head.windows(4).any(|w| w == b"webm");
            Some(if is_webm { "video/webm" } else { "video/matroska" })
        }
        (Some(b"OggS"), _, _) => Some(if head.windows(8).any(|w| w == b"OpusHead") {
            "audio/ogg; codecs=opus"
        } else if head.windows(6).any(|w| w == b"theora") {
            "video/ogg"
        } else {
            "audio/ogg"
        }),
        _ => None,
    }
}

/// Longest media type kept from a header, bytes; RFC 6838 section 4.2 allows 127 for each half.
const MIME_BYTES_MAX: usize = 255;

/// Decides a blob's type: the sniffed one, else the header's when it looks like one, else octet-stream.
#[must_use]
pub(crate) fn decide(head: &[u8], header: Option<&str>) -> String {
    if let Some(mime) = sniff(head) {
        return mime.to_owned();
    }
    // Parameters such as a charset are of the request, not of the blob.
    match header.and_then(|h| h.split(';').next()).map(str::trim) {
        Some(h) if h.len() <= MIME_BYTES_MAX && looks_like_mime(h) => h.to_owned(),
        _ => OCTET_STREAM.to_owned(),
    }
}

/// Tells whether `text` starts with `type/subtype` and holds only printable ASCII.
fn looks_like_mime(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default();
    let Some((kind, sub)) = essence.split_once('/') else { return false };
    let token = |s: &str| {
        !s.is_empty() && s.trim_end().bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    token(kind) && token(sub) && text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sniffed_type_wins_over_the_header() {
        assert_eq!(decide(b"\x89PNG\r\n\x1a\nrest", Some("image/jpeg")), "image/png");
        assert_eq!(decide(b"\0\0\0\x18ftypmp42", Some("text/plain")), "video/mp4");
        assert_eq!(decide(b"\0\0\0\x18ftypqt  ", None), "video/quicktime");
        assert_eq!(decide(b"RIFF\x10\0\0\0WEBPVP8 ", None), "image/webp");
    }

    #[test]
    fn unknown_bytes_keep_a_sane_header_and_nothing_else() {
        assert_eq!(decide(b"hello", Some("text/plain; charset=utf-8")), "text/plain");
        assert_eq!(decide(b"hello", Some("*/*")), OCTET_STREAM);
        assert_eq!(decide(b"hello", Some("nonsense")), OCTET_STREAM);
        assert_eq!(decide(b"", None), OCTET_STREAM);
        assert_eq!(decide(b"x", Some("text/ht\u{e4}ml")), OCTET_STREAM);
    }

    #[test]
    fn short_heads_do_not_confuse() {
        for len in 0..12 {
            let _mime = sniff(&b"RIFF\x10\0\0\0WEB"[..len.min(11)]);
        }
        assert_eq!(sniff(b"\x1a\x45\xdf\xa3\x01\x42\x82\x84webm"), Some("video/webm"));
        assert_eq!(sniff(b"\x1a\x45\xdf\xa3\x01\x42\x82\x88matroska"), Some("video/matroska"));
    }
}

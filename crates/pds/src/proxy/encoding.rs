//! Undoes the compression of answers that have to be read here.

use std::io::Read;

use axum::http::{HeaderMap, header};
use flate2::read::MultiGzDecoder;

/// Gives a body's plain bytes, no more than `bytes_max`; `None` when it is longer, damaged, or in another encoding.
pub(super) fn plain(headers: &HeaderMap, body: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let coding = headers.get(header::CONTENT_ENCODING).map_or(Ok("identity"), |value| value.to_str()).ok()?;
    match coding.trim().to_ascii_lowercase().as_str() {
        "identity" | "" => (body.len() <= bytes_max).then(|| body.to_vec()),
        "gzip" | "x-gzip" => {
            let mut out = Vec::new();
            // One byte more than allowed shows that there would be more.
            let limit = bytes_max.saturating_add(1) as u64;
            MultiGzDecoder::new(body).take(limit).read_to_end(&mut out).ok()?;
            (out.len() <= bytes_max).then_some(out)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::http::HeaderValue;
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    #[test]
    fn gzip_is_undone_within_the_bound_only() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&[b'x'; 100_000]).unwrap();
        let packed = encoder.finish().unwrap();
        let gzip = HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
        assert_eq!(plain(&gzip, &packed, 100_000).unwrap().len(), 100_000);
        assert_eq!(plain(&gzip, &packed, 99_999), None, "a small body that unpacks to a huge one");
        assert_eq!(plain(&gzip, &packed[..50], 100_000), None, "cut off");
        let brotli = HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static("br"))]);
        assert_eq!(plain(&brotli, b"x", 10), None);
        assert_eq!(plain(&HeaderMap::new(), b"x", 10).as_deref(), Some(&b"x"[..]));
    }
}

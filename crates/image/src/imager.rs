//! The list that Raspberry Pi Imager reads: what the image is called, where it is and what it must hash to.
//!
//! Its fields are those of Imager's own `doc/json-schema/os-list-schema.json`.

use serde_json::json;

/// One image, as the list describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The version.
    pub version: String,
    /// The file's name; it lies beside the list.
    pub file_name: String,
    /// Length of the image.
    pub extract_size: u64,
    /// SHA-256 of the image; Imager refuses another.
    pub extract_sha256: String,
    /// Length of the compressed file.
    pub download_size: u64,
    /// The day of the release, as `2026-11-23`.
    pub release_date: String,
    /// Where the file and the picture will be, with a slash at the end.
    pub folder_url: String,
}

/// The models that Imager offers it for, by its own tags. A Zero 2 W is one of the Pi 3 there.
const DEVICES: &[&str] = &["pi5-64bit", "pi4-64bit", "pi3-64bit"];

/// The text of the list.
#[must_use]
pub fn text(offer: &Offer) -> String {
    let document = json!({
        "os_list": [{
            "name": format!("Perch {}", offer.version),
            "description": "Your own home for Bluesky and the AT Protocol, on your own shelf",
            "icon": format!("{}perch.svg", offer.folder_url),
            "url": format!("{}{}", offer.folder_url, offer.file_name),
            "extract_size": offer.extract_size,
            "extract_sha256": offer.extract_sha256,
            "image_download_size": offer.download_size,
            "release_date": offer.release_date,
            // Its settings are ours: a first-boot script of Imager's would find nothing that runs it.
            "init_format": "none",
            "devices": DEVICES,
        }],
    });
    format!("{document:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_that_imager_requires_is_there() {
        let offer = Offer {
            version: "0.1.0".to_owned(),
            file_name: "perch-0.1.0-rpi.img.zst".to_owned(),
            extract_size: 10,
            extract_sha256: "ab".repeat(32),
            download_size: 5,
            release_date: "2026-11-23".to_owned(),
            folder_url: "https://example.com/".to_owned(),
        };
        let value: serde_json::Value = serde_json::from_str(&text(&offer)).unwrap();
        let entry = &value["os_list"][0];
        let required =
            "name description icon url extract_size extract_sha256 image_download_size release_date";
        for field in required.split(' ') {
            assert!(!entry[field].is_null(), "{field}");
        }
        assert_eq!(entry["url"], "https://example.com/perch-0.1.0-rpi.img.zst");
    }
}

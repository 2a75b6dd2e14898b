//! The software bill of materials: what is in an image, as CycloneDX 1.5 JSON (ECMA-424).
//!
//! Pure, and without time or random number: the same parts give the same text.

use serde_json::{Value, json};

/// Where a part comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Debian's archive.
    Debian,
    /// The registry of Rust's packages.
    Cargo,
}

/// One part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Component {
    /// Where it comes from.
    pub origin: Origin,
    /// Its name there.
    pub name: String,
    /// Its version there.
    pub version: String,
    /// Its licence as an SPDX expression, if it states one.
    pub license: Option<String>,
}

impl Component {
    /// The package URL (purl-spec).
    fn purl(&self) -> String {
        // `+` is no plain character of a version there.
        let version = self.version.replace('+', "%2B").replace(':', "%3A");
        match self.origin {
            Origin::Debian => format!("pkg:deb/debian/{}@{version}?arch=arm64", self.name),
            Origin::Cargo => format!("pkg:cargo/{}@{version}", self.name),
        }
    }

    fn json(&self) -> Value {
        let mut value = json!({
            "type": if self.origin == Origin::Cargo { "library" } else { "application" },
            "name": self.name,
            "version": self.version,
            "purl": self.purl(),
            "bom-ref": self.purl(),
        });
        if let (Some(license), Some(object)) = (&self.license, value.as_object_mut()) {
            object.insert("licenses".to_owned(), json!([{ "expression": license }]));
        }
        value
    }
}

/// The text for an image of this name and version; parts are sorted, and none is named twice.
#[must_use]
pub fn text(name: &str, version: &str, mut components: Vec<Component>) -> String {
    components.sort();
    components.dedup();
    let components: Vec<Value> = components.iter().map(Component::json).collect();
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": { "type": "firmware", "name": name, "version": version } },
        "components": components,
    });
    format!("{document:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_sorted_named_once_and_have_a_package_url() {
        let part = |origin, name: &str, version: &str, license: Option<&str>| Component {
            origin,
            name: name.to_owned(),
            version: version.to_owned(),
            license: license.map(str::to_owned),
        };
        let parts = vec![
            part(Origin::Cargo, "serde", "1.0.1", Some("MIT OR Apache-2.0")),
            part(Origin::Debian, "libc6", "2.36-9+deb12u1", None),
            part(Origin::Cargo, "serde", "1.0.1", Some("MIT OR Apache-2.0")),
        ];
        let text = text("perch-qemu-virt", "0.1.0", parts);
        let value: Value = serde_json::from_str(&text).unwrap();
        let components = value["components"].as_array().unwrap();
        assert_eq!(components.len(), 2);
        assert_eq!(components[0]["purl"], "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=arm64");
        assert_eq!(components[1]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(value["metadata"]["component"]["version"], "0.1.0");
    }
}

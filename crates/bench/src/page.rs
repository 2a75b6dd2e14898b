//! `docs/benchmarks.md` is written by several commands: each keeps what the others wrote.

use std::{fs, io, path::Path};

/// What begins a section that has a writer of its own.
const SECTIONS: &[&str] = &["## Clocks"];

/// Writes the part before the sections that others write.
pub fn write_first(page: &Path, text: &str) -> io::Result<()> {
    let old = read(page)?;
    fs::write(page, joined(text, old.get(first_end(&old)..).unwrap_or_default()))
}

/// Writes one of the sections, whose first line is `heading`, and leaves the rest.
pub fn write_section(page: &Path, heading: &str, text: &str) -> io::Result<()> {
    debug_assert!(SECTIONS.contains(&heading), "the first part would end at an unknown heading");
    let old = read(page)?;
    let (before, rest) = old.split_once(&format!("\n{heading}\n")).unwrap_or((&old, ""));
    let after = rest.find("\n## ").and_then(|start| rest.get(start + 1..)).unwrap_or_default();
    fs::write(page, joined(&joined(before, text), after))
}

fn read(page: &Path) -> io::Result<String> {
    match fs::read_to_string(page) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}

/// Where the first of the sections begins.
fn first_end(text: &str) -> usize {
    let starts = SECTIONS.iter().filter_map(|heading| text.find(&format!("\n{heading}\n")));
    starts.min().map_or(text.len(), |start| start + 1)
}

/// Joins two parts with one empty line between them and one line end after them.
fn joined(first: &str, second: &str) -> String {
    let (first, second) = (first.trim(), second.trim());
    if second.is_empty() { format!("{first}\n") } else { format!("{first}\n\n{second}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_writer_leaves_what_others_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page.md");
        write_first(&page, "# Page\n\n## How\nso\n").unwrap();
        write_section(&page, "## Clocks", "## Clocks\n\nold").unwrap();
        write_section(&page, "## Clocks", "## Clocks\n\nnew\n").unwrap();
        write_first(&page, "# Page\n\n## How\notherwise\n").unwrap();
        let text = fs::read_to_string(&page).unwrap();
        assert_eq!(text, "# Page\n\n## How\notherwise\n\n## Clocks\n\nnew\n");
    }
}

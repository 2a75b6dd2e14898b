//! `cargo xtask image`: makes the file that people flash, and what goes beside it. `image-lint` looks one over.
//!
//! The layout and the files' forms are the crate `image`'s; here the parts are made, by their standard programs. All of it
//! depends on the inputs alone: two builds give the same bytes. `docs/design/013-image.md` has the reasons.

mod assemble;
mod base;
mod beside;
mod tree;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use image::Layout;
use platform::Board;

use crate::{
    cross::{self, Effort},
    install::{self, Debian},
    shell::say,
};

/// Debian packages with the programs that make the parts.
const TOOLS: &[&str] = &["squashfs-tools", "e2fsprogs", "zstd", "gzip", "kmod", "xz-utils", "binutils"];

/// Largest compressed image, bytes: a few minutes at a slow line.
const COMPRESSED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Most that both roots may weigh, bytes: they stay in memory, of which a Zero 2 W has 512 MB.
const ROOTS_BYTES_MAX: u64 = 24 * 1024 * 1024;

/// What to make.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The machine that it is for.
    #[arg(long, value_enum)]
    board: BoardName,
    /// Where kernel and base come from.
    #[arg(long, value_enum)]
    from: Option<Source>,
    /// Optimises our programs less, as CI does.
    #[arg(long)]
    quick: bool,
    /// Takes our programs from this folder instead of building them.
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// The folder for the result.
    #[arg(long, default_value = "target/image")]
    out: PathBuf,
}

/// A machine, or several that one image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BoardName {
    /// Raspberry Pi 3, 4, 5 and Zero 2 W.
    Rpi,
    /// Raspberry Pi 3 and 4 with the mainline kernel.
    RpiMainline,
    /// QEMU's `virt`.
    QemuVirt,
}

/// Where kernel and base come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Source {
    /// Debian's arm64 packages: a test image.
    Debian,
}

impl BoardName {
    /// As in file names and `release.txt`.
    fn name(self) -> &'static str {
        match self {
            Self::Rpi => "rpi",
            Self::RpiMainline => "rpi-mainline",
            Self::QemuVirt => "qemu-virt",
        }
    }

    /// The folders of `board/` that describe its machines.
    fn folders(self) -> &'static [&'static str] {
        match self {
            Self::Rpi => &["raspberrypi-3", "raspberrypi-4", "raspberrypi-5", "raspberrypi-zero-2-w"],
            Self::RpiMainline => &["raspberrypi-3", "raspberrypi-4"],
            Self::QemuVirt => &["qemu-virt"],
        }
    }
}

/// What is being made.
#[derive(Debug, Clone)]
struct Edition {
    board: BoardName,
    /// As in `Cargo.toml`.
    version: String,
}

impl Edition {
    /// The name of the file, without ending. It says plainly what is no release.
    fn file_stem(&self) -> String {
        format!("perch-{}-{}-debian-test", self.version, self.board.name())
    }

    /// The lines of `release.txt`.
    fn release(&self) -> String {
        format!("name=Perch\nversion={}\nboard={}\nsource=debian-test\n", self.version, self.board.name())
    }

    /// `/etc/os-release` (os-release(5)).
    fn os_release(&self) -> String {
        let version = &self.version;
        format!(
            "NAME=\"Perch\"\nID=perch\nID_LIKE=debian\nVERSION_ID={version}\n\
             VERSION=\"{version} (test image from Debian's packages, not a release)\"\n\
             PRETTY_NAME=\"Perch {version} (test image from Debian's packages, not a release)\"\n\
             VARIANT=\"Test image\"\nVARIANT_ID=debian-test\n"
        )
    }
}

/// Makes an image and everything beside it, and returns the compressed file.
pub(crate) fn run(root: &Path, options: &Options) -> Result<PathBuf> {
    if options.from != Some(Source::Debian) || options.board != BoardName::QemuVirt {
        bail!(
            "only `--board qemu-virt --from debian` is put together so far; \
             buildroot-config/README.md says how Buildroot makes the parts of the others"
        );
    }
    let effort = if options.quick { Effort::Quick } else { Effort::Release };
    let programs = match &options.programs {
        Some(programs) => root.join(programs),
        None => cross::build(root, effort)?,
    };
    make(root, options.board, &programs, &root.join(&options.out))
}

/// Makes an image of programs that are built already.
pub(crate) fn make(root: &Path, board: BoardName, programs: &Path, out: &Path) -> Result<PathBuf> {
    install::debian(root, &Debian { packages: TOOLS, backports: false })?;
    install::foreign_architecture(root, "arm64")?;
    let edition = Edition { board, version: env!("CARGO_PKG_VERSION").to_owned() };
    let layout = layout(root, board)?;
    let stage = out.join("stage");
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| format!("cannot empty {}", stage.display()))?;
    }
    let parts = base::stage(root, &edition, programs, &stage)?;
    let roots = assemble::roots(&stage)?;
    if roots.bytes > ROOTS_BYTES_MAX {
        bail!("the roots weigh {} bytes, more than {ROOTS_BYTES_MAX}", roots.bytes);
    }
    let mut files = BTreeMap::from([
        ("base.squashfs".to_owned(), roots.base),
        ("perch.squashfs".to_owned(), roots.perch),
        ("kernel8.img".to_owned(), assemble::kernel(&parts.kernel.image(), &stage)?),
        ("initramfs.zst".to_owned(), assemble::initramfs(root, &parts.kernel, &parts.busybox, &stage)?),
        (
            image::slot::RELEASE_FILE.to_owned(),
            tree::written(&stage.join("release.txt"), &edition.release())?,
        ),
    ]);
    for name in ["config.txt", "cmdline.txt"] {
        files.insert(name.to_owned(), root.join("image/slot").join(board.name()).join(name));
    }
    let raw = out.join(edition.file_stem()).with_added_extension("img");
    assemble::image(root, &raw, &layout, &files)?;
    let compressed = assemble::compress(&raw)?;
    let bytes = fs::metadata(&compressed).context("cannot look at the image")?.len();
    if bytes > COMPRESSED_BYTES_MAX {
        bail!("the image weighs {bytes} bytes compressed, more than {COMPRESSED_BYTES_MAX}");
    }
    beside::write(root, &edition, &parts.packages, &raw, &compressed)?;
    let percent = image::fat::Fat::new(&File::open(&raw)?, layout.slots[0]).percent_full()?;
    say(format_args!(
        "{}: {:.1} MB compressed, roots {:.1} MB, slots {percent} % full",
        compressed.display(),
        megabytes(bytes),
        megabytes(roots.bytes)
    ));
    Ok(compressed)
}

/// Makes the test image of these programs two times in two folders; the results must be the same bytes, and clean.
pub(crate) fn make_twice(root: &Path, programs: &Path) -> Result<()> {
    let folder = root.join("target/image");
    let first = make(root, BoardName::QemuVirt, programs, &folder)?;
    let again = make(root, BoardName::QemuVirt, programs, &folder.join("again"))?;
    let sums = |compressed: &Path| fs::read_to_string(compressed.with_added_extension("sha256"));
    if sums(&first)? != sums(&again)? {
        bail!("two builds differ: {} and {}", first.display(), again.display());
    }
    let raw = first.with_extension("");
    if !lint(root, &raw)? {
        bail!("{} would not start everywhere: see the lines above", raw.display());
    }
    fs::remove_dir_all(folder.join("again")).context("cannot remove the second image")
}

/// Looks an image file over; prints what is wrong and returns whether all is well.
pub(crate) fn lint(root: &Path, path: &Path) -> Result<bool> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    // All boards have the same sizes (a test holds them to it), so that any will do.
    let findings = image::lint::check(&file, &layout(root, BoardName::QemuVirt)?)
        .with_context(|| format!("cannot read {}: is it unpacked?", path.display()))?;
    for finding in &findings {
        say(format_args!("{finding}"));
    }
    say(format_args!("image-lint: {} findings in {}", findings.len(), path.display()));
    Ok(findings.is_empty())
}

/// The layout that the board's files ask for, which must be one.
fn layout(root: &Path, board: BoardName) -> Result<Layout> {
    let mut found = None;
    for folder in board.folders() {
        let path = root.join("board").join(folder).join("board.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let board = Board::parse(&text).with_context(|| format!("{} is wrong", path.display()))?;
        let layout = Layout::of(&board.partitions)?;
        if found.is_some_and(|found| found != layout) {
            bail!("{}: its partitions are not those of the other boards of the image", path.display());
        }
        found = Some(layout);
    }
    found.context("the board has no machine")
}

/// For people: 64 MB are 64 million bytes.
fn megabytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let bytes = bytes as f64;
    bytes / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::workspace_root;

    #[test]
    fn all_boards_have_one_layout() {
        let root = workspace_root().unwrap();
        let of = |board| layout(&root, board).unwrap();
        assert_eq!(of(BoardName::Rpi), of(BoardName::QemuVirt));
        assert_eq!(of(BoardName::RpiMainline), of(BoardName::QemuVirt));
    }

    #[test]
    fn a_test_image_says_so_wherever_it_is_named() {
        let edition = Edition { board: BoardName::QemuVirt, version: "1.2.3".to_owned() };
        assert_eq!(edition.file_stem(), "perch-1.2.3-qemu-virt-debian-test");
        assert!(edition.release().contains("source=debian-test\n"));
        assert!(
            edition.os_release().contains("PRETTY_NAME=\"Perch 1.2.3 (test image from Debian's packages")
        );
    }
}

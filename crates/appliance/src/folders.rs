//! Makes the folders of the box's programs: each its own and nobody else's to write, with its part of the settings.
//!
//! Run folders are on tmpfs and made at every start; data folders are made when the data is there. It starts nothing
//! and decides nothing.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use control::users::{User, Users};

use crate::children::Paths;
use crate::config::Settings;
use crate::network;

/// Others may look: status files are for everybody on the box.
const RUN_MODE: u32 = 0o755;

/// Nobody else may look: keys, accounts and posts.
const DATA_MODE: u32 = 0o700;

/// Only its owner may read: passwords and keys.
const SECRET_MODE: u32 = 0o600;

/// Why a folder or file is not there.
#[derive(Debug, thiserror::Error)]
pub enum FoldersError {
    /// It could not be made, or not be given to its owner.
    #[error("cannot make {}", path.display())]
    Make {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A part of the settings has no text form.
    #[error("cannot write the settings of {program}")]
    Settings {
        /// Whose part it is.
        program: &'static str,
        /// The cause.
        #[source]
        source: toml::ser::Error,
    },
}

/// Makes the run folders. Gives the file of the wireless network, if there is one.
///
/// # Errors
/// [`FoldersError`]; no program can be started then.
pub fn make_run(paths: &Paths, users: &Users, settings: &Settings) -> Result<Option<PathBuf>, FoldersError> {
    for (name, owner) in [
        ("appliance", None),
        ("network", None),
        ("pds", users.pds),
        ("timeguard", users.guard),
        ("panel", users.panel),
    ] {
        folder(&paths.run.join(name), RUN_MODE, owner)?;
    }
    // Where things are on the device is not the owner's to say.
    let mut pds = settings.pds.clone();
    for (key, path) in [
        ("data_dir", paths.data.join("pds")),
        ("time_verdict_file", paths.run.join("timeguard/verdict.json")),
    ] {
        pds.insert(key.to_owned(), toml::Value::String(path.display().to_string()));
    }
    for (program, table, owner) in [("pds", &pds, users.pds), ("timeguard", &settings.time, users.guard)] {
        let text = toml::to_string(table).map_err(|source| FoldersError::Settings { program, source })?;
        file(&paths.run.join(program).join("settings.toml"), SECRET_MODE, owner, &text)?;
    }
    file(&paths.run.join("network/udhcpc.sh"), RUN_MODE, None, network::UDHCPC_SCRIPT)?;
    let Some(wifi) = &settings.wifi else { return Ok(None) };
    let path = paths.run.join("network/wpa_supplicant.conf");
    file(&path, SECRET_MODE, None, &wifi.wpa_supplicant())?;
    Ok(Some(path))
}

/// Makes the folders in the data, which is there.
///
/// # Errors
/// [`FoldersError`]; the data cannot be used then.
pub fn make_data(data: &Path, users: &Users) -> Result<(), FoldersError> {
    for (name, owner) in [("appliance", None), ("pds", users.pds), ("timeguard", users.guard)] {
        folder(&data.join(name), DATA_MODE, owner)?;
    }
    Ok(())
}

/// Keeps the time guard out of its folder while the data may move: it runs on, and what it saved now would be on one of
/// two copies. [`make_data`] lets it in again.
///
/// # Errors
/// [`FoldersError`]; it may then still write.
pub fn close_data(data: &Path) -> Result<(), FoldersError> {
    let path = data.join("timeguard");
    if !path.is_dir() {
        return Ok(());
    }
    let kept = std::os::unix::fs::lchown(&path, Some(0), Some(0));
    kept.map_err(|source| FoldersError::Make { path, source })
}

fn folder(path: &Path, mode: u32, owner: Option<User>) -> Result<(), FoldersError> {
    let make = || {
        DirBuilder::new().recursive(true).mode(mode).create(path)?;
        // A disk from elsewhere may hold a link here, which must not lead root's hand anywhere.
        if !std::fs::symlink_metadata(path)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        owner.map_or(Ok(()), |owner| chown(path, Some(owner.uid), Some(owner.gid)))
    };
    make().map_err(|source| FoldersError::Make { path: path.to_owned(), source })
}

/// Writes a file anew. What lies there is removed and not followed: a link of the folder's owner would lead elsewhere.
fn file(path: &Path, mode: u32, owner: Option<User>, text: &str) -> Result<(), FoldersError> {
    let make = || {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        // The umask took from the mode of creation.
        file.set_permissions(Permissions::from_mode(mode))?;
        if let Some(owner) = owner {
            std::os::unix::fs::fchown(&file, Some(owner.uid), Some(owner.gid))?;
        }
        file.write_all(text.as_bytes())
    };
    make().map_err(|source| FoldersError::Make { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn each_program_gets_its_part_of_the_settings_and_nobody_else_reads_it() {
        let root = tempfile::tempdir().unwrap();
        let paths =
            Paths { bin: "/usr/bin".into(), run: root.path().join("run"), data: root.path().join("data") };
        let text = "[wifi]\ncountry = \"DE\"\nssid = \"Home\"\npassword = \"pass word\"\n[pds]\n\
                    hostname = \"pds.example.com\"\ndata_dir = \"/tmp\"\n[time]\nuse_dhcp = false\n";
        let settings = Settings::parse(text).unwrap();
        let wifi = make_run(&paths, &Users::default(), &settings).unwrap().unwrap();
        // Twice: after a restart of the supervisor everything is there already.
        make_run(&paths, &Users::default(), &settings).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        let pds = std::fs::read_to_string(paths.run.join("pds/settings.toml")).unwrap();
        assert!(pds.contains("pds.example.com") && !pds.contains("pass word"), "{pds}");
        assert!(!pds.contains("\"/tmp\""), "where the data is is not the owner's to say: {pds}");
        let time = std::fs::read_to_string(paths.run.join("timeguard/settings.toml")).unwrap();
        assert_eq!(time, "use_dhcp = false\n");
        for secret in ["pds/settings.toml", "timeguard/settings.toml"] {
            assert_eq!(mode(&paths.run.join(secret)), SECRET_MODE);
        }
        assert_eq!(mode(&wifi), SECRET_MODE);
        assert_eq!(mode(&paths.run.join("network/udhcpc.sh")), 0o755);
        make_data(&paths.data, &Users::default()).unwrap();
        assert_eq!(mode(&paths.data.join("pds")), 0o700);
    }

    #[test]
    fn a_disk_with_a_link_in_place_of_a_folder_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/tmp", root.path().join("pds")).unwrap();
        assert!(matches!(make_data(root.path(), &Users::default()), Err(FoldersError::Make { .. })));
    }

    #[test]
    fn a_link_in_a_programs_folder_leads_nowhere() {
        let root = tempfile::tempdir().unwrap();
        let (link, elsewhere) = (root.path().join("settings.toml"), root.path().join("elsewhere"));
        std::fs::write(&elsewhere, "mine").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        file(&link, SECRET_MODE, None, "text").unwrap();
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "mine");
        assert_eq!(std::fs::read_to_string(&link).unwrap(), "text");
    }
}

//! Private keys of the user, one file each, mode 0600, under the data directory. The private half
//! never leaves this machine.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ssh_key::private::Ed25519Keypair;
use ssh_key::{LineEnding, PrivateKey};

use crate::failure::{Failure, Result};

/// The folder of keys.
#[derive(Debug, Clone)]
pub(crate) struct KeyStore {
    folder: PathBuf,
}

/// A key on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredKey {
    /// The private key's file.
    pub path: PathBuf,
    /// One line in OpenSSH's form.
    pub public: String,
}

impl KeyStore {
    /// The keys under `data_dir`.
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self { folder: data_dir.join("keys") }
    }

    /// Where the key `name` of `project` is or would be. Names come from the server, so what could
    /// leave the folder is replaced.
    pub(crate) fn path(&self, project: &str, name: &str) -> PathBuf {
        let safe = |text: &str| -> String {
            text.chars()
                .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
                .collect()
        };
        self.folder.join(format!("{}-{}", safe(project), safe(name)))
    }

    /// The key at `path`, if it is there.
    ///
    /// # Errors
    /// The file cannot be read or holds no usable key.
    pub(crate) fn get(&self, path: &Path) -> Result<Option<StoredKey>> {
        match fs::read(path) {
            Ok(text) => stored(path, &text).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Failure::io(path.display(), &e)),
        }
    }

    /// A new Ed25519 key at `path`, from 32 secret random bytes. The file appears whole or not at
    /// all, and never replaces another.
    ///
    /// # Errors
    /// The file cannot be written, or there is one already.
    pub(crate) fn create(&self, path: &Path, seed: &[u8; 32], comment: &str) -> Result<StoredKey> {
        let mut key = PrivateKey::from(Ed25519Keypair::from_seed(seed));
        key.set_comment(comment);
        let text =
            key.to_openssh(LineEnding::LF).map_err(|e| Failure::failed(format!("a new SSH key: {e}")))?;
        self.save(path, text.as_bytes())?;
        stored(path, text.as_bytes())
    }

    /// Saves a private key that the cloud made.
    ///
    /// # Errors
    /// As [`KeyStore::create`].
    pub(crate) fn save(&self, path: &Path, private: &[u8]) -> Result<()> {
        let folder = path.parent().unwrap_or(&self.folder);
        let write = || -> std::io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let mut file = tempfile::Builder::new()
                .permissions(fs::Permissions::from_mode(0o600))
                .tempfile_in(folder)?;
            file.write_all(private)?;
            file.as_file().sync_all()?;
            file.persist_noclobber(path).map_err(|e| e.error)?;
            fs::File::open(folder)?.sync_all()
        };
        write().map_err(|e| Failure::io(format!("the key file {}", path.display()), &e))
    }
}

fn stored(path: &Path, text: &[u8]) -> Result<StoredKey> {
    let unusable = |e| {
        Failure::failed(format!("{} is no usable SSH key: {e}", path.display()))
            .try_("move the file away and repeat the command: a new key is made")
    };
    let key = PrivateKey::from_openssh(text).map_err(unusable)?;
    let public = key.public_key().to_openssh().map_err(unusable)?;
    Ok(StoredKey { path: path.into(), public })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, KeyStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = KeyStore::new(dir.path());
        (dir, store)
    }

    #[test]
    fn a_key_is_made_once_private_to_its_user_and_found_again() {
        let (_dir, store) = store();
        let path = store.path("default", "tepui-default");
        assert_eq!(store.get(&path).unwrap(), None);
        let made = store.create(&path, &[7; 32], "tepui-default").unwrap();
        assert!(made.public.starts_with("ssh-ed25519 ") && made.public.ends_with(" tepui-default"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(store.get(&path).unwrap(), Some(made));
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let (_dir, store) = store();
        let path = store.path("default", "k");
        let made = store.create(&path, &[7; 32], "k").unwrap();
        store.create(&path, &[8; 32], "k").unwrap_err();
        assert_eq!(store.get(&path).unwrap(), Some(made));
    }

    #[test]
    fn openssh_accepts_the_file() {
        let (_dir, store) = store();
        let path = store.path("default", "k");
        let made = store.create(&path, &[9; 32], "k").unwrap();
        let output =
            std::process::Command::new("ssh-keygen").arg("-y").arg("-f").arg(&path).output().unwrap();
        let public = String::from_utf8(output.stdout).unwrap();
        assert_eq!(public.trim(), made.public);
    }

    #[test]
    fn no_name_leaves_the_folder() {
        let (dir, store) = store();
        let path = store.path("../..", "../../etc/passwd");
        assert_eq!(path.parent().unwrap(), dir.path().join("keys"));
    }

    #[test]
    fn a_broken_file_is_named() {
        let (_dir, store) = store();
        let path = store.path("default", "k");
        store.save(&path, b"nonsense").unwrap();
        let failure = store.get(&path).unwrap_err();
        assert!(failure.message.contains("default-k"), "{failure}");
    }
}

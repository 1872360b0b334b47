//! The content-addressed store: one sealed file for each digest.
//!
//! ```text
//!   source ──inspect──▶ convert/copy ──▶ .import-???? ──digest, fsync, seal──▶ rename ──▶ <digest>
//! ```
//! A file under its digest is complete and never changes; everything else is left over from a crash
//! and removed when the store is opened.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};
use tepui_types::Digest;

use crate::inspect::{InspectError, inspect_as};
use crate::sandbox::SANDBOX_UID;
use crate::{Content, ConvertError, Converter, Format, Inspection, Limits, Refusal, sparse};

const PRIVATE_PREFIX: &str = ".import-";
/// Root's, and not even root writes: QEMU's user must never own or change a base.
const SEALED: u32 = 0o444;

/// The image store of a control plane.
#[derive(Debug, Clone)]
pub struct ImageStore {
    folder: PathBuf,
    converter: Converter,
}

/// An image in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredImage {
    /// Its name and identity.
    pub digest: Digest,
    /// Size of the disk the guest sees, in bytes.
    pub size_bytes: u64,
}

/// The store's folder could not be used.
#[derive(Debug, thiserror::Error)]
#[error("the image store {path} cannot be used")]
pub struct StoreError {
    /// The folder or file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Why an import failed. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The image breaks a rule.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It is not what was announced.
    #[error("the image's content has digest {actual}, but {expected} was announced")]
    WrongDigest {
        /// As announced.
        expected: Digest,
        /// As found.
        actual: Digest,
    },
    /// The conversion failed.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// A raw image holds more data than allowed.
    #[error("the image holds more than {0} bytes of data")]
    TooMuchData(u64),
    /// The store's disk is full.
    #[error("the disk of the image store {0} is full")]
    DiskFull(PathBuf),
    /// A file could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImageStore {
    /// Opens the store in `folder`, creates it where it is missing, and removes what a crash left.
    ///
    /// # Errors
    /// When the folder cannot be created, read or cleaned.
    pub fn open(folder: PathBuf, converter: Converter) -> Result<Self, StoreError> {
        let at = |source| StoreError { path: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(at)?;
        fs::set_permissions(&folder, Permissions::from_mode(0o711)).map_err(at)?;
        for entry in fs::read_dir(&folder).map_err(at)? {
            let entry = entry.map_err(at)?;
            if entry.file_name().to_string_lossy().starts_with(PRIVATE_PREFIX) {
                fs::remove_file(entry.path()).map_err(at)?;
            }
        }
        Ok(Self { folder, converter })
    }

    /// Where an image of this digest is or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    /// Every digest in the store.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn digests(&self) -> Result<Vec<Digest>, StoreError> {
        let at = |source| StoreError { path: self.folder.clone(), source };
        let names = fs::read_dir(&self.folder).map_err(at)?.map(|entry| entry.map(|entry| entry.file_name()));
        let names = names.collect::<Result<Vec<_>, _>>().map_err(at)?;
        Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
    }

    /// Removes an image that nothing needs any more; one that is not there is no error.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError { path, source: error }),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Takes the image file `source` into the store. `source` must be a private file of the caller's
    /// (an upload): for the conversion it is given to the sandbox's user.
    ///
    /// # Errors
    /// [`ImportError::Refused`] names the rule that a hostile or damaged image breaks.
    pub async fn import(
        &self,
        source: &Path,
        limits: &Limits,
        expected: Option<Digest>,
    ) -> Result<StoredImage, ImportError> {
        self.import_as(Content::Bootable, source, limits, expected).await
    }

    /// As [`ImageStore::import`], of a file that is to be `content`.
    ///
    /// # Errors
    /// Those of [`ImageStore::import`].
    pub async fn import_as(
        &self,
        content: Content,
        source: &Path,
        limits: &Limits,
        expected: Option<Digest>,
    ) -> Result<StoredImage, ImportError> {
        let file = open_regular(source)?;
        let inspection = inspect_file(content, clone(&file, source)?, *limits, source).await?;
        let private = self.private_file()?;
        let written = match inspection.format {
            Format::Raw => self.copy(file, &private, &inspection, limits).await,
            Format::Qcow2 => self.convert(source, &file, &private, &inspection, limits).await,
        };
        let digest = match written.and_then(|digest| announced(digest, expected)) {
            Ok(digest) => digest,
            Err(error) => return Err(self.given_up(private, error)),
        };
        self.seal(private, &digest).await?;
        Ok(StoredImage { digest, size_bytes: inspection.virtual_bytes })
    }

    fn private_file(&self) -> Result<NamedTempFile, StoreError> {
        tempfile::Builder::new()
            .prefix(PRIVATE_PREFIX)
            .tempfile_in(&self.folder)
            .map_err(|source| StoreError { path: self.folder.clone(), source })
    }

    /// Gives the room of a failed import back at once. Removing the file is not enough: the kernel lets go
    /// of the Landlock rules that the converter had, which hold the file, some time after its end.
    fn given_up(&self, private: NamedTempFile, error: ImportError) -> ImportError {
        let emptied = private.as_file().set_len(0).and_then(|()| private.close());
        if let Err(error) = emptied {
            tracing::warn!(folder = %self.folder.display(), %error, "the room of a failed import is not free yet");
        }
        error
    }

    async fn copy(
        &self,
        source: File,
        private: &NamedTempFile,
        inspection: &Inspection,
        limits: &Limits,
    ) -> Result<Digest, ImportError> {
        let target = clone(private.as_file(), private.path())?;
        let (length, max) = (inspection.virtual_bytes, limits.max_stored_bytes);
        let copied = tokio::task::spawn_blocking(move || sparse::copy(&source, &target, length, max)).await;
        match join(copied) {
            Ok(digest) => Ok(digest),
            Err(error) if error.kind() == io::ErrorKind::StorageFull && error.raw_os_error().is_none() => {
                Err(ImportError::TooMuchData(max))
            }
            Err(error) => Err(self.write_error(private.path(), error)),
        }
    }

    async fn convert(
        &self,
        path: &Path,
        source: &File,
        private: &NamedTempFile,
        inspection: &Inspection,
        limits: &Limits,
    ) -> Result<Digest, ImportError> {
        let (target, length) = (private.as_file(), inspection.virtual_bytes);
        let prepared = target
            .set_len(length)
            .and_then(|()| fchown(target, Some(SANDBOX_UID), None))
            .and_then(|()| fchown(source, Some(SANDBOX_UID), None));
        prepared.map_err(|error| self.write_error(private.path(), error))?;
        let converted = self.converter.convert(path, private.path(), length, limits.max_stored_bytes).await;
        converted.map_err(|error| self.convert_error(error))?;
        let target = clone(target, private.path())?;
        let digest = tokio::task::spawn_blocking(move || sparse::digest(&target, length)).await;
        join(digest).map_err(|error| self.write_error(private.path(), error))
    }

    /// Fsync before the rename: a name in the store stands for bytes on the disk.
    async fn seal(&self, private: NamedTempFile, digest: &Digest) -> Result<(), ImportError> {
        let target = self.path(digest);
        let folder = self.folder.clone();
        let (file, private) = private.into_parts();
        let at = private.to_path_buf();
        let sealed = tokio::task::spawn_blocking(move || seal(&file, private, &target, &folder)).await;
        join(sealed).map_err(|error| self.write_error(&at, error))
    }

    /// qemu-img tells of a full disk in words alone: those of the C locale, as its environment is empty.
    fn convert_error(&self, error: ConvertError) -> ImportError {
        match &error {
            ConvertError::Failed(why) if why.contains("No space left on device") => {
                ImportError::DiskFull(self.folder.clone())
            }
            _ => error.into(),
        }
    }

    fn write_error(&self, path: &Path, source: io::Error) -> ImportError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                ImportError::DiskFull(self.folder.clone())
            }
            _ => StoreError { path: path.into(), source }.into(),
        }
    }
}

fn announced(digest: Digest, expected: Option<Digest>) -> Result<Digest, ImportError> {
    match expected.filter(|expected| *expected != digest) {
        None => Ok(digest),
        Some(expected) => Err(ImportError::WrongDigest { expected, actual: digest }),
    }
}

fn seal(file: &File, private: TempPath, target: &Path, folder: &Path) -> io::Result<()> {
    fchown(file, Some(0), Some(0))?;
    file.set_permissions(Permissions::from_mode(SEALED))?;
    file.sync_all()?;
    private.persist(target).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// Follows no symbolic link and opens no device or pipe.
fn open_regular(path: &Path) -> Result<File, StoreError> {
    let at = |source| StoreError { path: path.into(), source };
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(at)?;
    if file.metadata().map_err(at)?.is_file() {
        return Ok(file);
    }
    Err(at(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")))
}

async fn inspect_file(
    content: Content,
    file: File,
    limits: Limits,
    path: &Path,
) -> Result<Inspection, ImportError> {
    match tokio::task::spawn_blocking(move || inspect_as(content, &file, &limits)).await {
        Ok(Ok(inspection)) => Ok(inspection),
        Ok(Err(InspectError::Refused(refusal))) => Err(refusal.into()),
        Ok(Err(InspectError::Read(source))) => Err(StoreError { path: path.into(), source }.into()),
        Err(error) => Err(StoreError { path: path.into(), source: error.into() }.into()),
    }
}

fn clone(file: &File, path: &Path) -> Result<File, StoreError> {
    file.try_clone().map_err(|source| StoreError { path: path.into(), source })
}

fn join<T>(result: Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    result.unwrap_or_else(|error| Err(error.into()))
}

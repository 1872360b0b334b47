//! Images in a pool: each is copied into it once, and every volume that begins with it, and every snapshot that is made
//! from it, is a clone of that.

use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tepui_types::agent::{SnapshotImage, VolumeImage};
use tepui_types::{Digest, SnapshotId, VolumeId};

use crate::error::file;
use crate::pool::TMP;
use crate::shelf::{Found, Holds, IMAGES, Making, SNAPSHOTS, VOLUMES, point};
use crate::snapshot::{SEALED, Snapshot};
use crate::volume::{MODE, Volume, check_size};
use crate::{Copying, Pool, PoolError, durable, reflink};

/// A pool's own copy of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The image.
    pub digest: Digest,
    /// Its raw file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What it takes of the pool, extents that it shares included.
    pub allocated: u64,
}

impl Pool {
    /// Copies an image into the pool, or clones it if `from`, its verified raw file, is on the pool's file system.
    /// Minutes, where it is copied; `copying` tells how far it is. A base that is there is left as it is.
    ///
    /// # Errors
    /// A file of another length, a pool that is full or would be, a copy that was given up.
    pub fn make_base(&self, image: VolumeImage, from: &Path, copying: &Copying) -> Result<Base, PoolError> {
        if self.base(image.digest)?.is_none() {
            let source = File::open(from).map_err(file(from))?;
            let found = source.metadata().map_err(file(from))?;
            check_length(image, from, found.len())?;
            let making = Making {
                operation: "base",
                shelf: IMAGES,
                id: &image.digest,
                mode: SEALED,
                holds: Holds::Written,
            };
            self.make(&making, |disk, path| {
                self.fill("base", (&source, from), (disk, path), (image.bytes, copying))
            })?;
        }
        let base = self.base(image.digest)?.ok_or(PoolError::NoBase(image.digest))?;
        self.settle(&self.place(IMAGES, &image.digest))?;
        Ok(base)
    }

    /// Makes a volume that begins with an image; what is beyond it reads zero. A volume that is there is left as it
    /// is, and needs no base.
    ///
    /// # Errors
    /// Those of [`Pool::create_volume`], an image that is larger or is said to have another size than its base, and
    /// [`PoolError::NoBase`] before [`Pool::make_base`].
    pub fn begin_volume(&self, id: VolumeId, with: VolumeImage, bytes: u64) -> Result<Volume, PoolError> {
        check_size(bytes)?;
        if self.find(VOLUMES, &id)?.is_none() {
            self.clone_base(
                with,
                bytes,
                &Making { operation: "begin", shelf: VOLUMES, id: &id, mode: MODE, holds: Holds::Shared },
            )?;
        }
        self.made(id, bytes)
    }

    /// Makes a snapshot that holds an image; what is beyond it reads zero. A snapshot that is there is left as it is, and
    /// needs no base.
    ///
    /// # Errors
    /// Those of [`Pool::begin_volume`], a snapshot that was removed.
    pub fn begin_snapshot(&self, id: SnapshotId, with: SnapshotImage) -> Result<Snapshot, PoolError> {
        check_size(with.size_bytes)?;
        if self.find(SNAPSHOTS, &id)?.is_none() {
            let making = Making {
                operation: "begin_snapshot",
                shelf: SNAPSHOTS,
                id: &id,
                mode: SEALED,
                holds: Holds::Shared,
            };
            self.clone_base(with.content, with.size_bytes, &making)?;
        }
        self.placed(id)
    }

    fn clone_base(&self, with: VolumeImage, bytes: u64, making: &Making<'_>) -> Result<(), PoolError> {
        if with.bytes > bytes {
            return Err(PoolError::SmallerThanImage { image: with.digest, needed: with.bytes, bytes });
        }
        let base = self.base(with.digest)?.ok_or(PoolError::NoBase(with.digest))?;
        check_length(with, &base.path, base.bytes)?;
        let source = File::open(&base.path).map_err(file(&base.path))?;
        self.make(making, |disk, path| {
            reflink::clone(&source, disk).and_then(|()| disk.set_len(bytes)).map_err(file(path))
        })
    }

    /// Removes a base at once: it holds nobody's data, and is made anew when it is wanted. Volumes that were made
    /// from it keep their content.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn drop_base(&self, digest: Digest) -> Result<(), PoolError> {
        let place = self.place(IMAGES, &digest);
        if !place.try_exists().map_err(file(&place))? {
            return Ok(());
        }
        let tmp = self.folder(TMP);
        // What is half-removed goes when the pool is opened.
        let bin = TempDir::new_in(&tmp).map_err(file(&tmp))?;
        durable::rename(&place, &bin.path().join("base"))?;
        point("drop_base", "moved")?;
        let path = bin.path().to_owned();
        bin.close().map_err(file(&path))
    }

    /// Looks at a base.
    ///
    /// # Errors
    /// The file system gives no answer.
    pub fn base(&self, digest: Digest) -> Result<Option<Base>, PoolError> {
        let base = |Found { path, bytes, allocated }| Base { digest, path, bytes, allocated };
        Ok(self.find(IMAGES, &digest)?.map(base))
    }

    /// The images of which there is a base.
    ///
    /// # Errors
    /// The file system gives no answer.
    pub fn bases(&self) -> Result<Vec<Digest>, PoolError> {
        self.ids(IMAGES)
    }
}

fn check_length(image: VolumeImage, path: &Path, found: u64) -> Result<(), PoolError> {
    if found == image.bytes {
        return Ok(());
    }
    Err(PoolError::ImageLength { path: path.to_owned(), image: image.digest, found, wanted: image.bytes })
}

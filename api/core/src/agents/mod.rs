//! The agents' side: they poll the desired state and report the observed one.

mod adopt;
mod identity;
mod node_part;
mod poll;
mod report;
mod storage_part;
mod vpc_part;

use tepui_db::StoragePartState;
use tepui_db::model::{SnapshotState, VolumeState};
use tepui_types::{Digest, NodeId};
use tokio::sync::SemaphorePermit;

use crate::{Cloud, Error};

pub(crate) use identity::IdentityCache;
pub(crate) use vpc_part::VpcParts;

/// Hosts that read the store at once: one less than the readers that an engine has. When all hosts come
/// back at once their reads wait here, and not before those of clients.
pub(crate) const HOST_TURNS: usize = 3;

impl Cloud {
    /// A host's turn to read the store. Not for a commit, which many share.
    pub(crate) async fn host_turn(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.host_turns.acquire().await.map_err(Error::internal)
    }

    /// Whether a placement of this node begins with the image, or a volume or snapshot that is to be made in one of its pools.
    ///
    /// # Errors
    /// `NotFound` for an unknown node, and those of the store.
    pub async fn needs_image(&self, node: NodeId, image: &Digest) -> Result<bool, Error> {
        let state = self.node_rows(node).await?;
        if state.records.iter().any(|record| record.instance.image_digest == *image) {
            return Ok(true);
        }
        let storage = self.db.storage_part(node).await?;
        Ok(storage.is_some_and(|storage| awaits(&storage, image)))
    }
}

/// Whether a volume or snapshot begins with the image and is not there yet.
fn awaits(storage: &StoragePartState, image: &Digest) -> bool {
    let volumes = storage.volumes.iter().filter(|one| one.state == VolumeState::Creating);
    let snapshots = storage.snapshots.iter().filter(|one| one.state == SnapshotState::Pending);
    let mut images = volumes.filter_map(|one| one.image).chain(snapshots.filter_map(|one| one.image));
    images.any(|from| from.digest == *image)
}

#[cfg(test)]
mod tests;

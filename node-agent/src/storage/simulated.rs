//! Pools of simulated hosts: everything that is wanted is there at once, and nothing is stored.

use async_trait::async_trait;
use tepui_storage::{Content, PoolError};
use tepui_types::Digest;
use tepui_types::agent::{
    ExportObserved, ExportPart, ExportState, PoolObserved, PoolState, SnapshotObserved, SnapshotPart,
    StorageObserved, StoragePart, StoredState, TestObserved, TestOutcome, VolumeObserved, VolumePart,
    VolumeSource, WantedSending,
};

use super::Storage;

/// Pools of `bytes` each, always empty.
#[derive(Debug)]
pub struct SimulatedStorage {
    bytes: u64,
}

impl SimulatedStorage {
    /// Pools that show this size.
    pub fn new(bytes: u64) -> Self {
        Self { bytes }
    }
}

#[async_trait]
impl Storage for SimulatedStorage {
    async fn apply(&self, part: &StoragePart) -> StorageObserved {
        let ready = PoolState::Ready { total_bytes: self.bytes, used_bytes: 0 };
        let pools = part.pools.iter().map(|pool| PoolObserved { id: pool.id, state: ready.clone() });
        let volumes = part.volumes.iter().map(|one| {
            let state = match one.wanted {
                VolumePart::Present { size_bytes, .. } => StoredState::Present { size_bytes },
                VolumePart::Absent => StoredState::Gone,
            };
            VolumeObserved { id: one.id, state }
        });
        let snapshots = part.snapshots.iter().map(|one| {
            let state = match one.wanted {
                SnapshotPart::Present { .. } => StoredState::Present { size_bytes: 0 },
                SnapshotPart::Absent => StoredState::Gone,
            };
            SnapshotObserved { id: one.id, state }
        });
        let exports = part.exports.iter().map(|one| {
            let state = match one.wanted {
                ExportPart::Open { .. } => ExportState::Open {
                    source: VolumeSource::Local { path: format!("/simulated/{}", one.id) },
                },
                ExportPart::Absent => ExportState::Gone,
            };
            ExportObserved { id: one.id, state }
        });
        let tests = part.tests.iter().map(|one| {
            let digest = Digest::of(one.snapshot_id.to_string().as_bytes());
            TestObserved { id: one.id, outcome: TestOutcome::Read { digest } }
        });
        StorageObserved {
            pools: pools.collect(),
            volumes: volumes.collect(),
            snapshots: snapshots.collect(),
            exports: exports.collect(),
            leftovers: Vec::new(),
            tests: tests.collect(),
        }
    }

    async fn content(&self, order: WantedSending) -> Result<Content, PoolError> {
        Err(PoolError::NoSnapshot(order.snapshot_id))
    }

    async fn ended(&self) {
        std::future::pending().await
    }

    async fn arrived(&self) {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use tepui_types::agent::{VolumeImage, WantedVolume};
    use tepui_types::{Digest, PoolId, VolumeId};

    use super::*;

    #[tokio::test]
    async fn a_volume_that_begins_with_an_image_is_there_at_once() {
        let image = Some(VolumeImage { digest: Digest::of(b"image"), bytes: 5 });
        let wanted = VolumePart::Present { size_bytes: 1 << 30, snapshot_id: None, image, made: false };
        let (id, pool_id) = (VolumeId::from_random(1), PoolId::from_random(1));
        let part =
            StoragePart { volumes: vec![WantedVolume { id, pool_id, wanted }], ..StoragePart::default() };
        let seen = SimulatedStorage::new(1 << 40).apply(&part).await;
        assert_eq!(seen.volumes[0].state, StoredState::Present { size_bytes: 1 << 30 });
    }
}

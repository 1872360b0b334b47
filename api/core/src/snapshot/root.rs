//! Snapshots of root disks that are local to their hosts: the pool that each goes to.

use std::collections::BTreeSet;

use tepui_db::NewSnapshotsOutcome;
use tepui_db::model::Snapshot;
use tepui_types::{FreezeId, InstanceId, NodeId, PoolId, SnapshotId, VolumeId};

use super::wrong_volume;
use crate::volume::create::{class_of, emptiest};
use crate::{Cloud, Error, Kind};

impl Cloud {
    /// The nodes that take them, or have their guest hold still for them. Volumes have a pool; for a root disk one is chosen, and again where it is lost meanwhile.
    pub(super) async fn write_snapshots(
        &self,
        instance: Option<InstanceId>,
        snapshots: &[Snapshot],
        tags: &[(SnapshotId, String, String)],
    ) -> Result<Vec<NodeId>, Error> {
        let mut rows = snapshots.to_vec();
        let mut lost = BTreeSet::new();
        loop {
            let written = match instance {
                Some(of) => {
                    self.db.snapshot_instance(FreezeId::from_random(self.random()), of, &rows, tags).await
                }
                None => self.db.create_snapshots(&rows, tags).await,
            };
            match written? {
                NewSnapshotsOutcome::Taking(nodes) => return Ok(nodes),
                NewSnapshotsOutcome::VolumeMissing(id) => return Err(Error::not_found(Kind::Volume, id)),
                NewSnapshotsOutcome::Moving(id) => return Err(Error::Moving { id: id.to_string() }),
                NewSnapshotsOutcome::HoldsStill(id) => return Err(Error::HoldsStill { id: id.to_string() }),
                NewSnapshotsOutcome::VolumeState(id, state) => return Err(wrong_volume(id, state)),
                NewSnapshotsOutcome::RootState(id, state) => {
                    let (id, state) = (id.to_string(), state.name().into());
                    let wanted = "a disk of an instance that has started";
                    return Err(Error::WrongState { id, state, wanted });
                }
                NewSnapshotsOutcome::PoolLost(root, pool) => {
                    lost.insert(pool);
                    let pool = self.root_pool(root, &lost).await?;
                    rows.iter_mut().for_each(|row| row.pool_id = pool);
                }
            }
        }
    }

    /// The emptiest pool of the usual class.
    async fn root_pool(&self, root: VolumeId, lost: &BTreeSet<PoolId>) -> Result<PoolId, Error> {
        let loads = self.db.pools().await?;
        let class = class_of(None, &loads)?;
        if !loads.iter().any(|load| load.pool.class == class) {
            let rule = format!(
                "is a root disk that is local to its host: a snapshot of it needs a pool of class '{class}', and there is \
                 none; an administrator makes one with: tepui pool create"
            );
            return Err(Error::invalid("volume", root, rule));
        }
        let meant = loads.into_iter().map(|load| load.pool).filter(|pool| pool.class == class);
        let open: Vec<_> = meant.filter_map(|pool| self.open_pool(pool)).collect();
        let left = open.iter().filter(|open| !lost.contains(&open.pool.id));
        emptiest(left).map(|open| open.pool.id).ok_or(Error::PoolsFull { class })
    }
}

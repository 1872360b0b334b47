//! Removed volumes and snapshots, until their files are unlinked.

use std::sync::Arc;

use tepui_types::VolumeId;
use tepui_types::agent::StoredId;

use super::site::Site;
use crate::model::Quarantined;
use crate::{Db, DeleteOutcome, StorageNews};

impl Site {
    async fn quarantined(&self) -> Vec<Quarantined> {
        let all = self.world.db.quarantined().await.unwrap();
        let part = self.world.db.storage_part(self.storage).await.unwrap().unwrap();
        assert_eq!(part.quarantine, all, "they are in the part of their host");
        all
    }

    /// A volume that its host has removed.
    async fn removed(&self) -> VolumeId {
        let id = self.volume(1).await;
        self.delete(id).await;
        self.says(self.storage, StorageNews::VolumeGone(id)).await;
        id
    }
}

pub async fn what_is_removed_is_kept_until_its_host_has_unlinked_it(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (db, project) = (&site.world.db, site.tenant.project);
    let volume = site.volume(1).await;
    let snapshot = site.new_snapshot(volume);
    db.create_snapshots(std::slice::from_ref(&snapshot), &[]).await.unwrap();
    site.says(site.storage, StorageNews::SnapshotPresent(snapshot.id, 1)).await;
    db.delete_snapshot(project, snapshot.id).await.unwrap();
    site.delete(volume).await;
    assert_eq!(site.quarantined().await, [], "their host has not removed them");
    let now = site.world.now();
    let news = [StorageNews::SnapshotGone(snapshot.id), StorageNews::VolumeGone(volume)];
    db.apply_storage_news(site.storage, &news, now).await.unwrap();
    let row = |id| Quarantined {
        id,
        pool_id: site.pool,
        node_id: site.storage,
        project_id: Some(project),
        removed_at: now,
        ordered: false,
    };
    let (of_snapshot, of_volume) = (StoredId::Snapshot(snapshot.id), StoredId::Volume(volume));
    assert_eq!(site.quarantined().await, [row(of_snapshot), row(of_volume)]);
    // Its host finds it later.
    site.says(site.storage, StorageNews::InTrash(site.pool, of_volume)).await;
    assert_eq!(site.quarantined().await, [row(of_snapshot), row(of_volume)]);

    let before = site.generation().await;
    let unknown = StoredId::Volume(VolumeId::from_random(1));
    let at = |id| (site.pool, id);
    assert_eq!(db.order_unlinks(&[at(unknown)]).await.unwrap(), []);
    assert_eq!(site.generation().await, before);
    assert_eq!(db.order_unlinks(&[at(of_volume), at(unknown)]).await.unwrap(), [site.storage]);
    let ordered = site.generation().await;
    assert!(ordered > before);
    assert_eq!(site.quarantined().await[1], Quarantined { ordered: true, ..row(of_volume) });
    assert_eq!(db.order_unlinks(&[at(of_volume)]).await.unwrap(), [], "ordered twice");

    assert_eq!(db.forget_quarantined(&[at(of_snapshot)]).await.unwrap(), [], "no part said anything of it");
    assert_eq!(site.generation().await, ordered);
    assert_eq!(db.forget_quarantined(&[at(of_volume)]).await.unwrap(), [site.storage]);
    assert!(site.generation().await > ordered);
    assert_eq!(site.quarantined().await, []);
    assert_eq!(db.forget_quarantined(&[at(of_volume)]).await.unwrap(), []);
}

pub async fn what_the_books_refer_to_is_never_ordered_to_be_unlinked(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let db = &site.world.db;
    let kept = StoredId::Volume(site.volume(1).await);
    let found = StoredId::Volume(VolumeId::from_random(site.world.bits()));
    for id in [kept, found] {
        site.says(site.compute, StorageNews::InTrash(site.pool, id)).await;
    }
    assert_eq!(site.quarantined().await, [], "that node does not have the pool");
    for id in [kept, found] {
        site.says(site.storage, StorageNews::InTrash(site.pool, id)).await;
    }
    let rows = site.quarantined().await;
    assert_eq!(rows.iter().map(|row| (row.id, row.project_id)).collect::<Vec<_>>(), [(found, None)]);
    assert_eq!(db.order_unlinks(&[(site.pool, kept)]).await.unwrap(), []);
    assert_eq!(db.delete_pool(site.pool).await.unwrap(), DeleteOutcome::InUse("1 volumes".into()));
    let StoredId::Volume(id) = kept else { unreachable!("it is a volume") };
    site.delete(id).await;
    site.says(site.storage, StorageNews::VolumeGone(id)).await;
    let again = site.removed().await;
    assert_eq!(site.quarantined().await.len(), 3, "{again} among them");
    // What is in the folder of a pool that is deleted is its operator's.
    assert_eq!(db.delete_pool(site.pool).await.unwrap(), DeleteOutcome::Deleted);
    assert_eq!(site.quarantined().await, []);
}

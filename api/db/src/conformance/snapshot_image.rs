//! Snapshots that are made from images.

use std::sync::Arc;

use tepui_types::agent::{PoolBackend, VolumeImage};
use tepui_types::{Digest, ImageId, PoolId, SnapshotId};

use super::site::{Site, pool};
use super::world::Tenant;
use crate::model::{NodeState, Snapshot, SnapshotState, StateReason};
use crate::{CreateOutcome, Db, DeleteOutcome, SnapshotOfImageOutcome, StorageNews};

impl Site {
    /// An image of the tenant's of this digest, a byte larger than a GiB.
    async fn image(&self, tenant: &Tenant, content: &[u8], public: bool) -> ImageId {
        let id = ImageId::from_random(self.world.bits());
        let mut image = self.world.image(tenant.project, id, &id.to_string());
        (image.digest, image.size_bytes, image.public) = (Digest::of(content), (1 << 30) + 1, public);
        assert_eq!(self.world.db.create_image(&image, None).await.unwrap(), CreateOutcome::Created);
        id
    }

    fn new_of_image(&self, pool_id: PoolId) -> Snapshot {
        Snapshot { pool_id, ..self.new_snapshot(Snapshot::NO_VOLUME) }
    }

    async fn of_image(&self, of: ImageId, new: &Snapshot) -> SnapshotOfImageOutcome {
        let tags = [("Name".to_owned(), "uploaded".to_owned())];
        self.world.db.snapshot_of_image(of, new, &tags).await.unwrap()
    }

    /// One that is being made from the image.
    async fn being_made(&self, of: ImageId) -> SnapshotId {
        let new = self.new_of_image(self.pool);
        assert_eq!(self.of_image(of, &new).await, SnapshotOfImageOutcome::Making(self.storage));
        new.id
    }

    async fn is_kept(&self, content: &[u8]) -> bool {
        self.world.db.digests_in_use().await.unwrap().contains(&Digest::of(content))
    }
}

pub async fn a_snapshot_of_an_image_holds_its_digest_until_it_is_there(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, .. } = &site;
    let image = site.image(tenant, b"disk", false).await;
    let before = site.generation().await;
    let [made, failed, deleted] =
        [site.being_made(image).await, site.being_made(image).await, site.being_made(image).await];
    assert!(site.generation().await > before, "its host is told");
    let row = site.snapshot(made).await.unwrap();
    let content = VolumeImage { digest: Digest::of(b"disk"), bytes: (1 << 30) + 1 };
    assert_eq!((row.image, row.size_gib, row.pool_id), (Some(content), 2, site.pool), "whole GiB");
    assert_eq!((row.volume_id, row.state), (Snapshot::NO_VOLUME, SnapshotState::Pending));
    let part = world.db.storage_part(*storage).await.unwrap().unwrap();
    assert!(part.snapshots.contains(&row));
    let tagged = world.db.snapshots(tenant.project).await.unwrap();
    assert!(tagged.iter().all(|record| record.tags["Name"] == "uploaded"));

    assert_eq!(world.db.deregister_image(tenant.project, image).await.unwrap(), DeleteOutcome::Deleted);
    site.says(*storage, StorageNews::SnapshotPresent(made, 2)).await;
    site.says(*storage, StorageNews::SnapshotFailed(failed, "no room".into())).await;
    assert!(site.is_kept(b"disk").await, "one is still to be made");
    let gone = world.db.delete_snapshot(tenant.project, deleted).await.unwrap();
    assert_eq!(gone, (DeleteOutcome::Deleted, Some(*storage)));
    assert!(!site.is_kept(b"disk").await);
    assert_eq!(site.snapshot(made).await.unwrap().state, SnapshotState::Completed);
    assert_eq!(site.snapshot(failed).await.unwrap().state, SnapshotState::Error);

    let lost = site.image(tenant, b"lost", false).await;
    let lost = site.being_made(lost).await;
    let reason = StateReason { code: "lost".into(), message: "given up".into(), detail: None };
    world.db.set_node_state(*storage, NodeState::Unreachable, world.now()).await.unwrap();
    world.db.expunge_node(*storage, &reason, world.now()).await.unwrap();
    assert_eq!(site.snapshot(lost).await.unwrap().state, SnapshotState::Error, "with its host");
    site.assert_books().await;
}

pub async fn a_snapshot_is_made_of_an_image_that_its_project_may_launch(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, .. } = &site;
    let stranger = world.tenant("stranger").await;
    let foreign = site.image(&stranger, b"theirs", false).await;
    let withdrawn = site.image(tenant, b"withdrawn", false).await;
    world.db.deregister_image(tenant.project, withdrawn).await.unwrap();
    let unknown = ImageId::from_random(world.bits());
    for image in [foreign, withdrawn, unknown] {
        let refused = site.of_image(image, &site.new_of_image(site.pool)).await;
        assert_eq!(refused, SnapshotOfImageOutcome::ImageMissing(image));
    }
    let public = site.image(&stranger, b"public", true).await;
    let drained = pool(world, *storage, "slow", PoolBackend::Nfs);
    world.db.create_pool(&drained).await.unwrap();
    world.db.set_pool_draining(drained.id, true).await.unwrap();
    for lost in [PoolId::from_random(world.bits()), drained.id] {
        let refused = site.of_image(public, &site.new_of_image(lost)).await;
        assert_eq!(refused, SnapshotOfImageOutcome::PoolLost(lost));
    }
    assert_eq!(world.db.snapshots(tenant.project).await.unwrap(), [], "nothing is left");
    site.being_made(public).await;
}

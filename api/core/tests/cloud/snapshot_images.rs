//! Snapshots that are made from images, with hosts that say what the test wants.

use tepui_core::{Caller, CreateVolume, Error, Kind, SnapshotOfImage, SnapshotPlace};
use tepui_db::model::{Role, Snapshot, SnapshotState};
use tepui_types::agent::{Leftover, LeftoverKind, SnapshotImage, SnapshotPart, StoredState, VolumeImage};
use tepui_types::{Digest, ImageId};

use crate::harness::GIB;
use crate::volumes::{Site, done};

impl Site {
    async fn of_image(
        &self,
        caller: &Caller,
        image: ImageId,
        place: SnapshotPlace,
    ) -> Result<Snapshot, Error> {
        let (description, tags) = ("uploaded".to_owned(), [("a".to_owned(), "b".to_owned())].into());
        let request = SnapshotOfImage { image, place, description, tags };
        self.t.cloud.snapshot_of_image(caller, request).await.map(|record| record.snapshot)
    }

    async fn needs(&self, digest: &Digest) -> bool {
        self.t.cloud.needs_image(self.storage.id, digest).await.unwrap()
    }
}

const USUAL: SnapshotPlace = SnapshotPlace::Class(None);

#[tokio::test]
async fn a_snapshot_of_an_image_is_made_by_its_host_and_outlives_the_image() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let (image, digest) = (site.t.image(admin, "disk").await, Digest::of(b"disk"));
    assert!(!site.needs(&digest).await);
    let made = site.of_image(admin, image, USUAL).await.unwrap();
    assert_eq!((made.pool_id, made.size_gib, made.state), (site.pool, 2, SnapshotState::Pending));
    let record = cloud.snapshots(admin, &[made.id]).await.unwrap().remove(0);
    assert_eq!((record.tags["a"].as_str(), record.snapshot.description.as_str()), ("b", "uploaded"));
    let wanted = site.part().await.snapshots.pop().unwrap();
    let content = VolumeImage { digest, bytes: 2 * GIB };
    let image_part = Some(SnapshotImage { content, size_bytes: 2 * GIB });
    let part = SnapshotPart::Present {
        volume_id: Snapshot::NO_VOLUME,
        copy_of: None,
        image: image_part,
        taken: false,
    };
    assert_eq!((wanted.id, wanted.wanted), (made.id, part));

    cloud.deregister_image(admin, image).await.unwrap();
    assert!(site.t.digests_kept().await.contains(&digest), "the image stays as long as it is to be brought");
    assert!(site.needs(&digest).await && !cloud.needs_image(site.compute.id, &digest).await.unwrap());
    let mut seen = done(&site.part().await);
    seen.snapshots[0].state = StoredState::Awaited { message: "waits for the image".into() };
    seen.leftovers =
        vec![Leftover { pool_id: site.pool, kind: LeftoverKind::Base { digest }, bytes: 2 * GIB }];
    site.t.clock.advance(3600);
    site.compute.report(Vec::new()).await;
    site.tell(seen).await;
    assert_eq!(cloud.leftovers(admin, site.pool).await.unwrap(), [], "its image is of use");
    let findings = cloud.doctor(admin).await.unwrap();
    assert!(!findings.iter().any(|one| one.object.contains("snap-")), "it takes its time: {findings:?}");

    site.serve().await;
    assert!(!site.needs(&digest).await && !site.t.digests_kept().await.contains(&digest));
    let restore = CreateVolume { snapshot_id: Some(made.id), ..CreateVolume::default() };
    assert_eq!(cloud.create_volume(admin, restore).await.unwrap().size_gib, 2);
}

#[tokio::test]
async fn a_snapshot_that_is_deleted_while_its_image_comes_needs_it_no_more() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let (image, digest) = (site.t.image(admin, "disk").await, Digest::of(b"disk"));
    let made = site.of_image(admin, image, USUAL).await.unwrap();
    cloud.delete_snapshot(admin, made.id).await.unwrap();
    assert!(!site.needs(&digest).await);
    site.serve().await;
    assert_eq!(cloud.snapshots(admin, &[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_snapshot_of_an_image_is_refused_where_it_cannot_be_made_and_leaves_nothing() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let image = site.t.image(admin, "disk").await;
    let class = |name: &str| SnapshotPlace::Class(Some(name.into()));
    let unknown = site.of_image(admin, image, class("golden")).await.unwrap_err();
    assert!(matches!(unknown, Error::NotFound { kind: Kind::PoolClass, .. }), "{unknown:?}");
    let nowhere = SnapshotPlace::Pool(tepui_types::PoolId::from_random(7));
    let unknown = site.of_image(admin, image, nowhere).await.unwrap_err();
    assert!(matches!(unknown, Error::NotFound { kind: Kind::Pool, .. }), "{unknown:?}");
    let member = Caller { role: Role::Member, ..admin.clone() };
    let refused = site.of_image(&member, image, SnapshotPlace::Pool(site.pool)).await.unwrap_err();
    assert!(matches!(refused, Error::Forbidden { .. }), "{refused:?}");
    let rehearsal = Caller { dry_run: true, ..admin.clone() };
    let rehearsed = site.of_image(&rehearsal, image, USUAL).await.unwrap_err();
    assert!(matches!(rehearsed, Error::DryRunOk), "{rehearsed:?}");
    cloud.set_pool_draining(admin, site.pool, true).await.unwrap();
    for place in [class("gp3"), SnapshotPlace::Pool(site.pool)] {
        let full = site.of_image(admin, image, place).await.unwrap_err();
        assert!(matches!(&full, Error::PoolsFull { class } if class == "gp3"), "{full:?}");
    }
    assert_eq!(cloud.snapshots(admin, &[]).await.unwrap(), []);
    cloud.set_pool_draining(admin, site.pool, false).await.unwrap();
    for place in [class("gp2"), SnapshotPlace::Pool(site.pool)] {
        assert_eq!(site.of_image(admin, image, place).await.unwrap().pool_id, site.pool);
    }
    site.of_image(&member, image, USUAL).await.unwrap();
}

//! Clients that want one volume at the same time.

use std::sync::Arc;

use futures::future::join_all;
use tepui_core::{AttachVolume, AttachmentView, DetachVolume, Error, Kind, RunInstances};
use tepui_db::model::{AttachmentState, VolumeState};
use tepui_types::agent::{ExportState, NodeCapacity};
use tepui_types::{InstanceId, VolumeId};

use crate::volumes::{Site, done};

/// So many clients.
const CLIENTS: u32 = 100;

impl Site {
    /// So many instances beside the one that is there.
    pub(crate) async fn instances(&self, count: u32) -> Vec<InstanceId> {
        self.t.host_of(3, NodeCapacity { vcpus: 1000, memory_mib: 1 << 20, disk_gib: 10_000 }).await;
        let image = self.t.image(&self.t.admin, "many").await;
        let request =
            RunInstances { min_count: count, max_count: count, ..RunInstances::new(image, "t3.nano") };
        let made = self.t.cloud.run_instances(&self.t.admin, request).await.unwrap();
        made.instances.iter().map(|view| view.record.instance.id).collect()
    }

    /// One volume to each of these at once.
    async fn attach_all(
        &self,
        volume_id: VolumeId,
        instances: &[InstanceId],
    ) -> Vec<Result<AttachmentView, Error>> {
        let calls = instances.iter().map(|&instance_id| {
            let (cloud, admin) = (Arc::clone(&self.t.cloud), self.t.admin.clone());
            let request = AttachVolume { volume_id, instance_id, device: "/dev/sdf".into() };
            tokio::spawn(async move { cloud.attach_volume(&admin, request).await })
        });
        join_all(calls.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap).collect()
    }

    /// Detaches and deletes it, several times each, all at once; whether a deletion was accepted.
    async fn detach_and_delete(&self, volume_id: VolumeId, force: bool) -> bool {
        let calls = (0..12).map(|number| {
            let (cloud, admin) = (Arc::clone(&self.t.cloud), self.t.admin.clone());
            let detach = DetachVolume { volume_id, instance_id: None, device: None, force };
            tokio::spawn(async move {
                match number % 2 {
                    0 => cloud.detach_volume(&admin, detach).await.map(|_| false),
                    _ => cloud.delete_volume(&admin, volume_id).await.map(|()| true),
                }
            })
        });
        let ended = join_all(calls.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap);
        let mut deleted = false;
        for outcome in ended {
            match outcome {
                Ok(by_deletion) => deleted |= by_deletion,
                Err(
                    Error::InUse { kind: Kind::Volume, .. }
                    | Error::NotAttached { .. }
                    | Error::NotFound { kind: Kind::Volume, .. },
                ) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        deleted
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_that_attach_one_volume_one_wins_and_the_others_are_told_who() {
    let site = Site::new().await;
    let instances = site.instances(CLIENTS).await;
    let id = site.available().await;
    for _ in 0..2 {
        let outcomes = site.attach_all(id, &instances).await;
        let winners: Vec<_> = outcomes.iter().flatten().map(|won| won.instance_id).collect();
        let [winner] = winners.as_slice() else { panic!("{} won", winners.len()) };
        for lost in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert!(matches!(lost, Error::InUse { kind: Kind::Volume, .. }), "{lost:?}");
            assert!(lost.to_string().contains(&winner.to_string()), "{lost}");
        }
        assert_eq!(site.part().await.exports.len(), 1, "one may open it");
        let shown = site.volume(id).await.attachments.remove(0);
        assert_eq!((shown.instance_id, shown.state), (*winner, AttachmentState::Attaching));
        // It is free for the next hundred.
        assert!(!site.detach_and_delete(id, true).await);
        site.serve().await;
        assert_eq!(site.volume(id).await.attachments, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_detached_and_deleted_at_once_goes_only_after_its_export() {
    let site = Site::new().await;
    for force in [true, false] {
        let id = site.available().await;
        site.attach(id, "/dev/sdf").await.unwrap();
        site.serve().await;
        assert!(!site.detach_and_delete(id, force).await, "it is in use");
        let part = site.part().await;
        let mut closing = done(&part);
        closing.exports[0].state = ExportState::Closing { connections: 1 };
        site.tell(closing).await;
        assert!(!site.detach_and_delete(id, true).await, "somebody is still connected");
        assert_eq!(site.volume(id).await.state, VolumeState::Available);
        // The host's word races with the deletions that wait for it.
        let (deleted, ()) = tokio::join!(site.detach_and_delete(id, true), site.serve());
        assert_eq!(site.volume(id).await.attachments, []);
        let deleted_now = site.detach_and_delete(id, true).await;
        assert!(deleted || deleted_now, "nothing holds it any more");
        site.serve().await;
        assert!(matches!(
            site.t.cloud.volume(&site.t.admin, id).await,
            Err(Error::NotFound { kind: Kind::Volume, .. })
        ));
        let part = site.part().await;
        assert_eq!((part.exports.len(), part.volumes.len()), (0, 0));
        assert_eq!(site.t.cloud.doctor(&site.t.admin).await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_attached_and_deleted_at_once_is_one_of_both() {
    let site = Site::new().await;
    for _ in 0..20 {
        let id = site.available().await;
        let (attached, deleted) =
            tokio::join!(site.attach(id, "/dev/sdf"), site.t.cloud.delete_volume(&site.t.admin, id));
        match (&attached, &deleted) {
            (Ok(()), Err(Error::InUse { kind: Kind::Volume, .. })) => {
                assert!(!site.detach_and_delete(id, true).await, "it is in use");
            }
            (Err(Error::WrongState { .. } | Error::NotFound { kind: Kind::Volume, .. }), Ok(())) => {}
            both => panic!("{both:?}"),
        }
        assert_eq!(site.part().await.exports.len(), usize::from(attached.is_ok()));
        site.serve().await;
        if attached.is_ok() {
            site.t.cloud.delete_volume(&site.t.admin, id).await.unwrap();
            site.serve().await;
        }
    }
}

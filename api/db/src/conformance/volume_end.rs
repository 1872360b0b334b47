//! Volumes that are deleted by themselves.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tepui_types::UserId;

use super::site::Site;
use crate::model::{EndingVolume, VolumeEnd, VolumeState};
use crate::{Db, NewVolume, StorageNews, VolumeOutcome};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_900_000_000).unwrap() + SignedDuration::from_secs(second)
}

impl Site {
    fn end(&self) -> VolumeEnd {
        let set_by = UserId::from_random(self.world.bits());
        VolumeEnd { at: at(100), warns_at: at(10), warned_seconds: None, set_by }
    }

    async fn ending(&self, second: i64) -> Vec<EndingVolume> {
        self.world.db.ending_volumes(at(second)).await.unwrap()
    }
}

pub async fn an_end_is_warned_of_and_carried_out_as_it_was_read(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (db, project) = (&site.world.db, site.tenant.project);
    let new = NewVolume { end: Some(site.end()), ..site.new_volume(1) };
    site.create(&new).await;
    let id = new.volume.id;
    site.says(site.storage, StorageNews::VolumePresent(id, 1)).await;
    assert_eq!(site.record(id).await.unwrap().end, new.end);
    assert_eq!(site.ending(9).await, []);
    let found = site.ending(10).await;
    assert_eq!(found.iter().map(|one| (one.volume_id, one.used_by)).collect::<Vec<_>>(), [(id, None)]);
    assert_eq!((found[0].project_id, Some(found[0].end)), (project, new.end));
    db.note_warnings(&[(found[0], Some(7))]).await.unwrap();
    db.note_warnings(&[(found[0], Some(9))]).await.unwrap();
    let warned = site.ending(0).await;
    assert_eq!(warned[0].end.warned_seconds, Some(7), "it is found whatever the time, and counted once");
    assert_eq!(db.end_volume(&found[0]).await.unwrap(), VolumeOutcome::Unchanged, "it changed since");

    let instance = site.world.running(&site.tenant, site.compute).await;
    let export = site.attached(id, instance, "/dev/sdf").await;
    assert_eq!(site.ending(10).await[0].used_by, Some(instance));
    assert_eq!(db.end_volume(&warned[0]).await.unwrap(), VolumeOutcome::InUse(instance));
    site.detach(id, true).await;
    site.says(site.storage, StorageNews::ExportGone(export)).await;
    let before = site.generation().await;
    assert_eq!(db.end_volume(&warned[0]).await.unwrap(), VolumeOutcome::Changed(vec![site.storage]));
    assert!(site.generation().await > before);
    assert_eq!(site.record(id).await.unwrap().volume.state, VolumeState::Deleting);
    assert_eq!(site.ending(10).await, [], "it is on its way");
    site.says(site.storage, StorageNews::VolumeGone(id)).await;
    assert_eq!(site.record(id).await, None);
}

pub async fn one_that_many_read_ends_once(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let id = site.read_only().await;
    site.world.db.set_volume_end(site.tenant.project, id, Some(site.end())).await.unwrap();
    let mut readers = Vec::new();
    for _ in 0..2 {
        let reader = site.world.running(&site.tenant, site.compute).await;
        site.attached(id, reader, "/dev/sdf").await;
        readers.push(reader);
    }
    let found = site.ending(10).await;
    assert_eq!(found.iter().map(|one| one.used_by).collect::<Vec<_>>(), [Some(readers[0])]);
}

pub async fn an_end_is_set_anew_and_taken_away(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (db, project) = (&site.world.db, site.tenant.project);
    let id = site.volume(1).await;
    let set = async |end| db.set_volume_end(project, id, end).await.unwrap();
    assert_eq!(set(None).await, VolumeOutcome::Unchanged);
    let before = site.generation().await;
    assert_eq!(set(Some(site.end())).await, VolumeOutcome::Changed(vec![]));
    let found = site.ending(10).await[0];
    assert_eq!(set(Some(found.end)).await, VolumeOutcome::Unchanged);
    db.note_warnings(&[(found, Some(0))]).await.unwrap();
    let later = VolumeEnd { at: at(200), warns_at: at(110), ..site.end() };
    assert_eq!(set(Some(later)).await, VolumeOutcome::Changed(vec![]));
    assert_eq!(site.record(id).await.unwrap().end, Some(later), "without a warning");
    db.note_warnings(&[(found, Some(5))]).await.unwrap();
    assert_eq!(site.record(id).await.unwrap().end, Some(later), "that was of another end");
    assert_eq!(set(None).await, VolumeOutcome::Changed(vec![]));
    assert_eq!(site.record(id).await.unwrap().end, None);
    assert_eq!(db.end_volume(&found).await.unwrap(), VolumeOutcome::Unchanged, "it was taken away");
    assert_eq!(site.generation().await, before, "no host has to do with it");
    let foreign = site.world.tenant("beta").await.project;
    assert_eq!(db.set_volume_end(foreign, id, Some(later)).await.unwrap(), VolumeOutcome::NotFound);
    site.delete(id).await;
    assert_eq!(set(Some(later)).await, VolumeOutcome::WrongState(VolumeState::Deleting));
}

//! Images and imports.

use std::sync::Arc;

use tepui_types::{Digest, ImageId, ImportTaskId, ProjectId};

use super::world::{CAPACITY, World};
use crate::model::{ImportState, ImportTask};
use crate::{CreateOutcome, Db, DeleteOutcome};

pub async fn images_are_seen_by_their_project_or_by_all_if_public(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let mut public = world.image(alpha.project, ImageId::from_random(world.bits()), "public");
    public.public = true;
    assert_eq!(world.db.create_image(&public, None).await.unwrap(), CreateOutcome::Created);
    let ids = async |project| {
        let images = world.db.images(project).await.unwrap();
        images.into_iter().map(|image| image.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(alpha.project).await, [alpha.image, public.id]);
    assert_eq!(ids(beta.project).await, [beta.image, public.id]);
    let foreign = world.db.deregister_image(beta.project, public.id).await.unwrap();
    assert_eq!(foreign, DeleteOutcome::NotFound);
    let again = world.image(alpha.project, ImageId::from_random(world.bits()), "public");
    assert_eq!(world.db.create_image(&again, None).await.unwrap(), CreateOutcome::NameTaken(public.id));
    let nowhere = world.image(ProjectId::from_random(world.bits()), again.id, "public");
    assert_eq!(world.db.create_image(&nowhere, None).await.unwrap(), CreateOutcome::ParentMissing);
}

pub async fn a_withdrawn_image_frees_its_name_but_not_a_running_guests_digest(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(CAPACITY).await;
    let id = world.running(&alpha, node).await;
    let withdraw = async || world.db.deregister_image(alpha.project, alpha.image).await.unwrap();
    assert_eq!(withdraw().await, DeleteOutcome::Deleted);
    assert_eq!(withdraw().await, DeleteOutcome::NotFound);
    assert_eq!(world.db.digests_in_use().await.unwrap(), [Digest::of(b"debian")]);
    world.terminate(&alpha, id).await;
    assert_eq!(world.db.digests_in_use().await.unwrap(), []);
    let again = world.image(alpha.project, ImageId::from_random(world.bits()), "debian");
    assert_eq!(world.db.create_image(&again, None).await.unwrap(), CreateOutcome::Created);
    assert_eq!(world.db.digests_in_use().await.unwrap(), [Digest::of(b"debian")]);
}

fn task(world: &World, project_id: ProjectId) -> ImportTask {
    ImportTask {
        id: ImportTaskId::from_random(world.bits()),
        project_id,
        name: "imported".into(),
        description: String::new(),
        source: "disk.qcow2".into(),
        state: ImportState::Active,
        message: "reading".into(),
        progress: 0,
        image_id: None,
        created_at: world.now(),
    }
}

pub async fn imports_complete_with_their_image_and_fail_at_a_restart(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let (mut done, lost) = (task(&world, alpha.project), task(&world, alpha.project));
    world.db.put_import_task(&done).await.unwrap();
    world.db.put_import_task(&lost).await.unwrap();
    let image = world.image(alpha.project, ImageId::from_random(world.bits()), "imported");
    done.state = ImportState::Completed;
    done.progress = 100;
    done.image_id = Some(image.id);
    assert_eq!(world.db.create_image(&image, Some(&done)).await.unwrap(), CreateOutcome::Created);
    assert_eq!(world.db.fail_active_imports("restarted").await.unwrap(), [lost.id]);
    assert_eq!(world.db.fail_active_imports("restarted").await.unwrap(), []);
    let failed = ImportTask { state: ImportState::Failed, message: "restarted".into(), ..lost };
    assert_eq!(world.db.import_tasks(alpha.project).await.unwrap(), [done, failed]);
    assert_eq!(world.db.import_tasks(beta.project).await.unwrap(), []);
}

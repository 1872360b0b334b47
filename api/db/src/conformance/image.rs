//! Images and imports.

use std::sync::Arc;

use futures::future::join_all;
use tepui_types::{Digest, ImageId, ProjectId};

use super::world::{CAPACITY, World};
use crate::model::{ImportState, ImportTask};
use crate::{CreateOutcome, Db, DeleteOutcome, ImportOutcome, TokenUse};

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

pub async fn imports_complete_with_their_image_and_fail_at_a_restart(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let (mut done, lost) = (world.import_task(alpha.project), world.import_task(alpha.project));
    world.db.put_import_task(&done).await.unwrap();
    world.db.put_import_task(&lost).await.unwrap();
    assert_eq!(world.db.active_imports().await.unwrap(), [done.clone(), lost.clone()]);
    let image = world.image(alpha.project, ImageId::from_random(world.bits()), "imported");
    done.state = ImportState::Completed;
    done.progress = 100;
    done.image_id = Some(image.id);
    assert_eq!(world.db.create_image(&image, Some(&done)).await.unwrap(), CreateOutcome::Created);
    assert_eq!(world.db.fail_active_imports("restarted", &[lost.id]).await.unwrap(), []);
    assert_eq!(world.db.fail_active_imports("restarted", &[done.id]).await.unwrap(), [lost.id]);
    assert_eq!(world.db.fail_active_imports("restarted", &[]).await.unwrap(), []);
    world.db.put_import_task(&ImportTask { state: ImportState::Failed, ..done.clone() }).await.unwrap();
    let late = ImportTask { progress: 99, ..lost.clone() };
    world.db.put_import_task(&late).await.unwrap();
    let second = world.image(alpha.project, ImageId::from_random(world.bits()), "second");
    let completed = ImportTask { state: ImportState::Completed, image_id: Some(second.id), ..lost.clone() };
    let refused = world.db.create_image(&second, Some(&completed)).await.unwrap();
    assert_eq!(refused, CreateOutcome::ParentMissing, "it has failed");
    assert!(world.db.images(alpha.project).await.unwrap().iter().all(|image| image.id != second.id));
    let failed = ImportTask { state: ImportState::Failed, message: "restarted".into(), ..lost };
    assert_eq!(world.db.import_tasks(alpha.project).await.unwrap(), [done, failed]);
    assert_eq!(world.db.import_tasks(beta.project).await.unwrap(), []);
}

fn token(parameters: u8) -> TokenUse {
    TokenUse { token: "t".into(), parameters_sha256: [parameters; 32] }
}

pub async fn a_token_begins_one_import(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let begin = async |task: &ImportTask, parameters| {
        let tags = [("a".to_owned(), "1".to_owned())];
        world.db.begin_import_task(task, Some(&token(parameters)), &tags).await.unwrap()
    };
    let mut first = world.import_task(alpha.project);
    assert_eq!(begin(&first, 1).await, ImportOutcome::Begun);
    first.progress = 50;
    world.db.put_import_task(&first).await.unwrap();
    let again = world.import_task(alpha.project);
    assert_eq!(begin(&again, 1).await, ImportOutcome::Repeated(first.clone()), "as it is now");
    assert_eq!(begin(&again, 2).await, ImportOutcome::TokenMismatch);
    let other = world.import_task(beta.project);
    assert_eq!(begin(&other, 2).await, ImportOutcome::Begun, "a token is its project's");
    assert_eq!(world.db.import_tasks(alpha.project).await.unwrap(), std::slice::from_ref(&first));
    assert_eq!(world.db.tags(alpha.project).await.unwrap().len(), 1);
    let known = world.db.import_of_token(alpha.project, "t").await.unwrap();
    assert_eq!(known, Some((first, [1; 32])));
    let without = world.db.begin_import_task(&again, None, &[]).await.unwrap();
    assert_eq!(without, ImportOutcome::Begun);
}

pub async fn parallel_repeats_begin_one_import(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let call = async || {
        let task = world.import_task(alpha.project);
        world.db.begin_import_task(&task, Some(&token(1)), &[]).await.unwrap()
    };
    let outcomes = join_all((0..16).map(|_| call())).await;
    let begun = outcomes.iter().filter(|outcome| **outcome == ImportOutcome::Begun).count();
    assert_eq!((begun, world.db.import_tasks(alpha.project).await.unwrap().len()), (1, 1));
}

//! Projects, users, access keys, audit.

use std::sync::Arc;

use tepui_types::{Epoch, ProjectId, UserId};

use super::world::{CAPACITY, World, network};
use crate::model::{AccessKey, Quota, Role, User};
use crate::{AuditFilter, AuditRecord, CreateOutcome, Db, DeleteOutcome};

pub async fn a_new_database_is_in_epoch_one(db: Arc<dyn Db>) {
    assert_eq!(db.epoch().await.unwrap(), Epoch(1));
}

pub async fn a_project_comes_with_its_network(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let vpcs = world.db.vpcs(alpha.project).await.unwrap();
    assert_eq!((vpcs.len(), vpcs[0].id, vpcs[0].vni), (1, alpha.vpc, 1));
    assert_eq!(world.db.vpcs(beta.project).await.unwrap()[0].vni, 2);
    assert_eq!(world.db.subnets(alpha.project).await.unwrap()[0].id, alpha.subnet);
    assert_eq!(world.db.security_groups(alpha.project).await.unwrap()[0].name, "default");
    let quota = Quota { instances: 1, vcpus: 2, memory_mib: 3, volumes: 5_000, volume_gib: 51_200 };
    assert!(world.db.set_quota(alpha.project, quota).await.unwrap());
    assert_eq!(world.db.project(alpha.project).await.unwrap().unwrap().quota, quota);
    assert_eq!(world.db.projects().await.unwrap().len(), 2);
    let nobody = ProjectId::from_random(world.bits());
    assert!(!world.db.set_quota(nobody, quota).await.unwrap());
    assert_eq!(world.db.project(nobody).await.unwrap(), None);
}

pub async fn names_of_projects_and_users_are_unique(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let mut again = alpha;
    again.project = ProjectId::from_random(world.bits());
    let (project, network) = (world.project(&again, "alpha"), network(&again, "10.0.0.0/24"));
    let taken = world.db.create_project(&project, &network).await.unwrap();
    assert_eq!(taken, CreateOutcome::NameTaken(alpha.project));
    let ann = user(&world, "ann").await;
    let other = User { id: UserId::from_random(world.bits()), ..ann.clone() };
    assert_eq!(world.db.create_user(&other).await.unwrap(), CreateOutcome::NameTaken(ann.id));
    assert_eq!(world.db.users().await.unwrap(), vec![ann]);
}

async fn user(world: &World, name: &str) -> User {
    let id = UserId::from_random(world.bits());
    let user = User { id, name: name.into(), role: Role::Member, created_at: world.now() };
    assert_eq!(world.db.create_user(&user).await.unwrap(), CreateOutcome::Created);
    user
}

fn key(world: &World, user_id: UserId, project_id: ProjectId) -> AccessKey {
    let id = format!("TPAK{:016}", world.bits());
    AccessKey { id, user_id, project_id, wrapped_secret: vec![1, 2, 3], created_at: world.now() }
}

pub async fn a_project_in_use_is_not_deleted(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(CAPACITY).await;
    let id = world.running(&alpha, node).await;
    let delete = async || world.db.delete_project(alpha.project).await.unwrap();
    assert_eq!(delete().await, DeleteOutcome::InUse("1 instances".into()));
    world.terminate(&alpha, id).await;
    assert_eq!(delete().await, DeleteOutcome::InUse("1 images".into()));
    world.db.deregister_image(alpha.project, alpha.image).await.unwrap();
    let ann = user(&world, "ann").await;
    let key = key(&world, ann.id, alpha.project);
    world.db.create_access_key(&key).await.unwrap();
    assert_eq!(delete().await, DeleteOutcome::InUse("1 access keys".into()));
    world.db.delete_access_key(alpha.project, &key.id).await.unwrap();
    assert_eq!(delete().await, DeleteOutcome::Deleted);
    assert_eq!(delete().await, DeleteOutcome::NotFound);
    assert_eq!(world.db.vpc_part(alpha.vpc).await.unwrap(), None);
    let beta = world.tenant("beta").await;
    assert_eq!(world.db.vpcs(beta.project).await.unwrap()[0].vni, 1, "a deleted VPC's number is free");
}

pub async fn access_keys_need_their_parents_and_stay_in_their_project(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let ann = user(&world, "ann").await;
    let orphan = key(&world, UserId::from_random(world.bits()), alpha.project);
    assert!(world.db.create_access_key(&orphan).await.unwrap() == CreateOutcome::ParentMissing);
    let lost = key(&world, ann.id, ProjectId::from_random(world.bits()));
    assert!(world.db.create_access_key(&lost).await.unwrap() == CreateOutcome::ParentMissing);
    let key = key(&world, ann.id, alpha.project);
    assert!(world.db.create_access_key(&key).await.unwrap() == CreateOutcome::Created);
    assert!(world.db.create_access_key(&key).await.unwrap() == CreateOutcome::NameTaken(key.id.clone()));
    let found = world.db.credential(&key.id).await.unwrap().unwrap();
    assert!(found.key == key && found.user == ann);
    assert!(world.db.credential("TPAK").await.unwrap().is_none());
    assert_eq!(world.db.access_keys(beta.project).await.unwrap().len(), 0);
    assert_eq!(world.db.access_keys(alpha.project).await.unwrap().len(), 1);
    let foreign = world.db.delete_access_key(beta.project, &key.id).await.unwrap();
    assert_eq!(foreign, DeleteOutcome::NotFound);
    let in_use = DeleteOutcome::InUse(format!("access key {}", key.id));
    assert_eq!(world.db.delete_user(ann.id).await.unwrap(), in_use);
    world.db.delete_access_key(alpha.project, &key.id).await.unwrap();
    assert_eq!(world.db.delete_user(ann.id).await.unwrap(), DeleteOutcome::Deleted);
    assert_eq!(world.db.delete_user(ann.id).await.unwrap(), DeleteOutcome::NotFound);
}

fn record(world: &World, action: &str, resources: &str, outcome: &str) -> AuditRecord {
    AuditRecord {
        at: world.now(),
        project_id: ProjectId::from_random(1),
        user_id: UserId::from_random(2),
        action: action.into(),
        resources: resources.into(),
        outcome: outcome.into(),
        request_id: "1".into(),
    }
}

/// The actions of the newest records.
async fn audited(world: &World, resource: Option<&str>, refused: Option<bool>, limit: u32) -> Vec<String> {
    let filter = AuditFilter { resource: resource.map(str::to_owned), refused };
    let records = world.db.audit(ProjectId::from_random(1), &filter, limit).await.unwrap();
    records.into_iter().map(|record| record.action).collect()
}

pub async fn audit_is_newest_first_and_limited(db: Arc<dyn Db>) {
    let world = World::new(db);
    for (action, outcome) in [("A", "ok"), ("B", "not_found"), ("C", "ok")] {
        world.db.append_audit(&record(&world, action, "", outcome)).await.unwrap();
    }
    assert_eq!(audited(&world, None, None, 2).await, ["C", "B"]);
    assert_eq!(audited(&world, None, None, 9).await, ["C", "B", "A"]);
    let none = world.db.audit(ProjectId::from_random(3), &AuditFilter::default(), 2).await.unwrap();
    assert_eq!(none, []);
}

pub async fn no_audit_records_push_others_out(db: Arc<dyn Db>) {
    let world = World::new(db);
    let append = async |action: &str, resources: &str, outcome: &str| {
        world.db.append_audit(&record(&world, action, resources, outcome)).await.unwrap();
    };
    append("Run", "r-1,i-1,i-11", "ok").await;
    append("Stop", "i-1", "not_found").await;
    append("Start", "i-11", "ok").await;
    for _ in 0..20 {
        append("Refused", "i-1", "protected").await;
        append("Other", "i-2", "ok").await;
    }
    let (one, eleven) = (Some("i-1"), Some("i-11"));
    assert_eq!(audited(&world, one, Some(false), 5).await, ["Run"]);
    assert_eq!(audited(&world, eleven, Some(false), 5).await, ["Start", "Run"]);
    assert_eq!(audited(&world, eleven, Some(false), 1).await, ["Start"]);
    assert_eq!(audited(&world, None, Some(false), 22).await[20..], ["Start", "Run"]);
    assert_eq!(audited(&world, one, Some(true), 21).await[20], "Stop");
    assert_eq!(audited(&world, one, None, 22).await[20..], ["Stop", "Run"]);
    assert_eq!(audited(&world, Some("1"), None, 9).await, [""; 0], "an id's part is no id");
}

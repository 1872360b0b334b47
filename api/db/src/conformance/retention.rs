//! Forgetting what is over.

use std::sync::Arc;

use jiff::Timestamp;
use tepui_types::{Digest, NodeId, UserId};

use super::world::{CAPACITY, Tenant, World, join_token};
use crate::model::{ImportState, JoinToken};
use crate::{AuditFilter, AuditRecord, Cutoffs, Db, EnrolOutcome, ImportOutcome, PowerChange, TokenUse};

/// Enough for everything at once.
const ALL: u32 = 1000;

async fn purge(world: &World, at: Timestamp) -> u32 {
    world.db.purge(&Cutoffs::all(at), ALL).await.unwrap()
}

fn record(world: &World, tenant: &Tenant, at: Timestamp) -> AuditRecord {
    AuditRecord {
        at,
        project_id: tenant.project,
        user_id: UserId::from_random(world.bits()),
        action: "RunInstances".into(),
        resources: String::new(),
        outcome: "ok".into(),
        request_id: "r".into(),
    }
}

pub async fn terminated_instances_are_purged_after_a_while(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(CAPACITY).await;
    let (old, held) = (world.running(&alpha, node).await, world.running(&alpha, node).await);
    let tag = ("a".to_owned(), "b".to_owned());
    world.db.put_tags(alpha.project, &[old.to_string()], &[tag], 50).await.unwrap();
    let before = world.now();
    world.terminate(&alpha, old).await;
    world.power(&alpha, held, PowerChange::Terminate).await;
    assert_eq!(purge(&world, before).await, 0);
    assert_eq!(purge(&world, world.now()).await, 1);
    assert_eq!(purge(&world, world.now()).await, 0);
    let left: Vec<_> = world.records(&alpha).await.into_iter().map(|record| record.instance.id).collect();
    assert_eq!(left, [held]);
    assert!(world.db.tags(alpha.project).await.unwrap().is_empty());
}

pub async fn audit_is_purged_by_age_in_batches(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let mut times = Vec::new();
    for _ in 0..5 {
        times.push(world.now());
        world.db.append_audit(&record(&world, &alpha, *times.last().unwrap())).await.unwrap();
    }
    let left = async || {
        let records = world.db.audit(alpha.project, &AuditFilter::default(), ALL).await.unwrap();
        records.into_iter().rev().map(|record| record.at).collect::<Vec<_>>()
    };
    let cutoffs = Cutoffs { audit: times[3], ..Cutoffs::all(Timestamp::UNIX_EPOCH) };
    assert_eq!(world.db.purge(&cutoffs, 2).await.unwrap(), 2);
    assert_eq!(left().await, times[2..], "the oldest first");
    assert_eq!(world.db.purge(&cutoffs, 2).await.unwrap(), 1);
    assert_eq!(left().await, times[3..], "what is as old as the cut-off stays");
}

pub async fn ended_imports_are_purged_and_active_ones_stay(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let mut tasks = Vec::new();
    for state in [ImportState::Active, ImportState::Completed, ImportState::Failed] {
        let mut task = world.import_task(alpha.project);
        let token = TokenUse { token: format!("{state:?}"), parameters_sha256: [1; 32] };
        let tags = [("a".to_owned(), "b".to_owned())];
        let begun = world.db.begin_import_task(&task, Some(&token), &tags).await.unwrap();
        assert_eq!(begun, ImportOutcome::Begun);
        task.state = state;
        world.db.put_import_task(&task).await.unwrap();
        tasks.push(task);
    }
    assert_eq!(purge(&world, tasks[0].created_at).await, 0);
    assert_eq!(purge(&world, world.now()).await, 2);
    assert_eq!(world.db.import_tasks(alpha.project).await.unwrap(), [tasks[0].clone()]);
    let tags = world.db.tags(alpha.project).await.unwrap();
    assert_eq!(tags.into_keys().collect::<Vec<_>>(), [tasks[0].id.to_string()]);
    let token = async |name| world.db.import_of_token(alpha.project, name).await.unwrap();
    assert_eq!(token("Completed").await, None, "the token goes with its task");
    assert!(token("Active").await.is_some());
}

pub async fn ended_join_tokens_are_purged_used_or_not(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (early, late) = (world.now(), world.now());
    let token = |name: &str, expires_at| {
        let secret_sha256 = *Digest::of(name.as_bytes()).as_bytes();
        join_token(secret_sha256, expires_at)
    };
    let (used, unused, good) = (token("used", late), token("unused", early), token("good", world.now()));
    for token in [&used, &unused, &good] {
        world.db.create_join_token(token).await.unwrap();
    }
    let host = world.new_node(1, CAPACITY);
    let enrol =
        async |token: &JoinToken, at| world.db.enrol_node(&token.secret_sha256, &host, at).await.unwrap();
    assert_eq!(enrol(&used, early).await, EnrolOutcome::Enrolled(NodeId::from_random(1)));
    assert_eq!(purge(&world, late).await, 1);
    assert_eq!(enrol(&unused, early).await, EnrolOutcome::UnknownToken);
    assert_eq!(enrol(&used, early).await, EnrolOutcome::Enrolled(host.id), "the same host, again");
    assert_eq!(purge(&world, good.expires_at).await, 1);
    assert_eq!(enrol(&used, early).await, EnrolOutcome::UnknownToken);
    assert_eq!(enrol(&good, late).await, EnrolOutcome::Enrolled(host.id));
}

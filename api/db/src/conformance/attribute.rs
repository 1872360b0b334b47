//! Changes of attributes.

use std::sync::Arc;

use tepui_types::InstanceId;

use super::world::{CAPACITY, Tenant, World};
use crate::model::InstanceState::{Running, Stopped};
use crate::model::{MetadataSettings, Quota, ShutdownBehavior};
use crate::{AttributeChange, Db, PowerOutcome};

async fn change(world: &World, tenant: &Tenant, id: InstanceId, change: AttributeChange) -> PowerOutcome {
    world.db.change_attributes(tenant.project, id, &[change], world.now()).await.unwrap()
}

pub async fn sizes_and_user_data_need_a_stopped_instance(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(CAPACITY).await;
    let id = world.running(&alpha, node).await;
    let bigger = || AttributeChange::InstanceType("t3.large".into(), 2, 8192);
    let user_data = || AttributeChange::UserData(None);
    assert_eq!(change(&world, &alpha, id, bigger()).await, PowerOutcome::WrongState(id, Running));
    assert_eq!(change(&world, &alpha, id, user_data()).await, PowerOutcome::WrongState(id, Running));
    world.stop(&alpha, id).await;
    let before = world.node_generation(node).await;
    let done = PowerOutcome::Changed(vec![(id, Stopped, Stopped)]);
    assert_eq!(change(&world, &alpha, id, user_data()).await, done);
    world
        .db
        .set_quota(
            alpha.project,
            Quota { instances: 1, vcpus: 1, memory_mib: 9999, volumes: 5_000, volume_gib: 51_200 },
        )
        .await
        .unwrap();
    let exceeded = change(&world, &alpha, id, bigger()).await;
    assert_eq!(exceeded, PowerOutcome::QuotaExceeded("vcpus", 1, 1));
    world
        .db
        .set_quota(
            alpha.project,
            Quota { instances: 1, vcpus: 2, memory_mib: 9999, volumes: 5_000, volume_gib: 51_200 },
        )
        .await
        .unwrap();
    assert_eq!(change(&world, &alpha, id, bigger()).await, done);
    assert_eq!(world.used(node).await, (0, 0, 8), "a stopped instance takes no more than its disk");
    world.start(&alpha, id).await;
    assert_eq!(world.used(node).await, (2, 8192, 8));
    let instance = world.record(&alpha, id).await.instance;
    assert_eq!((instance.instance_type.as_str(), instance.user_data), ("t3.large", None));
    assert!(world.node_generation(node).await > before);
}

pub async fn groups_must_be_in_the_vpc(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let node = world.node(CAPACITY).await;
    let id = world.running(&alpha, node).await;
    let foreign = change(&world, &alpha, id, AttributeChange::Groups(vec![alpha.group, beta.group])).await;
    assert_eq!(foreign, PowerOutcome::GroupMissing(beta.group));
    let before = (world.node_generation(node).await, world.vpc_generation(alpha.vpc).await);
    change(&world, &alpha, id, AttributeChange::Groups(vec![alpha.group])).await;
    assert_eq!(world.record(&alpha, id).await.interface.unwrap().group_ids, [alpha.group]);
    assert!(world.node_generation(node).await > before.0);
    assert!(world.vpc_generation(alpha.vpc).await > before.1);
}

pub async fn all_changes_of_a_call_are_made_or_none(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let node = world.node(CAPACITY).await;
    let id = world.running(&alpha, node).await;
    let change = async |groups| {
        let changes = [AttributeChange::DisableApiStop(true), AttributeChange::Groups(groups)];
        world.db.change_attributes(alpha.project, id, &changes, world.now()).await.unwrap()
    };
    let before = world.record(&alpha, id).await.instance;
    assert_eq!(change(vec![beta.group]).await, PowerOutcome::GroupMissing(beta.group));
    assert_eq!(world.record(&alpha, id).await.instance, before);
    assert_eq!(change(Vec::new()).await, PowerOutcome::Changed(vec![(id, Running, Running)]));
    let record = world.record(&alpha, id).await;
    assert!(record.instance.disable_api_stop && record.interface.unwrap().group_ids.is_empty());
}

pub async fn only_what_a_node_sees_grows_generations(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(CAPACITY).await;
    let id = world.running(&alpha, node).await;
    let before = world.node_generation(node).await;
    let unseen = [
        AttributeChange::ShutdownBehavior(ShutdownBehavior::Terminate),
        AttributeChange::DisableApiStop(true),
        AttributeChange::DisableApiTermination(true),
    ];
    for attribute in unseen {
        change(&world, &alpha, id, attribute).await;
    }
    assert_eq!(world.node_generation(node).await, before);
    let settings =
        MetadataSettings { enabled: false, tokens_required: false, hop_limit: 64, tags_enabled: true };
    change(&world, &alpha, id, AttributeChange::Metadata(settings)).await;
    assert!(world.node_generation(node).await > before);
    let instance = world.record(&alpha, id).await.instance;
    assert!(instance.disable_api_stop && instance.disable_api_termination);
    assert_eq!(instance.shutdown_behavior, ShutdownBehavior::Terminate);
    assert_eq!(instance.metadata, settings);
}

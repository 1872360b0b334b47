//! Launches.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use futures::future::join_all;
use tepui_types::agent::NodeCapacity;
use tepui_types::{ImageId, InstanceId, KeyPairId, PlacementGroupId, SecurityGroupId, SubnetId};

use super::world::{CAPACITY, Tenant, World};
use crate::model::{InstanceState, KeyKind, KeyPair, NodeState, PlacementGroup, PlacementStrategy, Quota};
use crate::{
    AttributeChange, CreateOutcome, Cutoffs, Db, DeleteOutcome, GroupName, InstanceFilter, Launch,
    LaunchInstance, LaunchNames, LaunchOutcome, LaunchParents, PowerChange, TokenUse,
};

pub async fn a_launch_is_read_back_whole(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(CAPACITY).await;
    let mut new = world.instance(&alpha, node);
    new.interface.public_ip = true;
    let mut launch = world.launch(&alpha, vec![new]);
    let new = launch.instances[0].clone();
    launch.tags = vec![
        (new.instance.id.to_string(), "Name".into(), "web".into()),
        (new.root_volume.as_ref().unwrap().id.to_string(), "Name".into(), "disk".into()),
    ];
    let before = (world.node_generation(node).await, world.vpc_generation(alpha.vpc).await);
    let outcome = world.try_launch(&launch).await;
    let record = world.records(&alpha).await.remove(0);
    assert_eq!(outcome, LaunchOutcome::Launched(vec![Arc::clone(&record)]), "what is told is what is read");
    assert_eq!(*record, world.record(&alpha, new.instance.id).await);
    let record = Arc::unwrap_or_clone(record);
    assert_eq!(vec![record.clone()], world.db.all_instances().await.unwrap());
    assert_eq!(vec![record.clone()], world.db.node_part(node).await.unwrap().unwrap().records);
    assert_eq!(record.instance, new.instance);
    assert_eq!(record.root_volume, new.root_volume);
    let placement = record.placement.unwrap();
    assert_eq!((placement.id, placement.node_id, placement.observed), (new.placement_id, node, None));
    let interface = record.interface.unwrap();
    assert_eq!((interface.id, interface.mac), (new.interface.id, new.interface.mac));
    assert_eq!((interface.group_ids, interface.vpc_id), (new.interface.group_ids, alpha.vpc));
    assert_eq!(interface.private_ip, Ipv4Addr::new(172, 31, 0, 4));
    assert_eq!(interface.public_ip, Some(Ipv4Addr::new(198, 18, 0, 1)));
    assert_eq!(record.tags, [("Name".to_owned(), "web".to_owned())].into());
    let after = (world.node_generation(node).await, world.vpc_generation(alpha.vpc).await);
    assert!(after.0 > before.0 && after.1 > before.1);
    assert_eq!(world.used(node).await, (1, 512, 8));
}

fn with_token(mut launch: Launch, token: &str, parameters: u8) -> Launch {
    launch.token = Some(TokenUse { token: token.into(), parameters_sha256: [parameters; 32] });
    launch
}

pub async fn what_is_told_of_many_is_what_is_read(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(CAPACITY).await;
    let mut launch = world.launch(&alpha, (0..5).map(|_| world.instance(&alpha, node)).collect());
    launch.instances.reverse();
    launch.instances[1].interface.private_ip = Some(Ipv4Addr::new(172, 31, 0, 8));
    launch.instances[2].interface.public_ip = true;
    launch.tags = vec![(launch.instances[3].instance.id.to_string(), "Name".into(), "web".into())];
    let LaunchOutcome::Launched(told) = world.try_launch(&launch).await else { panic!("not launched") };
    assert_eq!(told, world.records(&alpha).await);
    let addresses: BTreeSet<_> =
        told.iter().map(|record| record.interface.as_ref().unwrap().private_ip.octets()[3]).collect();
    assert_eq!(addresses, (4..9).collect());
}

pub async fn a_launch_finds_what_it_names_in_its_own_project(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let node = world.node(CAPACITY).await;
    let key = KeyPair {
        id: KeyPairId::from_random(world.bits()),
        project_id: alpha.project,
        name: "k".into(),
        kind: KeyKind::Ed25519,
        fingerprint: "f".into(),
        public_key: "p".into(),
        created_at: world.now(),
    };
    world.db.create_key_pair(&key, &[]).await.unwrap();
    let group = PlacementGroup {
        id: PlacementGroupId::from_random(world.bits()),
        project_id: alpha.project,
        name: "g".into(),
        strategy: PlacementStrategy::Cluster,
        created_at: world.now(),
    };
    world.db.create_placement_group(&group).await.unwrap();
    let members = (0..2).map(|_| {
        let mut new = world.instance(&alpha, node);
        new.instance.placement_group_id = Some(group.id);
        new
    });
    let launch = world.launch(&alpha, members.collect());
    world.try_launch(&launch).await;
    let names = LaunchNames {
        token: Some("unused".into()),
        image: alpha.image,
        key: Some("k".into()),
        subnet: Some(alpha.subnet),
        placement_group: Some("g".into()),
    };
    let found = world.parents(&alpha, names.clone()).await;
    assert_eq!((found.reservation, found.key), (None, Some(key)));
    assert_eq!(found.image.unwrap().id, alpha.image);
    let subnets = world.db.subnets(alpha.project).await.unwrap();
    assert_eq!(found.subnet.as_ref(), subnets.first());
    assert_eq!(found.groups, [GroupName { id: alpha.group, vpc_id: alpha.vpc, name: "default".into() }]);
    assert_eq!(found.placement_group, Some((group, [(node, 2)].into())));
    let default = world.parents(&alpha, World::names(&alpha)).await;
    assert_eq!(default.subnet, found.subnet, "the default one");
    assert_eq!((default.key, default.placement_group), (None, None), "nothing that was not named");
    world.terminate(&alpha, launch.instances[0].instance.id).await;
    let found = world.parents(&alpha, names.clone()).await;
    assert_eq!(found.placement_group.unwrap().1, [(node, 1)].into(), "who is gone is no member");
    let foreign = world.parents(&beta, names).await;
    let groups = vec![GroupName { id: beta.group, vpc_id: beta.vpc, name: "default".into() }];
    assert_eq!(foreign, LaunchParents { groups, ..LaunchParents::default() });
}

pub async fn a_token_makes_one_reservation(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let node = world.node(CAPACITY).await;
    let launch = |tenant: &Tenant, parameters| {
        with_token(world.launch(tenant, vec![world.instance(tenant, node)]), "t", parameters)
    };
    let first = launch(&alpha, 1);
    let reservation = first.instances[0].instance.reservation_id;
    assert!(matches!(world.try_launch(&first).await, LaunchOutcome::Launched(_)));
    assert_eq!(world.try_launch(&first).await, LaunchOutcome::Repeated(reservation));
    assert_eq!(world.try_launch(&launch(&alpha, 1)).await, LaunchOutcome::Repeated(reservation));
    assert_eq!(world.try_launch(&launch(&alpha, 2)).await, LaunchOutcome::TokenMismatch);
    let other = world.try_launch(&launch(&beta, 2)).await;
    assert!(matches!(other, LaunchOutcome::Launched(_)), "a token is its project's");
    assert_eq!(world.reservation_of(&alpha, "t").await, Some((reservation, [1; 32])));
    assert_eq!(world.records(&alpha).await.len(), 1);
    assert_eq!(world.db.purge(&Cutoffs::all(world.now()), 1000).await.unwrap(), 2);
    assert_eq!(world.reservation_of(&alpha, "t").await, None);
}

pub async fn a_refused_launch_leaves_nothing(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(NodeCapacity { vcpus: 2, ..CAPACITY }).await;
    let before = (world.node_generation(node).await, world.vpc_generation(alpha.vpc).await);
    let three = (0..3).map(|_| world.instance(&alpha, node)).collect();
    let mut launch = with_token(world.launch(&alpha, three), "t", 1);
    launch.tags = vec![(launch.instances[0].instance.id.to_string(), "a".into(), "b".into())];
    assert_eq!(world.try_launch(&launch).await, LaunchOutcome::NodeLost(node));
    assert_eq!(world.records(&alpha).await, []);
    assert_eq!(world.used(node).await, (0, 0, 0));
    assert!(world.db.tags(alpha.project).await.unwrap().is_empty());
    assert_eq!(world.reservation_of(&alpha, "t").await, None);
    assert_eq!((world.node_generation(node).await, world.vpc_generation(alpha.vpc).await), before);
    assert!(world.carried(node).await.len() == 1);
}

pub async fn quotas_count_stopped_instances(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(CAPACITY).await;
    let id = world.stopped(&alpha, node).await;
    let launch = async || world.try_launch(&world.launch(&alpha, vec![world.instance(&alpha, node)])).await;
    let quotas = [
        (
            "instances",
            Quota { instances: 1, vcpus: 9, memory_mib: 9999, volumes: 5_000, volume_gib: 51_200 },
            1,
        ),
        ("vcpus", Quota { instances: 9, vcpus: 1, memory_mib: 9999, volumes: 5_000, volume_gib: 51_200 }, 1),
        (
            "memory_mib",
            Quota { instances: 9, vcpus: 9, memory_mib: 1023, volumes: 5_000, volume_gib: 51_200 },
            512,
        ),
    ];
    for (name, quota, taken) in quotas {
        world.db.set_quota(alpha.project, quota).await.unwrap();
        let outcome = launch().await;
        let LaunchOutcome::QuotaExceeded { quota, used, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!((quota, used), (name, taken));
    }
    world.terminate(&alpha, id).await;
    assert!(matches!(launch().await, LaunchOutcome::Launched(_)));
}

pub async fn a_full_drained_or_lost_node_is_refused(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let small = NodeCapacity { vcpus: 1, memory_mib: 512, disk_gib: 8 };
    let node = world.node(small).await;
    let try_one = async |change: &dyn Fn(&mut LaunchInstance)| {
        let mut new = world.instance(&alpha, node);
        change(&mut new);
        world.try_launch(&world.launch(&alpha, vec![new])).await
    };
    let lost = LaunchOutcome::NodeLost(node);
    assert_eq!(try_one(&|new| new.instance.vcpus = 2).await, lost);
    assert_eq!(try_one(&|new| new.instance.memory_mib = 513).await, lost);
    assert_eq!(try_one(&|new| new.root_volume.as_mut().unwrap().size_gib = 9).await, lost);
    world.db.set_schedulable(node, false).await.unwrap();
    assert_eq!(try_one(&|_| {}).await, lost);
    world.db.set_schedulable(node, true).await.unwrap();
    world.db.set_node_state(node, NodeState::Unreachable, world.now()).await.unwrap();
    assert_eq!(try_one(&|_| {}).await, lost);
    world.db.set_node_state(node, NodeState::Up, world.now()).await.unwrap();
    assert!(matches!(try_one(&|_| {}).await, LaunchOutcome::Launched(_)));
    assert_eq!(try_one(&|_| {}).await, lost);
}

pub async fn overcommit_multiplies_capacity(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(NodeCapacity { vcpus: 1, ..CAPACITY }).await;
    let instances = |count| (0..count).map(|_| world.instance(&alpha, node)).collect();
    let mut launch = world.launch(&alpha, instances(5));
    launch.vcpu_overcommit = 4.0;
    assert_eq!(world.try_launch(&launch).await, LaunchOutcome::NodeLost(node));
    launch.instances.pop();
    assert!(matches!(world.try_launch(&launch).await, LaunchOutcome::Launched(_)));
    assert_eq!(world.used(node).await, (4, 2048, 32));
}

pub async fn spread_groups_share_no_node(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let (a, b) = (world.node(CAPACITY).await, world.node(CAPACITY).await);
    let mut group = PlacementGroup {
        id: PlacementGroupId::from_random(world.bits()),
        project_id: alpha.project,
        name: "spread".into(),
        strategy: PlacementStrategy::Spread,
        created_at: world.now(),
    };
    assert_eq!(world.db.create_placement_group(&group).await.unwrap(), CreateOutcome::Created);
    let taken = world.db.create_placement_group(&group).await.unwrap();
    assert_eq!(taken, CreateOutcome::NameTaken(group.id));
    assert_eq!(world.db.placement_groups(alpha.project).await.unwrap(), [group.clone()]);
    let member = |node, group: &PlacementGroup| {
        let mut new = world.instance(&alpha, node);
        new.instance.placement_group_id = Some(group.id);
        new
    };
    let both = world.launch(&alpha, vec![member(a, &group), member(a, &group)]);
    assert_eq!(world.try_launch(&both).await, LaunchOutcome::AntiAffinity(a));
    let apart = world.launch(&alpha, vec![member(a, &group), member(b, &group)]);
    assert!(matches!(world.try_launch(&apart).await, LaunchOutcome::Launched(_)));
    let delete = async |id| world.db.delete_placement_group(alpha.project, id).await.unwrap();
    assert!(matches!(delete(group.id).await, DeleteOutcome::InUse(_)));
    for new in &apart.instances {
        world.terminate(&alpha, new.instance.id).await;
    }
    assert_eq!(delete(group.id).await, DeleteOutcome::Deleted);
    assert_eq!(delete(group.id).await, DeleteOutcome::NotFound);
    group.strategy = PlacementStrategy::Cluster;
    world.db.create_placement_group(&group).await.unwrap();
    let together = world.launch(&alpha, vec![member(a, &group), member(a, &group)]);
    assert!(matches!(world.try_launch(&together).await, LaunchOutcome::Launched(_)));
}

pub async fn addresses_are_lowest_free_and_return(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let node = world.node(CAPACITY).await;
    let address = async |tenant, id| world.record(tenant, id).await.interface.unwrap().private_ip.octets()[3];
    let first = world.pending(&alpha, node).await;
    let second = world.pending(&alpha, node).await;
    let wanted = |address| {
        let mut new = world.instance(&alpha, node);
        new.interface.private_ip = Some(Ipv4Addr::new(172, 31, 0, address));
        new
    };
    world.launched(&alpha, wanted(6)).await;
    let third = world.pending(&alpha, node).await;
    assert_eq!((address(&alpha, first).await, address(&alpha, second).await), (4, 5));
    assert_eq!(address(&alpha, third).await, 7, "6 was asked for by another");
    for taken in [3, 6] {
        let outcome = world.try_launch(&world.launch(&alpha, vec![wanted(taken)])).await;
        assert_eq!(outcome, LaunchOutcome::AddressInUse(Ipv4Addr::new(172, 31, 0, taken)));
    }
    world.terminate(&alpha, first).await;
    let reused = world.pending(&alpha, node).await;
    assert_eq!(address(&alpha, reused).await, 4);
    let foreign = world.pending(&beta, node).await;
    assert_eq!(address(&beta, foreign).await, 4, "another VPC has the same range");
}

pub async fn a_full_subnet_and_pool_say_so(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant_in("alpha", "172.31.0.0/28").await;
    let node = world.node(NodeCapacity { vcpus: 99, memory_mib: 99_999, disk_gib: 999 }).await;
    let mut public = world.launch(&alpha, (0..7).map(|_| world.instance(&alpha, node)).collect());
    for new in &mut public.instances {
        new.interface.public_ip = true;
    }
    assert_eq!(
        world.try_launch(&public).await,
        LaunchOutcome::PoolExhausted { fit: 6 },
        "a /29 has six hosts"
    );
    public.public_pool = None;
    assert_eq!(world.try_launch(&public).await, LaunchOutcome::PoolExhausted { fit: 0 });
    let instances = |count| (0..count).map(|_| world.instance(&alpha, node)).collect();
    let outcome = world.try_launch(&world.launch(&alpha, instances(12))).await;
    assert_eq!(outcome, LaunchOutcome::SubnetFull { fit: 11 }, "16 less 5 reserved are 11");
    let outcome = world.try_launch(&world.launch(&alpha, instances(11))).await;
    assert!(matches!(outcome, LaunchOutcome::Launched(_)));
}

pub async fn the_lowest_public_address_is_taken_again_whatever_the_pool_is(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(NodeCapacity { vcpus: 99, memory_mib: 99_999, disk_gib: 999 }).await;
    let take = async |pool: &str| {
        let mut launch = world.launch(&alpha, vec![world.instance(&alpha, node)]);
        launch.instances[0].interface.public_ip = true;
        launch.public_pool = Some(pool.parse().unwrap());
        let id = launch.instances[0].instance.id;
        let outcome = world.try_launch(&launch).await;
        assert!(matches!(outcome, LaunchOutcome::Launched(_)), "{outcome:?}");
        (id, world.record(&alpha, id).await.interface.unwrap().public_ip.unwrap().to_string())
    };
    let (small, large) = ("198.18.0.0/29", "198.18.0.0/24");
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(take(small).await);
    }
    let addresses: Vec<_> = taken.iter().map(|(_, address)| address.as_str()).collect();
    assert_eq!(addresses, ["198.18.0.1", "198.18.0.2", "198.18.0.3"]);
    // The operator's pool is another for a while, and an address of the one before is released.
    assert_eq!(take("198.18.0.128/25").await.1, "198.18.0.129");
    world.terminate(&alpha, taken[1].0).await;
    assert_eq!(take(large).await.1, "198.18.0.2", "the pool grew");
    assert_eq!(take(large).await.1, "198.18.0.4");
    assert_eq!(take("198.18.0.128/25").await.1, "198.18.0.130");
}

pub async fn missing_parents_are_named(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let node = world.node(CAPACITY).await;
    let refused = async |change: &dyn Fn(&mut LaunchInstance), name: String| {
        let mut new = world.instance(&alpha, node);
        change(&mut new);
        let outcome = world.try_launch(&world.launch(&alpha, vec![new])).await;
        assert_eq!(outcome, LaunchOutcome::ParentMissing(name));
    };
    refused(&|new| new.instance.image_id = beta.image, beta.image.to_string()).await;
    refused(&|new| new.instance.subnet_id = beta.subnet, beta.subnet.to_string()).await;
    refused(&|new| new.interface.group_ids = vec![beta.group], beta.group.to_string()).await;
    refused(&|new| new.instance.key_name = Some("lost".into()), "lost".into()).await;
    let (image, subnet) = (ImageId::from_random(world.bits()), SubnetId::from_random(world.bits()));
    refused(&|new| new.instance.image_id = image, image.to_string()).await;
    refused(&|new| new.instance.subnet_id = subnet, subnet.to_string()).await;
    let group = SecurityGroupId::from_random(world.bits());
    refused(&|new| new.interface.group_ids = vec![alpha.group, group], group.to_string()).await;
    let pg = PlacementGroupId::from_random(world.bits());
    refused(&|new| new.instance.placement_group_id = Some(pg), pg.to_string()).await;
    world.db.deregister_image(alpha.project, alpha.image).await.unwrap();
    refused(&|_| {}, alpha.image.to_string()).await;
}

pub async fn parallel_launches_never_exceed_capacity(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(CAPACITY).await;
    let launches: Vec<_> =
        (0..32).map(|_| world.launch(&alpha, vec![world.instance(&alpha, node)])).collect();
    let outcomes = join_all(launches.iter().map(|launch| world.try_launch(launch))).await;
    let launched = outcomes.iter().filter(|outcome| matches!(outcome, LaunchOutcome::Launched(_))).count();
    assert_eq!(launched, 8, "the node has eight virtual CPUs");
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == LaunchOutcome::NodeLost(node)).count(), 24);
    assert_eq!(world.used(node).await, (8, 4096, 64));
    assert_eq!(world.recomputed(node, |_| true).await, (8, 4096, 64));
    let interfaces = world.db.interfaces(alpha.project).await.unwrap();
    let addresses: BTreeSet<_> = interfaces.iter().map(|interface| interface.private_ip).collect();
    assert_eq!(addresses.len(), 8);
}

pub async fn parallel_repeats_make_one_reservation(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(CAPACITY).await;
    let launches: Vec<_> = (0..32)
        .map(|_| with_token(world.launch(&alpha, vec![world.instance(&alpha, node)]), "t", 1))
        .collect();
    let outcomes = join_all(launches.iter().map(|launch| world.try_launch(launch))).await;
    let record = world.records(&alpha).await.remove(0);
    let made = record.instance.reservation_id;
    assert_eq!(outcomes.iter().filter(|o| matches!(o, LaunchOutcome::Launched(_))).count(), 1);
    assert_eq!(outcomes.iter().filter(|o| **o == LaunchOutcome::Repeated(made)).count(), 31);
    assert_eq!(world.records(&alpha).await.len(), 1);
}

pub async fn filters_select_within_the_project(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let node = world.node(CAPACITY).await;
    let pair = world.launch(&alpha, vec![world.instance(&alpha, node), world.instance(&alpha, node)]);
    world.try_launch(&pair).await;
    let single = world.pending(&alpha, node).await;
    let foreign = world.pending(&beta, node).await;
    let ids = async |ids: &[InstanceId], reservation| {
        let filter = InstanceFilter { ids: ids.to_vec(), reservation };
        let records = world.db.instances(alpha.project, &filter).await.unwrap();
        records.into_iter().map(|record| record.instance.id).collect::<Vec<_>>()
    };
    let reservation = Some(pair.instances[0].instance.reservation_id);
    let (first, second) = (pair.instances[0].instance.id, pair.instances[1].instance.id);
    assert_eq!(ids(&[], None).await, [first, second, single]);
    assert_eq!(ids(&[single, first, foreign], None).await, [first, single], "in order of launch");
    assert_eq!(ids(&[], reservation).await, [first, second]);
    assert_eq!(ids(&[second, single], reservation).await, [second]);
    assert_eq!(ids(&[foreign], None).await, []);
    assert_eq!(world.db.all_instances().await.unwrap().len(), 4);
    assert_eq!(world.db.instance_counts().await.unwrap(), [(InstanceState::Pending, 4)]);
    assert_eq!(world.state(&alpha, first).await, InstanceState::Pending);
}

pub async fn a_listing_shows_every_acknowledged_change(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let node = world.node(CAPACITY).await;
    let id = world.running(&alpha, node).await;
    let mut before = world.records(&alpha).await;
    let mut differs = async |what: &str| {
        let now = world.records(&alpha).await;
        assert_ne!(now, before, "{what}");
        before = now;
    };
    let resources = [id.to_string()];
    world.db.put_tags(alpha.project, &resources, &[("a".into(), "1".into())], 50).await.unwrap();
    differs("a tag is set").await;
    world.db.put_tags(alpha.project, &resources, &[("a".into(), "2".into())], 50).await.unwrap();
    differs("a tag is replaced").await;
    world.db.delete_tags(alpha.project, &resources, &[]).await.unwrap();
    differs("a tag is removed").await;
    let change = AttributeChange::Groups(Vec::new());
    world.db.change_attributes(alpha.project, id, &[change], world.now()).await.unwrap();
    differs("groups change").await;
    world.power(&alpha, id, PowerChange::Stop { force: false }).await;
    differs("a state changes").await;
    world.observe(&alpha, id, InstanceState::Stopped).await;
    differs("a node reports").await;
    world.power(&alpha, id, PowerChange::Terminate).await;
    world.observe(&alpha, id, InstanceState::Terminated).await;
    differs("interface and volume go").await;
    world.pending(&alpha, node).await;
    differs("another is launched").await;
    world.db.purge(&Cutoffs::all(world.now()), 1000).await.unwrap();
    differs("the terminated are purged").await;
    world.pending(&beta, node).await;
    assert_eq!(world.records(&alpha).await, before, "a foreign launch changes nothing");
}

//! Security groups and the parts of VPCs.

use std::sync::Arc;

use futures::future::join_all;
use tepui_types::agent::{Direction, PartKey, PortRange, Protocol};
use tepui_types::{SecurityGroupId, SecurityGroupRuleId};

use super::world::{CAPACITY, Tenant, World};
use crate::model::{Rule, RulePeer, SecurityGroup};
use crate::{CreateOutcome, Db, DeleteOutcome, RuleChange, RuleOutcome};

fn rule(world: &World, port: u16, peer: RulePeer) -> Rule {
    Rule {
        id: SecurityGroupRuleId::from_random(world.bits()),
        direction: Direction::Ingress,
        protocol: Protocol::Tcp(PortRange { from: port, to: port }),
        peer,
        description: None,
    }
}

fn anywhere() -> RulePeer {
    RulePeer::Cidr("0.0.0.0/0".parse().unwrap())
}

async fn group(world: &World, tenant: &Tenant, name: &str) -> SecurityGroupId {
    let group = SecurityGroup {
        id: SecurityGroupId::from_random(world.bits()),
        project_id: tenant.project,
        vpc_id: tenant.vpc,
        name: name.into(),
        description: "for tests".into(),
        rules: Vec::new(),
    };
    assert_eq!(world.db.create_security_group(&group, &[]).await.unwrap(), CreateOutcome::Created);
    let taken = world.db.create_security_group(&group, &[]).await.unwrap();
    assert_eq!(taken, CreateOutcome::NameTaken(group.id));
    group.id
}

async fn change(world: &World, tenant: &Tenant, id: SecurityGroupId, change: RuleChange) -> RuleOutcome {
    world.db.change_rules(tenant.project, id, &change, 3).await.unwrap()
}

pub async fn rules_change_all_or_nothing(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let web = group(&world, &alpha, "web").await;
    let (ssh, http) = (rule(&world, 22, anywhere()), rule(&world, 80, anywhere()));
    let before = world.vpc_generation(alpha.vpc).await;
    let added = change(&world, &alpha, web, RuleChange::Add(vec![ssh.clone(), http.clone()])).await;
    assert_eq!(added, RuleOutcome::Changed(vec![ssh.clone(), http.clone()]));
    let after = world.vpc_generation(alpha.vpc).await;
    assert!(after > before);
    let same = Rule { id: SecurityGroupRuleId::from_random(world.bits()), ..ssh.clone() };
    let https = rule(&world, 443, anywhere());
    let twice = change(&world, &alpha, web, RuleChange::Add(vec![https.clone(), same.clone()])).await;
    assert_eq!(twice, RuleOutcome::Duplicate(same.clone()));
    let many = RuleChange::Add(vec![https.clone(), rule(&world, 25, anywhere())]);
    assert_eq!(change(&world, &alpha, web, many).await, RuleOutcome::TooMany(3));
    let unknown = change(&world, &alpha, web, RuleChange::Remove(vec![same.clone(), https.clone()])).await;
    assert_eq!(unknown, RuleOutcome::RuleNotFound(https));
    assert_eq!(world.vpc_generation(alpha.vpc).await, after, "what was refused changed nothing");
    let removed = change(&world, &alpha, web, RuleChange::Remove(vec![same])).await;
    assert_eq!(removed, RuleOutcome::Changed(vec![ssh]), "the stored rule is returned");
    let groups = world.db.security_groups(alpha.project).await.unwrap();
    assert_eq!(groups.iter().find(|group| group.id == web).unwrap().rules, [http]);
}

pub async fn rules_are_limited_in_each_direction(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let web = group(&world, &alpha, "web").await;
    let add = async |direction, port| {
        let rule = Rule { direction, ..rule(&world, port, anywhere()) };
        change(&world, &alpha, web, RuleChange::Add(vec![rule])).await
    };
    for port in 1..=3 {
        for direction in [Direction::Ingress, Direction::Egress] {
            assert!(matches!(add(direction, port).await, RuleOutcome::Changed(_)), "{direction:?} {port}");
        }
    }
    for direction in [Direction::Ingress, Direction::Egress] {
        assert_eq!(add(direction, 4).await, RuleOutcome::TooMany(3));
    }
}

pub async fn parallel_changes_never_exceed_the_limit_of_rules(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let web = group(&world, &alpha, "web").await;
    let add = async |port| {
        let add = RuleChange::Add(vec![rule(&world, port, anywhere())]);
        change(&world, &alpha, web, add).await
    };
    let outcomes = join_all((1..=16).map(add)).await;
    let added = outcomes.iter().filter(|outcome| matches!(outcome, RuleOutcome::Changed(_))).count();
    let groups = world.db.security_groups(alpha.project).await.unwrap();
    let rules = groups.iter().find(|group| group.id == web).unwrap().rules.len();
    assert_eq!((added, rules), (3, 3));
}

pub async fn groups_in_use_stay(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let (web, base) = (group(&world, &alpha, "web").await, group(&world, &alpha, "base").await);
    let from_base = rule(&world, 22, RulePeer::Group(base));
    change(&world, &alpha, web, RuleChange::Add(vec![from_base])).await;
    let delete = async |id| world.db.delete_security_group(alpha.project, id).await.unwrap();
    assert_eq!(delete(base).await, DeleteOutcome::InUse(format!("a rule of {web}")));
    let node = world.node(CAPACITY).await;
    let mut new = world.instance(&alpha, node);
    new.interface.group_ids = vec![alpha.group, web];
    let interface = new.interface.id;
    let id = world.launched(&alpha, new).await;
    assert_eq!(delete(web).await, DeleteOutcome::InUse(format!("network interface {interface}")));
    world.terminate(&alpha, id).await;
    assert_eq!(delete(web).await, DeleteOutcome::Deleted);
    assert_eq!(delete(base).await, DeleteOutcome::Deleted);
    assert_eq!(delete(base).await, DeleteOutcome::NotFound);
}

pub async fn a_foreign_group_is_not_found(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let foreign = world.db.delete_security_group(beta.project, alpha.group).await.unwrap();
    assert_eq!(foreign, DeleteOutcome::NotFound);
    let add = RuleChange::Add(vec![rule(&world, 22, anywhere())]);
    assert_eq!(change(&world, &beta, alpha.group, add).await, RuleOutcome::GroupNotFound);
    let peer = RuleChange::Add(vec![rule(&world, 22, RulePeer::Group(beta.group))]);
    assert_eq!(change(&world, &alpha, alpha.group, peer).await, RuleOutcome::PeerNotFound(beta.group));
    let misplaced = SecurityGroup {
        id: SecurityGroupId::from_random(world.bits()),
        project_id: beta.project,
        vpc_id: alpha.vpc,
        name: "x".into(),
        description: String::new(),
        rules: Vec::new(),
    };
    let created = world.db.create_security_group(&misplaced, &[]).await.unwrap();
    assert_eq!(created, CreateOutcome::ParentMissing);
    let mut peering = SecurityGroup { project_id: alpha.project, ..misplaced };
    peering.rules = vec![rule(&world, 22, RulePeer::Group(beta.group))];
    let created = world.db.create_security_group(&peering, &[]).await.unwrap();
    assert_eq!(created, CreateOutcome::ParentMissing);
    assert_eq!(world.db.security_groups(alpha.project).await.unwrap().len(), 1, "nothing stayed behind");
}

pub async fn vpc_parts_name_ports_nodes_and_groups(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let (peer, idle) = (group(&world, &alpha, "peer").await, group(&world, &alpha, "idle").await);
    let from_peer = rule(&world, 22, RulePeer::Group(peer));
    change(&world, &alpha, alpha.group, RuleChange::Add(vec![from_peer])).await;
    let (a, b) = (world.node(CAPACITY).await, world.node(CAPACITY).await);
    let (first, second) = (world.running(&alpha, a).await, world.running(&alpha, b).await);
    let (_, part) = world.db.vpc_part(alpha.vpc).await.unwrap().unwrap();
    let interfaces = world.db.interfaces(alpha.project).await.unwrap();
    let ports: Vec<_> = part.ports.iter().map(|port| (port.id, port.node_id, port.private_ip)).collect();
    let expected: Vec<_> = interfaces.iter().zip([a, b]).map(|(i, n)| (i.id, n, i.private_ip)).collect();
    assert_eq!(ports, expected);
    assert_eq!(interfaces.iter().map(|i| i.instance_id).collect::<Vec<_>>(), [first, second]);
    assert_eq!(part.nodes.iter().map(|node| node.id).collect::<Vec<_>>(), [a, b]);
    let groups: Vec<_> = part.groups.iter().map(|group| group.id).collect();
    assert_eq!(groups, [alpha.group, peer], "{idle} is named by nothing");
    assert_eq!(part.subnets[0].gateway.to_string(), "172.31.0.1");
    assert_eq!(world.carried(a).await, [PartKey::Node(a), PartKey::Vpc(alpha.vpc)]);
}

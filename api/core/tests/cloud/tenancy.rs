//! Nobody sees or touches what is another project's: every verb, one matrix.

use std::future::Future;
use std::pin::Pin;

use tepui_core::{
    AttachVolume, Caller, Cloud, CopySnapshot, CopyTo, CreatePool, CreateSnapshotSchedule, CreateSnapshots,
    CreateVolume, DetachVolume, DiskChange, Error, ImportRequest, ImportedImage, InstanceChange,
    ModifyVolume, NameOrId, NewRule, NewSecurityGroup, RuleSelector, RunInstances, SnapshotOfImage,
    SnapshotPlace,
};
use tepui_db::SharingChange;
use tepui_db::model::{KeyKind, PlacementStrategy, Quota, RulePeer};
use tepui_types::agent::{
    Direction, NodeObserved, PoolBackend, PoolObserved, PoolState, Protocol, SnapshotObserved,
    StorageObserved, StoredState, VolumeObserved,
};
use tepui_types::{
    Digest, ImageId, ImportTaskId, InstanceId, NetworkInterfaceId, ProjectId, SecurityGroupId, SnapshotId,
    SnapshotScheduleId, SubnetId, VolumeId, VpcId,
};

use super::harness::{GIB, Harness, Host};

/// One object of each kind, all of one project.
#[derive(Clone)]
struct Owned {
    project: ProjectId,
    key_id: String,
    instance: InstanceId,
    image: ImageId,
    task: ImportTaskId,
    volume: VolumeId,
    data: VolumeId,
    snapshot: SnapshotId,
    schedule: SnapshotScheduleId,
    interface: NetworkInterfaceId,
    vpc: VpcId,
    subnet: SubnetId,
    group: SecurityGroupId,
}

type Verdict<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;
type Verb = for<'a> fn(&'a Cloud, &'a Caller, &'a Owned) -> Verdict<'a>;

/// A table of the verbs that name an object, each by its name.
macro_rules! verbs {
    ($(|$cloud:ident, $caller:ident, $of:ident| $verb:ident($($argument:expr),*);)*) => {
        &[$((stringify!($verb), |$cloud, $caller, $of| {
            Box::pin(async move { $cloud.$verb($caller, $($argument),*).await.map(drop) })
        })),*]
    };
}

const VERBS: &[(&str, Verb)] = verbs! {
    |cloud, caller, of| describe_instances(&[of.instance]);
    |cloud, caller, of| instance(of.instance);
    |cloud, caller, of| instance_status(&[of.instance], true);
    |cloud, caller, of| start_instances(&[of.instance]);
    |cloud, caller, of| stop_instances(&[of.instance], false);
    |cloud, caller, of| reboot_instances(&[of.instance]);
    |cloud, caller, of| terminate_instances(&[of.instance]);
    |cloud, caller, of| modify_instance(of.instance, vec![InstanceChange::DisableApiStop(true)]);
    |cloud, caller, of| console_output(of.instance, false);
    |cloud, caller, of| explain_instance(of.instance);
    |cloud, caller, of| run_instances(RunInstances::new(of.image, "t3.nano"));
    |cloud, caller, of| image(of.image);
    |cloud, caller, of| deregister_image(of.image);
    |cloud, caller, of| import_tasks(&[of.task]);
    |cloud, caller, of| import_progress(of.task, 1, "");
    |cloud, caller, of| complete_import(of.task, imported());
    |cloud, caller, of| fail_import(of.task, "");
    |cloud, caller, of| volumes(&[of.volume]);
    |cloud, caller, of| volume(of.data);
    |cloud, caller, of| create_volume(CreateVolume { snapshot_id: Some(of.snapshot), ..CreateVolume::default() });
    |cloud, caller, of| modify_volume(grow(of));
    |cloud, caller, of| modify_disks(of.instance, &[of_termination()]);
    |cloud, caller, of| set_volume_ttl(of.data, Some(7200));
    |cloud, caller, of| delete_volume(of.data);
    |cloud, caller, of| attach_volume(attach(of));
    |cloud, caller, of| detach_volume(detach(of));
    |cloud, caller, of| create_snapshots(&snapshots_of(of));
    |cloud, caller, of| snapshots(&[of.snapshot]);
    |cloud, caller, of| copy_snapshot(copy_of(of));
    |cloud, caller, of| snapshot_of_image(snapshot_holding(of));
    |cloud, caller, of| usable_snapshots(&[of.snapshot]);
    |cloud, caller, of| share_snapshot(of.snapshot, SharingChange::Reset);
    |cloud, caller, of| snapshot_content(of.snapshot, 0);
    |cloud, caller, of| test_snapshot(of.snapshot);
    |cloud, caller, of| delete_snapshot(of.snapshot);
    |cloud, caller, of| delete_snapshot_schedule(of.schedule);
    |cloud, caller, of| network_interfaces(&[of.interface]);
    |cloud, caller, of| vpc(of.vpc);
    |cloud, caller, of| subnet(of.subnet);
    |cloud, caller, of| security_group(&NameOrId::Id(of.group));
    |cloud, caller, of| create_security_group(group_in(of.vpc));
    |cloud, caller, of| delete_security_group(&NameOrId::Id(of.group));
    |cloud, caller, of| authorize(&NameOrId::Id(of.group), Direction::Ingress, vec![rule()]);
    |cloud, caller, of| revoke(&NameOrId::Id(of.group), Direction::Ingress, RuleSelector::Saying(vec![rule()]));
    |cloud, caller, of| create_tags(&[of.instance.to_string()], &[("k".into(), "v".into())].into());
    |cloud, caller, of| delete_tags(&[of.volume.to_string()], &[]);
    |cloud, caller, _of| delete_placement_group("theirs");
    |cloud, caller, of| project(of.project);
    |cloud, caller, of| set_quota(of.project, Quota { instances: 9, vcpus: 9, memory_mib: 9, volumes: 5_000, volume_gib: 51_200 });
    |cloud, caller, of| delete_project(of.project);
    |cloud, caller, of| create_access_key(caller.user_id, of.project);
    |cloud, caller, of| access_keys(of.project);
    |cloud, caller, of| delete_access_key(of.project, &of.key_id);
};

/// Verbs that name no object of a project: what they show or make is the caller's own, or they are
/// the administrators'. They are named here so that a new verb cannot be forgotten.
const WITHOUT_OBJECT: &[&str] = &[
    "admit",
    "audit_records",
    "audited",
    "begin_import",
    "create_join_token",
    "create_key_pair",
    "create_placement_group",
    "create_pool",
    "create_project",
    "create_snapshot_schedule",
    "create_user",
    "delete_key_pair",
    "delete_pool",
    "delete_user",
    "doctor",
    "empty_pool",
    "expunge_node",
    "images",
    "import_key_pair",
    "key_pairs",
    "leftovers",
    "mend",
    "move_volume",
    "moves",
    "node",
    "nodes",
    "placement_groups",
    "pool",
    "pools",
    "projects",
    "quota",
    "reclaim_pool",
    "repeated_import",
    "security_groups",
    "set_pool_draining",
    "set_schedulable",
    "snapshot_schedules",
    "snapshot_tests",
    "subnets",
    "tags",
    "users",
    "vpcs",
];

fn import() -> ImportRequest {
    ImportRequest {
        name: None,
        description: String::new(),
        source: "s".into(),
        public: false,
        tags: [].into(),
        token: None,
    }
}

fn imported() -> ImportedImage {
    ImportedImage { digest: Digest::of(b""), size_bytes: 1, login_user: String::new(), public: false }
}

fn group_in(vpc: VpcId) -> NewSecurityGroup {
    NewSecurityGroup { name: "g".into(), description: "d".into(), vpc_id: Some(vpc), tags: [].into() }
}

fn grow(of: &Owned) -> ModifyVolume {
    ModifyVolume {
        volume_id: of.data,
        size_gib: Some(9),
        class: None,
        iops: None,
        throughput_mib: None,
        read_only: None,
    }
}

fn of_termination() -> DiskChange {
    DiskChange { device: "/dev/sdf".into(), volume_id: None, delete_on_termination: true }
}

fn attach(of: &Owned) -> AttachVolume {
    AttachVolume { volume_id: of.data, instance_id: of.instance, device: "/dev/sdf".into() }
}

fn detach(of: &Owned) -> DetachVolume {
    DetachVolume { volume_id: of.data, instance_id: None, device: None, force: true }
}

fn snapshots_of(of: &Owned) -> CreateSnapshots {
    CreateSnapshots { volumes: vec![of.data], ..CreateSnapshots::default() }
}

fn copy_of(of: &Owned) -> CopySnapshot {
    let (to, description, tags) = (CopyTo::SamePool, String::new(), [].into());
    CopySnapshot { source: of.snapshot, to, description, tags }
}

fn snapshot_holding(of: &Owned) -> SnapshotOfImage {
    let (place, description, tags) = (SnapshotPlace::Class(None), String::new(), [].into());
    SnapshotOfImage { image: of.image, place, description, tags }
}

fn daily() -> CreateSnapshotSchedule {
    let (tag_key, tag_value) = ("backup".into(), "daily".into());
    CreateSnapshotSchedule {
        tag_key,
        tag_value,
        every_seconds: 86_400,
        keep: 7,
        ..CreateSnapshotSchedule::default()
    }
}

/// A volume of the owner's that is there, and a snapshot of it, in a pool of the host.
async fn data_of(t: &Harness, owner: &Caller, host: &Host) -> (VolumeId, SnapshotId) {
    let request = CreatePool {
        name: "fast".into(),
        class: "gp3".into(),
        backend: PoolBackend::Iscsi,
        node_id: host.id,
        path: "/srv/fast".into(),
        filer: None,
        soft_percent: 80,
        hard_percent: 90,
    };
    let pool = t.cloud.create_pool(&t.admin, request).await.unwrap().load.pool.id;
    let state = PoolState::Ready { total_bytes: 100 * GIB, used_bytes: GIB };
    let pools = vec![PoolObserved { id: pool, state }];
    let say = async |volumes, snapshots| {
        let storage =
            StorageObserved { pools: pools.clone(), volumes, snapshots, ..StorageObserved::default() };
        host.report_as(1, NodeObserved { storage: Some(storage), ..host.observed(Vec::new()) }).await;
    };
    say(Vec::new(), Vec::new()).await;
    let request = CreateVolume { size_gib: Some(1), ..CreateVolume::default() };
    let volume = t.cloud.create_volume(owner, request).await.unwrap().id;
    let there = StoredState::Present { size_bytes: GIB };
    let volumes = vec![VolumeObserved { id: volume, state: there.clone() }];
    say(volumes.clone(), Vec::new()).await;
    let request = CreateSnapshots { volumes: vec![volume], ..CreateSnapshots::default() };
    let snapshot = t.cloud.create_snapshots(owner, &request).await.unwrap()[0].snapshot.id;
    say(volumes, vec![SnapshotObserved { id: snapshot, state: there }]).await;
    (volume, snapshot)
}

fn rule() -> NewRule {
    let peer = RulePeer::Cidr("0.0.0.0/0".parse().unwrap());
    NewRule { protocol: Protocol::All, peer, description: None }
}

async fn everything_of(t: &Harness, owner: &Caller) -> Owned {
    let host = t.host(1).await;
    let made = t.run_one(owner).await;
    let (data, snapshot) = data_of(t, owner, &host).await;
    let record = &made.instances[0].record;
    t.cloud.create_placement_group(owner, "theirs", PlacementStrategy::Spread).await.unwrap();
    t.cloud.create_key_pair(owner, "theirs", KeyKind::Ed25519, &[].into()).await.unwrap();
    let task = t.cloud.begin_import(owner, import()).await.unwrap().task;
    let group = NameOrId::Name("default".into());
    Owned {
        project: owner.project,
        key_id: owner.access_key_id.clone(),
        instance: record.instance.id,
        image: record.instance.image_id,
        task: task.id,
        volume: record.root_volume.as_ref().unwrap().id,
        data,
        snapshot,
        schedule: t.cloud.create_snapshot_schedule(owner, daily()).await.unwrap().id,
        interface: record.interface.as_ref().unwrap().id,
        vpc: record.instance.vpc_id,
        subnet: record.instance.subnet_id,
        group: t.cloud.security_group(owner, &group).await.unwrap().id,
    }
}

#[tokio::test]
async fn every_verb_finds_nothing_of_a_foreign_project_and_changes_nothing() {
    let t = Harness::new().await;
    let (owner, stranger) = (t.member("owner").await, t.member("stranger").await);
    let of = everything_of(&t, &owner).await;
    let seen = async || {
        let volumes = t.cloud.volumes(&owner, &[]).await.unwrap();
        (t.cloud.describe_instances(&owner, &[]).await.unwrap(), volumes)
    };
    let before = seen().await;
    for (name, verb) in VERBS {
        let answer = verb(&t.cloud, &stranger, &of).await;
        assert!(matches!(answer, Err(Error::NotFound { .. })), "{name}: {answer:?}");
    }
    assert_eq!(seen().await, before);
    t.cloud.image(&owner, of.image).await.unwrap();
    assert!(t.cloud.authenticate_key(&of.key_id).await.unwrap().is_some());
}

#[tokio::test]
async fn lists_show_the_callers_own_and_members_are_no_administrators() {
    let t = Harness::new().await;
    let (owner, stranger) = (t.member("owner").await, t.member("stranger").await);
    everything_of(&t, &owner).await;
    let cloud = &t.cloud;
    assert_eq!(cloud.describe_instances(&stranger, &[]).await.unwrap(), []);
    assert_eq!(cloud.images(&stranger).await.unwrap(), []);
    assert_eq!(cloud.key_pairs(&stranger).await.unwrap(), []);
    assert_eq!(cloud.volumes(&stranger, &[]).await.unwrap(), []);
    assert_eq!(cloud.snapshots(&stranger, &[]).await.unwrap(), []);
    assert_eq!(cloud.usable_snapshots(&stranger, &[]).await.unwrap(), []);
    assert_eq!(cloud.snapshot_schedules(&stranger).await.unwrap(), []);
    assert_eq!(cloud.network_interfaces(&stranger, &[]).await.unwrap(), []);
    assert_eq!(cloud.placement_groups(&stranger).await.unwrap(), []);
    assert_eq!(cloud.projects(&stranger).await.unwrap().len(), 1);
    let theirs = NameOrId::Name("theirs".into());
    assert_eq!(cloud.delete_key_pair(&stranger, &theirs).await.unwrap(), None);
    assert_eq!(cloud.key_pairs(&owner).await.unwrap().len(), 1);
    for refused in [
        cloud.users(&stranger).await.map(drop),
        cloud.nodes(&stranger).await.map(drop),
        cloud.doctor(&stranger).await.map(drop),
        cloud.mend(&stranger).await.map(drop),
        cloud.create_join_token(&stranger).await.map(drop),
        cloud.pools(&stranger).await.map(drop),
        cloud.create_project(&stranger, "p", None).await.map(drop),
    ] {
        assert!(matches!(refused, Err(Error::Forbidden { .. })), "{refused:?}");
    }
}

/// Reads the crate's own source: a verb is a public method that takes a caller.
#[test]
fn every_verb_of_the_crate_is_in_one_of_the_two_tables() {
    let mut verbs = std::collections::BTreeSet::new();
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                verbs.extend(verbs_in(&std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    let listed = VERBS.iter().map(|(name, _)| *name).chain(WITHOUT_OBJECT.iter().copied());
    assert_eq!(verbs, listed.map(str::to_owned).collect());
}

fn verbs_in(source: &str) -> Vec<String> {
    let methods = source.split("    pub async fn ").skip(1);
    methods
        .filter_map(|method| {
            let (name, rest) = method.split_once('(')?;
            let signature = rest.split_once('{')?.0;
            let name = name.split('<').next()?;
            signature.contains("caller: &Caller").then(|| name.to_owned())
        })
        .collect()
}

//! Every action that takes an id, with an object of another project: it does not exist.

use crate::client::Client;
use crate::harness::Harness;
use crate::reply::Element;

/// The objects of one project, by what an action calls them.
struct Objects {
    instance: String,
    image: String,
    volume: String,
    data: String,
    snapshot: String,
    interface: String,
    group: String,
    rule: String,
    vpc: String,
    subnet: String,
    key: String,
    task: String,
}

async fn objects(harness: &Harness, client: &Client) -> Objects {
    let image = harness.image(client, "theirs").await;
    let run = [("ImageId", image.as_str()), ("MinCount", "1"), ("MaxCount", "1")];
    let made = client.ok("RunInstances", &run).await;
    let instance = &made.items("instancesSet")[0];
    let at = |element: &Element, path: &str| element.text_at(path).to_owned();
    let groups = client.ok("DescribeSecurityGroupRules", &[]).await;
    let key = client.ok("CreateKeyPair", &[("KeyName", "theirs"), ("KeyType", "ed25519")]).await;
    client.ok("CreatePlacementGroup", &[("GroupName", "theirs"), ("Strategy", "spread")]).await;
    let task = client.ok("ImportImage", &[("DiskContainer.1.Url", "https://a.test/b")]).await;
    harness.pool().await;
    let data = client.ok("CreateVolume", &[("Size", "1")]).await;
    harness.settle().await;
    let snapshot = client.ok("CreateSnapshot", &[("VolumeId", data.text_at("volumeId"))]).await;
    harness.settle().await;
    Objects {
        data: at(&data, "volumeId"),
        snapshot: at(&snapshot, "snapshotId"),
        instance: at(instance, "instanceId"),
        image,
        volume: at(instance, "blockDeviceMapping.item.ebs.volumeId"),
        interface: at(instance, "networkInterfaceSet.item.networkInterfaceId"),
        group: at(instance, "groupSet.item.groupId"),
        rule: at(&groups, "securityGroupRuleSet.item.securityGroupRuleId"),
        vpc: at(instance, "vpcId"),
        subnet: at(instance, "subnetId"),
        key: at(&key, "keyPairId"),
        task: at(&task, "importTaskId"),
    }
}

type Row<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str);

fn matrix<'a>(
    theirs: &'a Objects,
    own_image: &'a str,
    own_instance: &'a str,
    own_group: &'a str,
) -> Vec<Row<'a>> {
    let instance = "InvalidInstanceID.NotFound";
    let group = "InvalidGroup.NotFound";
    let one = vec![("InstanceId.1", theirs.instance.as_str())];
    let run = |name, value| vec![("ImageId", own_image), ("MinCount", "1"), ("MaxCount", "1"), (name, value)];
    let rule = |own: &'a str, peer: &'a str| {
        vec![
            ("GroupId", own),
            ("IpPermissions.1.IpProtocol", "-1"),
            ("IpPermissions.1.Groups.1.GroupId", peer),
        ]
    };
    let attribute =
        [("SnapshotId", theirs.snapshot.as_str()), ("Attribute", "createVolumePermission")].to_vec();
    let tag = |id: &'a str| vec![("ResourceId.1", id), ("Tag.1.Key", "k"), ("Tag.1.Value", "v")];
    let mut rows = vec![
        ("DescribeInstances", one.clone(), instance),
        ("DescribeInstanceStatus", one.clone(), instance),
        ("DescribeInstanceCreditSpecifications", one.clone(), instance),
        ("StartInstances", one.clone(), instance),
        ("StopInstances", one.clone(), instance),
        ("RebootInstances", one.clone(), instance),
        ("TerminateInstances", one.clone(), instance),
        (
            "TerminateInstances",
            vec![("InstanceId.1", own_instance), ("InstanceId.2", &theirs.instance)],
            instance,
        ),
        ("GetConsoleOutput", vec![("InstanceId", &theirs.instance)], instance),
        (
            "DescribeInstanceAttribute",
            vec![("InstanceId", &theirs.instance), ("Attribute", "userData")],
            instance,
        ),
        (
            "ModifyInstanceAttribute",
            vec![("InstanceId", &theirs.instance), ("DisableApiStop.Value", "true")],
            instance,
        ),
        ("ModifyInstanceAttribute", vec![("InstanceId", own_instance), ("GroupId.1", &theirs.group)], group),
        (
            "ModifyInstanceMetadataOptions",
            vec![("InstanceId", &theirs.instance), ("HttpTokens", "optional")],
            instance,
        ),
        (
            "RunInstances",
            vec![("ImageId", &theirs.image), ("MinCount", "1"), ("MaxCount", "1")],
            "InvalidAMIID.NotFound",
        ),
        ("RunInstances", run("KeyName", "theirs"), "InvalidKeyPair.NotFound"),
        ("RunInstances", run("SubnetId", &theirs.subnet), "InvalidSubnetID.NotFound"),
        ("RunInstances", run("SecurityGroupId.1", &theirs.group), group),
        ("RunInstances", run("Placement.GroupName", "theirs"), "InvalidPlacementGroup.Unknown"),
        ("DescribeImages", vec![("ImageId.1", &theirs.image)], "InvalidAMIID.NotFound"),
        ("DeregisterImage", vec![("ImageId", &theirs.image)], "InvalidAMIID.NotFound"),
        ("DescribeImportImageTasks", vec![("ImportTaskId.1", &theirs.task)], "InvalidConversionTaskId"),
        ("DescribeVolumes", vec![("VolumeId.1", &theirs.volume)], "InvalidVolume.NotFound"),
        ("DescribeVolumes", vec![("VolumeId.1", &theirs.data)], "InvalidVolume.NotFound"),
        ("DescribeVolumeStatus", vec![("VolumeId.1", &theirs.data)], "InvalidVolume.NotFound"),
        (
            "DescribeVolumeAttribute",
            vec![("VolumeId", &theirs.data), ("Attribute", "autoEnableIO")],
            "InvalidVolume.NotFound",
        ),
        ("CreateVolume", vec![("SnapshotId", &theirs.snapshot)], "InvalidSnapshot.NotFound"),
        ("DeleteVolume", vec![("VolumeId", &theirs.data)], "InvalidVolume.NotFound"),
        (
            "AttachVolume",
            vec![("VolumeId", &theirs.data), ("InstanceId", own_instance), ("Device", "/dev/sdf")],
            "InvalidVolume.NotFound",
        ),
        ("DetachVolume", vec![("VolumeId", &theirs.data)], "InvalidVolume.NotFound"),
        ("DetachVolume", vec![("VolumeId", &theirs.volume)], "InvalidVolume.NotFound"),
        ("ModifyVolume", vec![("VolumeId", &theirs.data), ("Size", "9")], "InvalidVolume.NotFound"),
        ("DescribeVolumesModifications", vec![("VolumeId.1", &theirs.data)], "InvalidVolume.NotFound"),
        (
            "ModifyInstanceAttribute",
            vec![
                ("InstanceId", &theirs.instance),
                ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
                ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
            ],
            instance,
        ),
        ("CreateSnapshot", vec![("VolumeId", &theirs.data)], "InvalidVolume.NotFound"),
        (
            "CreateSnapshots",
            vec![
                ("InstanceSpecification.InstanceId", &theirs.instance),
                ("InstanceSpecification.ExcludeBootVolume", "true"),
            ],
            instance,
        ),
        (
            "CopySnapshot",
            vec![("SourceRegion", "test-1"), ("SourceSnapshotId", &theirs.snapshot)],
            "InvalidSnapshot.NotFound",
        ),
        (
            "RunInstances",
            [
                run("BlockDeviceMapping.1.DeviceName", "/dev/sdf"),
                vec![("BlockDeviceMapping.1.Ebs.SnapshotId", &theirs.snapshot)],
            ]
            .concat(),
            "InvalidSnapshot.NotFound",
        ),
        ("DescribeSnapshotAttribute", attribute.clone(), "InvalidSnapshot.NotFound"),
        ("ResetSnapshotAttribute", attribute.clone(), "InvalidSnapshot.NotFound"),
        (
            "ModifySnapshotAttribute",
            [&attribute[..], &[("OperationType", "add"), ("UserGroup.1", "all")]].concat(),
            "InvalidSnapshot.NotFound",
        ),
        ("DescribeSnapshots", vec![("SnapshotId.1", &theirs.snapshot)], "InvalidSnapshot.NotFound"),
        ("DeleteSnapshot", vec![("SnapshotId", &theirs.snapshot)], "InvalidSnapshot.NotFound"),
        (
            "DescribeNetworkInterfaces",
            vec![("NetworkInterfaceId.1", &theirs.interface)],
            "InvalidNetworkInterfaceID.NotFound",
        ),
        ("DescribeVpcs", vec![("VpcId.1", &theirs.vpc)], "InvalidVpcID.NotFound"),
        (
            "DescribeVpcAttribute",
            vec![("VpcId", &theirs.vpc), ("Attribute", "enableDnsSupport")],
            "InvalidVpcID.NotFound",
        ),
        ("DescribeSubnets", vec![("SubnetId.1", &theirs.subnet)], "InvalidSubnetID.NotFound"),
        ("DescribeKeyPairs", vec![("KeyPairId.1", &theirs.key)], "InvalidKeyPair.NotFound"),
        ("DescribeKeyPairs", vec![("KeyName.1", "theirs")], "InvalidKeyPair.NotFound"),
        ("DescribePlacementGroups", vec![("GroupName.1", "theirs")], "InvalidPlacementGroup.Unknown"),
        ("DeletePlacementGroup", vec![("GroupName", "theirs")], "InvalidPlacementGroup.Unknown"),
        ("DescribeSecurityGroups", vec![("GroupId.1", &theirs.group)], group),
        ("DeleteSecurityGroup", vec![("GroupId", &theirs.group)], group),
        (
            "DescribeSecurityGroupRules",
            vec![("SecurityGroupRuleId.1", &theirs.rule)],
            "InvalidSecurityGroupRuleId.NotFound",
        ),
        (
            "RevokeSecurityGroupEgress",
            vec![("GroupId", own_group), ("SecurityGroupRuleId.1", &theirs.rule)],
            "InvalidSecurityGroupRuleId.NotFound",
        ),
        (
            "CreateSecurityGroup",
            vec![("GroupName", "g"), ("GroupDescription", "d"), ("VpcId", &theirs.vpc)],
            "InvalidVpcID.NotFound",
        ),
    ];
    for action in [
        "AuthorizeSecurityGroupIngress",
        "AuthorizeSecurityGroupEgress",
        "RevokeSecurityGroupIngress",
        "RevokeSecurityGroupEgress",
    ] {
        rows.push((action, rule(&theirs.group, own_group), group));
    }
    rows.push(("AuthorizeSecurityGroupIngress", rule(own_group, &theirs.group), group));
    rows.push(("AuthorizeSecurityGroupEgress", rule(own_group, &theirs.group), group));
    let taggable = [
        (&theirs.instance, "InvalidInstanceID.NotFound"),
        (&theirs.image, "InvalidAMIID.NotFound"),
        (&theirs.volume, "InvalidVolume.NotFound"),
        (&theirs.data, "InvalidVolume.NotFound"),
        (&theirs.snapshot, "InvalidSnapshot.NotFound"),
        (&theirs.interface, "InvalidNetworkInterfaceID.NotFound"),
        (&theirs.group, "InvalidGroup.NotFound"),
        (&theirs.vpc, "InvalidVpcID.NotFound"),
        (&theirs.subnet, "InvalidSubnetID.NotFound"),
        (&theirs.key, "InvalidKeyPair.NotFound"),
        (&theirs.task, "InvalidConversionTaskId"),
        (&theirs.rule, "InvalidSecurityGroupRuleId.NotFound"),
    ];
    for (id, code) in taggable {
        rows.push(("CreateTags", tag(id), code));
        rows.push(("DeleteTags", tag(id), code));
    }
    rows
}

#[tokio::test]
async fn an_object_of_another_project_does_not_exist() {
    let harness = Harness::new().await;
    let (us, them) = (harness.member("us").await, harness.member("them").await);
    let theirs = objects(&harness, &them).await;
    let image = harness.image(&us, "ours").await;
    let run = [("ImageId", image.as_str()), ("MinCount", "1"), ("MaxCount", "1")];
    let made = us.ok("RunInstances", &run).await;
    let instance = made.text_at("instancesSet.item.instanceId");
    let group = made.items("instancesSet")[0].text_at("groupSet.item.groupId");
    let before = them.call("DescribeInstances", &[]).await.body;
    for (action, params, code) in matrix(&theirs, &image, instance, group) {
        assert_eq!(us.refused(action, &params).await, (code.into(), 400), "{action} {params:?}");
        // The administrator of the cloud is a stranger too, unless they act in that project.
        if !params.iter().any(|(_, value)| [image.as_str(), instance, group].contains(value)) {
            assert_eq!(harness.admin.refused(action, &params).await.0, code, "{action} {params:?}");
        }
    }
    assert_eq!(them.call("DescribeInstances", &[]).await.body, before);
    assert_eq!(us.ok("DescribeInstances", &[]).await.items("reservationSet").len(), 1);
}

/// What others can do with a snapshot that is shared with them.
const WITH_SHARED_SNAPSHOTS: &[&str] = &["CopySnapshot", "CreateVolume", "DescribeSnapshots", "RunInstances"];

#[tokio::test]
async fn of_a_shared_snapshot_others_make_volumes_and_copies_and_do_nothing_else() {
    let harness = Harness::new().await;
    let (us, them) = (harness.member("us").await, harness.member("them").await);
    let theirs = objects(&harness, &them).await;
    let image = harness.image(&us, "ours").await;
    let permission =
        [("SnapshotId", theirs.snapshot.as_str()), ("CreateVolumePermission.Add.1.UserId", &us.project)];
    them.ok("ModifySnapshotAttribute", &permission).await;
    let rows = matrix(&theirs, &image, "", "");
    let of_snapshot =
        rows.iter().filter(|(_, params, _)| params.iter().any(|(_, value)| *value == theirs.snapshot));
    let mut done = std::collections::BTreeSet::new();
    for (action, params, code) in of_snapshot {
        if WITH_SHARED_SNAPSHOTS.contains(action) {
            us.ok(action, params).await;
            done.insert(*action);
        } else {
            assert_eq!(us.refused(action, params).await.0, *code, "{action} {params:?}");
        }
        let (found, _) = harness.admin.refused(action, params).await;
        assert_eq!(found, *code, "it is shared with one project only: {action}");
    }
    assert_eq!(done.len(), WITH_SHARED_SNAPSHOTS.len());
    them.ok("DeleteSnapshot", &[("SnapshotId", &theirs.snapshot)]).await;
}

/// Actions that take no id of an object of a project, so that the matrix has no row for them.
const WITHOUT_IDS: &[&str] = &[
    "CreateKeyPair",
    "CreatePlacementGroup",
    "DeleteKeyPair",
    "DescribeAccountAttributes",
    "DescribeAvailabilityZones",
    "DescribeInstanceTypeOfferings",
    "DescribeInstanceTypes",
    "DescribeRegions",
    "DescribeTags",
    "GetCallerIdentity",
    "ImportImage",
    "ImportKeyPair",
];

#[tokio::test]
async fn the_matrix_has_every_action() {
    let harness = Harness::new().await;
    let them = harness.member("them").await;
    let theirs = objects(&harness, &them).await;
    let rows = matrix(&theirs, "", "", "");
    let model: serde_json::Value = serde_json::from_str(include_str!("../golden/replies.json")).unwrap();
    for action in model["actions"].as_object().unwrap().keys() {
        let covered = rows.iter().any(|(row, _, _)| row == action);
        assert_ne!(covered, WITHOUT_IDS.contains(&action.as_str()), "{action}");
    }
}

#[tokio::test]
async fn deleting_a_foreign_key_pair_says_yes_and_does_nothing() {
    let harness = Harness::new().await;
    let (us, them) = (harness.member("us").await, harness.member("them").await);
    let theirs = objects(&harness, &them).await;
    us.ok("DeleteKeyPair", &[("KeyPairId", &theirs.key)]).await;
    us.ok("DeleteKeyPair", &[("KeyName", "theirs")]).await;
    assert_eq!(them.ok("DescribeKeyPairs", &[]).await.items("keySet").len(), 1);
}

//! The life of an instance, as its client sees it.

use data_encoding::BASE64;

use crate::harness::Harness;

#[tokio::test]
async fn an_instance_lives_through_all_its_states() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let image = harness.image(client, "debian").await;
    let data = BASE64.encode(b"#!/bin/sh\ntrue\n");
    let run = [
        ("ImageId", image.as_str()),
        ("InstanceType", "t3.micro"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("UserData", &data),
        ("SubnetId", ""),
        ("NetworkInterface.1.DeviceIndex", "0"),
        ("NetworkInterface.1.AssociatePublicIpAddress", "true"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "9"),
        ("BlockDeviceMapping.1.Ebs.VolumeType", "gp3"),
        ("MetadataOptions.HttpTokens", "optional"),
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "one & only"),
        ("Monitoring.Enabled", "false"),
    ];
    let made = client.ok("RunInstances", &run).await;
    let instance = &made.items("instancesSet")[0];
    assert_eq!(instance.text_at("instanceState.name"), "pending");
    let id = instance.text_at("instanceId").to_owned();
    let one = [("InstanceId.1", id.as_str())];
    harness.settle().await;
    let shown = client.ok("DescribeInstances", &one).await;
    let shown = &shown.items("reservationSet")[0].items("instancesSet")[0];
    assert_eq!(shown.text_at("instanceState.code"), "16");
    assert_eq!(shown.text_at("tagSet.item.value"), "one & only");
    assert_eq!(shown.text_at("metadataOptions.httpTokens"), "optional");
    assert_eq!(shown.text_at("networkInterfaceSet.item.association.publicIp"), shown.text_at("ipAddress"));
    let volume = shown.text_at("blockDeviceMapping.item.ebs.volumeId").to_owned();
    let volumes = client.ok("DescribeVolumes", &[("VolumeId.1", &volume)]).await;
    assert_eq!(volumes.text_at("volumeSet.item.size"), "9");
    assert_eq!(volumes.text_at("volumeSet.item.attachmentSet.item.instanceId"), id);
    let interfaces = client
        .ok(
            "DescribeNetworkInterfaces",
            &[("Filter.1.Name", "attachment.instance-id"), ("Filter.1.Value.1", &id)],
        )
        .await;
    assert_eq!(interfaces.items("networkInterfaceSet").len(), 1);
    let status = client.ok("DescribeInstanceStatus", &one).await;
    assert_eq!(status.text_at("instanceStatusSet.item.instanceStatus.status"), "ok");
    let credits = client.ok("DescribeInstanceCreditSpecifications", &one).await;
    assert_eq!(credits.items("instanceCreditSpecificationSet").len(), 1);
    client.ok("RebootInstances", &one).await;
    let stopped = client.ok("StopInstances", &[one[0], ("Force", "true")]).await;
    assert_eq!(stopped.text_at("instancesSet.item.currentState.name"), "stopping");
    harness.settle().await;
    let started = client.ok("StartInstances", &one).await;
    assert_eq!(started.text_at("instancesSet.item.previousState.name"), "stopped");
    harness.settle().await;
    let ended = client.ok("TerminateInstances", &one).await;
    assert_eq!(ended.text_at("instancesSet.item.currentState.name"), "shutting-down");
    harness.settle().await;
    let gone = client.ok("DescribeInstances", &one).await;
    assert_eq!(gone.items("reservationSet")[0].text_at("instancesSet.item.instanceState.name"), "terminated");
}

#[tokio::test]
async fn attributes_are_read_and_changed() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let image = harness.image(client, "debian").await;
    let run = [("ImageId", image.as_str()), ("MinCount", "1"), ("MaxCount", "1")];
    let id = client.ok("RunInstances", &run).await.text_at("instancesSet.item.instanceId").to_owned();
    let read = async |name: &str, path: &str| {
        let reply = client.ok("DescribeInstanceAttribute", &[("InstanceId", &id), ("Attribute", name)]).await;
        reply.get(path).map(|element| element.text.clone())
    };
    for name in [
        "blockDeviceMapping",
        "disableApiStop",
        "disableApiTermination",
        "ebsOptimized",
        "enaSupport",
        "enclaveOptions",
        "groupSet",
        "instanceInitiatedShutdownBehavior",
        "instanceType",
        "kernel",
        "productCodes",
        "ramdisk",
        "rootDeviceName",
        "sourceDestCheck",
        "sriovNetSupport",
        "userData",
    ] {
        assert!(read(name, name).await.is_some(), "{name}");
    }
    let modify = async |params: &[(&str, &str)]| {
        client.ok("ModifyInstanceAttribute", &[&[("InstanceId", id.as_str())], params].concat()).await
    };
    modify(&[("DisableApiTermination.Value", "true")]).await;
    assert_eq!(read("disableApiTermination", "disableApiTermination.value").await.unwrap(), "true");
    assert_eq!(
        client.refused("TerminateInstances", &[("InstanceId.1", &id)]).await.0,
        "OperationNotPermitted"
    );
    modify(&[("Attribute", "instanceInitiatedShutdownBehavior"), ("Value", "terminate")]).await;
    let behavior = read("instanceInitiatedShutdownBehavior", "instanceInitiatedShutdownBehavior.value").await;
    assert_eq!(behavior.unwrap(), "terminate");
    let options = [("InstanceId", id.as_str()), ("HttpPutResponseHopLimit", "3")];
    let options = client.ok("ModifyInstanceMetadataOptions", &options).await;
    assert_eq!(options.text_at("instanceMetadataOptions.httpPutResponseHopLimit"), "3");
    let running = client
        .refused("ModifyInstanceAttribute", &[("InstanceId", &id), ("InstanceType.Value", "t3.small")])
        .await;
    assert_eq!(running.0, "IncorrectInstanceState");
    let cleared =
        client.refused("ModifyInstanceAttribute", &[("InstanceId", &id), ("UserData.Value", "")]).await;
    assert_eq!(cleared.0, "IncorrectInstanceState", "an empty value is a change, for a stopped instance");
    let none = client.refused("ModifyInstanceAttribute", &[("InstanceId", &id)]).await;
    assert_eq!(none.0, "InvalidParameterCombination");
}

#[tokio::test]
async fn the_same_token_gives_the_same_instances() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let image = harness.image(client, "debian").await;
    let run = [("ImageId", image.as_str()), ("MinCount", "2"), ("MaxCount", "2"), ("ClientToken", "once")];
    let first = client.ok("RunInstances", &run).await;
    let again = client.ok("RunInstances", &run).await;
    assert_eq!(first.text_at("reservationId"), again.text_at("reservationId"));
    let mut other = run;
    other[2].1 = "3";
    assert_eq!(client.refused("RunInstances", &other).await.0, "IdempotentParameterMismatch");
    let all = client.ok("DescribeInstances", &[]).await;
    assert_eq!(all.items("reservationSet")[0].items("instancesSet").len(), 2);
}

#[tokio::test]
async fn pages_of_instances_are_whole_and_count_instances() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let image = harness.image(client, "debian").await;
    for count in ["7", "4"] {
        let run = [
            ("ImageId", image.as_str()),
            ("MinCount", count),
            ("MaxCount", count),
            ("InstanceType", "t3.nano"),
        ];
        client.ok("RunInstances", &run).await;
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut sizes = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let mut params = vec![("MaxResults", "5")];
        params.extend(token.as_deref().map(|token| ("NextToken", token)));
        let page = client.ok("DescribeInstances", &params).await;
        let instances = page.items("reservationSet").iter().flat_map(|r| r.items("instancesSet"));
        let ids: Vec<String> = instances.map(|i| i.text_at("instanceId").to_owned()).collect();
        sizes.push(ids.len());
        assert!(ids.into_iter().all(|id| seen.insert(id)));
        token = page.get("nextToken").map(|token| token.text.clone());
        if token.is_none() {
            break;
        }
    }
    assert_eq!((sizes, seen.len()), (vec![5, 5, 1], 11));
}

#[tokio::test]
async fn what_does_not_fit_is_a_server_error_and_leaves_nothing() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let image = harness.image(client, "debian").await;
    let run = |kind: &'static str, count: &'static str| {
        [
            ("ImageId", image.clone()),
            ("MinCount", count.into()),
            ("MaxCount", count.into()),
            ("InstanceType", kind.into()),
        ]
    };
    let refused = async |params: [(&str, String); 4]| {
        let params: Vec<(&str, &str)> = params.iter().map(|(k, v)| (*k, v.as_str())).collect();
        client.refused("RunInstances", &params).await
    };
    assert_eq!(refused(run("r5.24xlarge", "1")).await, ("InsufficientInstanceCapacity".into(), 500));
    assert_eq!(refused(run("z9.huge", "1")).await, ("InvalidParameterValue".into(), 400));
    assert_eq!(refused(run("t3.nano", "0")).await, ("InvalidParameterValue".into(), 400));
    assert!(client.ok("DescribeInstances", &[]).await.items("reservationSet").is_empty());
}

#[tokio::test]
async fn what_a_launch_cannot_do_is_refused_by_name() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let image = harness.image(client, "debian").await;
    for (name, value, code) in [
        ("UserData", "not base64!", "InvalidParameterValue"),
        ("IamInstanceProfile.Name", "role", "UnsupportedOperation"),
        ("InstanceInitiatedShutdownBehavior", "explode", "InvalidParameterValue"),
        ("MetadataOptions.HttpTokens", "maybe", "InvalidParameterValue"),
        ("MetadataOptions.HttpPutResponseHopLimit", "65", "InvalidParameterValue"),
        ("NetworkInterface.2.DeviceIndex", "1", "InvalidParameterValue"),
        ("Placement.Tenancy", "dedicated", "UnsupportedOperation"),
        ("PrivateIpAddress", "::1", "InvalidParameterValue"),
        ("SubnetId", "subnet-1", "InvalidSubnetID.Malformed"),
        ("TagSpecification.1.ResourceType", "vpc", "InvalidParameterValue"),
        ("KeyName", "nobody", "InvalidKeyPair.NotFound"),
    ] {
        let run = [("ImageId", image.as_str()), ("MinCount", "1"), ("MaxCount", "1"), (name, value)];
        assert_eq!(client.refused("RunInstances", &run).await, (code.into(), 400), "{name}={value}");
    }
    assert!(client.ok("DescribeInstances", &[]).await.items("reservationSet").is_empty());
}

#[tokio::test]
async fn disks_that_a_launch_cannot_have_are_refused_by_name() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let image = harness.image(client, "debian").await;
    let (root, data) = ("/dev/sda1", "/dev/sdf");
    for (device, name, value, code) in [
        (root, "BlockDeviceMapping.1.Ebs.Encrypted", "true", "UnsupportedOperation"),
        (root, "BlockDeviceMapping.1.Ebs.VolumeType", "io2", "UnknownVolumeType"),
        (root, "BlockDeviceMapping.1.Ebs.SnapshotId", "snap-00000000000000001", "InvalidSnapshot.NotFound"),
        (root, "BlockDeviceMapping.1.Ebs.DeleteOnTermination", "false", "InvalidParameterValue"),
        (root, "BlockDeviceMapping.2.DeviceName", root, "InvalidBlockDeviceMapping"),
        (data, "BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true", "MissingParameter"),
        (data, "BlockDeviceMapping.1.Ebs.Encrypted", "true", "UnsupportedOperation"),
        (data, "BlockDeviceMapping.1.Ebs.SnapshotId", "snap-00000000000000001", "InvalidSnapshot.NotFound"),
        (data, "BlockDeviceMapping.1.Ebs.SnapshotId", "snap-x", "InvalidSnapshotID.Malformed"),
        (data, "BlockDeviceMapping.1.Ebs.VolumeSize", "-1", "InvalidBlockDeviceMapping"),
        (data, "BlockDeviceMapping.1.Ebs.VolumeSize", "0", "InvalidBlockDeviceMapping"),
        ("/dev/sdb", "BlockDeviceMapping.1.VirtualName", "ephemeral0", "InvalidBlockDeviceMapping"),
        (root, "BlockDeviceMapping.1.Ebs.VolumeSize", "1", "InvalidBlockDeviceMapping"),
        ("/dev/nvme0n1", "BlockDeviceMapping.1.Ebs.VolumeSize", "1", "InvalidBlockDeviceMapping"),
    ] {
        let run = [("ImageId", image.as_str()), ("MinCount", "1"), ("MaxCount", "1"), (name, value)];
        let run = [&run[..], &[("BlockDeviceMapping.1.DeviceName", device)]].concat();
        assert_eq!(client.refused("RunInstances", &run).await, (code.into(), 400), "{device} {name}={value}");
    }
    let unnamed = [("ImageId", image.as_str()), ("MinCount", "1"), ("MaxCount", "1")];
    let unnamed = [&unnamed[..], &[("BlockDeviceMapping.1.Ebs.VolumeSize", "8")]].concat();
    assert_eq!(client.refused("RunInstances", &unnamed).await.0, "MissingParameter");
    assert!(client.ok("DescribeInstances", &[]).await.items("reservationSet").is_empty());
}

#[tokio::test]
async fn instance_storage_comes_with_its_types_mapped_or_not_and_is_no_volume() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let image = harness.image(client, "debian").await;
    let one =
        [("ImageId", image.as_str()), ("InstanceType", "m5d.large"), ("MinCount", "1"), ("MaxCount", "1")];
    let (device, name) = ("BlockDeviceMapping.1.DeviceName", "BlockDeviceMapping.1.VirtualName");
    for mapped in
        [&[][..], &[(device, "/dev/sdb"), (name, "ephemeral0")], &[(device, "xvdb"), (name, "ephemeral0")]]
    {
        let made = client.ok("RunInstances", &[&one[..], mapped].concat()).await;
        let id = made.text_at("instancesSet.item.instanceId").to_owned();
        let shown = client.ok("DescribeInstances", &[("InstanceId.1", &id)]).await;
        let disks =
            shown.get("reservationSet.item.instancesSet.item").unwrap().items("blockDeviceMapping").len();
        assert_eq!(disks, 1, "the root alone");
    }
    for refused in [
        &[(device, "/dev/sdc"), (name, "ephemeral1")][..],
        &[(device, "/dev/sdc"), (name, "ephemeral0")],
        &[(device, "/dev/sdb"), ("BlockDeviceMapping.1.Ebs.VolumeSize", "1")],
    ] {
        let run = [&one[..], refused].concat();
        assert_eq!(client.refused("RunInstances", &run).await.0, "InvalidBlockDeviceMapping", "{refused:?}");
    }
    let both = [(device, "/dev/sdb"), (name, "ephemeral0"), ("BlockDeviceMapping.1.Ebs.VolumeSize", "1")];
    let run = [&one[..], &both].concat();
    assert_eq!(client.refused("RunInstances", &run).await.0, "InvalidParameterCombination");
    let types = client.ok("DescribeInstanceTypes", &[("InstanceType.1", "m5d.large")]).await;
    assert_eq!(types.text_at("instanceTypeSet.item.instanceStorageSupported"), "true");
    assert_eq!(types.text_at("instanceTypeSet.item.instanceStorageInfo.totalSizeInGB"), "75");
    assert_eq!(types.text_at("instanceTypeSet.item.instanceStorageInfo.disks.item.sizeInGB"), "75");
}

#[tokio::test]
async fn the_status_says_so_when_the_host_is_not_heard_of() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let image = harness.image(client, "debian").await;
    let run = [("ImageId", image.as_str()), ("MinCount", "1"), ("MaxCount", "1")];
    client.ok("RunInstances", &run).await;
    let all = ("IncludeAllInstances", "true");
    let status = async || {
        let reply = client.ok("DescribeInstanceStatus", &[all]).await;
        reply.text_at("instanceStatusSet.item.systemStatus.status").to_owned()
    };
    assert_eq!(status().await, "initializing");
    harness.settle().await;
    assert_eq!(status().await, "ok");
    harness.clock.advance(100);
    assert_eq!(status().await, "insufficient-data");
    harness.settle().await;
    assert_eq!(status().await, "ok");
}

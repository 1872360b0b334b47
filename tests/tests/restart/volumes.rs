//! Pools, volumes, attachments and snapshots: the control plane dies at each step, and the call is repeated.

use std::time::Duration;

use serde_json::{Value, json};
use tepui_tests::{Cloud, Daemon, Ec2Session, Hypervisor, Reply, until};

use crate::operations::steps;
use crate::scene::run_parameters;

/// A cloud with one pool, in which each call is cut off and repeated.
struct Scene {
    cloud: Cloud,
    ec2: Ec2Session,
    zone: String,
}

#[test]
fn a_volume_is_made_attached_copied_and_removed_once_although_the_control_plane_dies_at_any_step() {
    let mut scene = Scene::start();
    for point in steps("pool") {
        scene.pool(point);
    }
    let create = ["pool", "create", "fast", "--backend", "iscsi", "--node", "sim-0", "--path", "/srv/fast"];
    scene.cloud.tepui(&create).ok();
    until("its host has made the pool", 60, || {
        scene.cloud.tepui_json(&["pool", "show", "fast"])["usage"].is_object().then_some(())
    });
    let made =
        scene.ec2.call("run_instances", &run_parameters(&scene.cloud.image_id("tiny"), "one")).answer();
    let instance = &made["Instances"][0]["InstanceId"];
    scene.ec2.wait_state(&[instance.as_str().unwrap_or_default().to_owned()], "running", 60);

    let kept = scene.create("kept");
    for point in steps("volume") {
        scene.volume(point);
    }
    for point in steps("storage_news") {
        scene.cut_off_report(point);
    }
    assert_eq!(scene.volumes().len(), 1, "the one that is kept");
    for (attach, detach) in steps("attach_volume").iter().zip(steps("detach_volume")) {
        scene.attachment(&kept, instance, (attach, detach));
    }
    scene.on_termination(&kept, instance);
    for point in steps("snapshot") {
        scene.snapshot(&kept, point);
    }
    scene.moved(&kept);
    scene.cloud.assert_healthy();
    scene.cloud.down();
}

impl Scene {
    fn start() -> Self {
        let cloud = Cloud::start(Hypervisor::Simulated, 1);
        cloud.import("tiny", "root");
        let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(30));
        let zones = ec2.call("describe_availability_zones", &json!({})).answer();
        let zone = zones["AvailabilityZones"][0]["ZoneName"].as_str().unwrap_or_default().to_owned();
        Self { cloud, ec2, zone }
    }

    /// The answer of the repeated call, or the code of its refusal.
    fn cut_off(&mut self, point: &str, call: &str, parameters: &Value) -> Reply {
        let armed = self.cloud.start_armed(Daemon::Api, point);
        let cut = self.ec2.call(call, parameters);
        assert!(matches!(cut, Reply::Lost(_)), "{point}: {cut:?}");
        armed.assert_died(10);
        self.cloud.up();
        self.ec2.call(call, parameters)
    }

    fn pool(&mut self, point: &str) {
        let path = format!("/srv/{}", point.replace(':', "-"));
        for command in [
            &["pool", "create", "new", "--backend", "iscsi", "--node", "sim-0", "--path", &path][..],
            &["pool", "delete", "new", "--yes"],
        ] {
            let armed = self.cloud.start_armed(Daemon::Api, point);
            self.cloud.tepui(command).refused();
            armed.assert_died(10);
            self.cloud.up();
            let there = self.cloud.tepui_json(&["pool", "list"]);
            match command[1] {
                "create" => assert_eq!(self.cloud.tepui_json(command)["id"], there[0]["id"], "{point}"),
                _ => {
                    assert_eq!(there, json!([]), "{point}");
                    self.cloud.tepui(command).refused();
                }
            }
        }
    }

    fn volumes(&mut self) -> Vec<Value> {
        let found =
            self.ec2.call("describe_volumes", &json!({ "Filters": [{ "Name": "size", "Values": ["2"] }] }));
        found.answer()["Volumes"].as_array().cloned().unwrap_or_default()
    }

    /// A volume that is there.
    fn create(&mut self, token: &str) -> Value {
        let parameters = json!({ "AvailabilityZone": self.zone, "Size": 2, "ClientToken": token });
        let made = self.ec2.call("create_volume", &parameters).answer()["VolumeId"].clone();
        self.wait(&made, "available");
        made
    }

    fn wait(&mut self, volume: &Value, state: &str) {
        until(&format!("{volume} is {state}"), 60, || {
            let found = self.ec2.call("describe_volumes", &json!({ "VolumeIds": [volume] })).answer();
            let attached = &found["Volumes"][0]["Attachments"][0]["State"];
            (found["Volumes"][0]["State"] == *state || attached == state).then_some(())
        });
    }

    fn wait_gone(&mut self, call: &str, parameters: &Value) {
        until(&format!("{parameters} is gone"), 60, || match self.ec2.call(call, parameters) {
            Reply::Refused(code) => code.ends_with(".NotFound").then_some(()),
            Reply::Answer(_) | Reply::Lost(_) => None,
        });
    }

    fn volume(&mut self, point: &str) {
        let parameters = json!({ "AvailabilityZone": self.zone, "Size": 2, "ClientToken": point });
        let id = self.cut_off(point, "create_volume", &parameters).answer()["VolumeId"].clone();
        assert_eq!(self.volumes().len(), 2, "{point}: made once");
        self.wait(&id, "available");
        let larger = json!({ "VolumeId": id, "Size": 3 });
        let begun = self.cut_off(point, "modify_volume", &larger).answer();
        assert_eq!(begun["VolumeModification"]["OriginalSize"], 2, "{point}: it is one modification");
        self.wait_grown(&id);
        let parameters = json!({ "VolumeId": id });
        match self.cut_off(point, "delete_volume", &parameters) {
            Reply::Answer(_) => {}
            Reply::Refused(code) => assert_eq!(code, "InvalidVolume.NotFound", "{point}"),
            Reply::Lost(why) => unreachable!("{point}: {why}"),
        }
        self.wait_gone("describe_volumes", &json!({ "VolumeIds": [id] }));
    }

    fn wait_grown(&mut self, volume: &Value) {
        until(&format!("{volume} has grown"), 60, || {
            let own = json!({ "VolumeIds": [volume] });
            let found = self.ec2.call("describe_volumes_modifications", &own).answer();
            (found["VolumesModifications"][0]["ModificationState"] == "completed").then_some(())
        });
    }

    /// The host's word that a volume is there, that it has grown, and that it is gone.
    fn cut_off_report(&mut self, point: &str) {
        let armed = self.cloud.start_armed(Daemon::Api, point);
        let parameters = json!({ "AvailabilityZone": self.zone, "Size": 2, "ClientToken": point });
        let _ = self.ec2.call("create_volume", &parameters);
        armed.assert_died(30);
        self.cloud.up();
        let id = self.create(point);
        let armed = self.cloud.start_armed(Daemon::Api, point);
        let larger = json!({ "VolumeId": id, "Size": 3 });
        let _ = self.ec2.call("modify_volume", &larger);
        armed.assert_died(30);
        self.cloud.up();
        self.ec2.call("modify_volume", &larger).answer();
        self.wait_grown(&id);
        let armed = self.cloud.start_armed(Daemon::Api, point);
        let _ = self.ec2.call("delete_volume", &json!({ "VolumeId": id }));
        armed.assert_died(30);
        self.cloud.up();
        self.wait_gone("describe_volumes", &json!({ "VolumeIds": [id] }));
    }

    /// Forth and back.
    fn moved(&mut self, volume: &Value) {
        let other =
            ["pool", "create", "other", "--backend", "nfs", "--node", "sim-0", "--path", "/srv/other"];
        self.cloud.tepui(&other).ok();
        for (point, pool) in steps("move").iter().zip(["other", "fast"]) {
            let call = ["volume", "move", volume.as_str().unwrap_or_default(), "--pool", pool];
            let armed = self.cloud.start_armed(Daemon::Api, point);
            self.cloud.tepui(&call).refused();
            armed.assert_died(10);
            self.cloud.up();
            self.cloud.tepui(&call).ok();
            until(&format!("{point}: it is in the pool {pool}"), 60, || {
                let moves = self.cloud.tepui_json(&["volume", "moves"]);
                let there = self.cloud.tepui_json(&["pool", "show", pool]);
                (moves == json!([]) && there["volumes"] == 1).then_some(())
            });
        }
    }

    fn attachment(&mut self, volume: &Value, instance: &Value, (attach, detach): (&str, &str)) {
        let parameters = json!({ "VolumeId": volume, "InstanceId": instance, "Device": "/dev/sdf" });
        let again = self.cut_off(attach, "attach_volume", &parameters);
        let is_committed = matches!(&again, Reply::Refused(code) if code == "VolumeInUse");
        assert!(is_committed, "{attach}: {again:?}");
        self.wait(volume, "attached");
        match self.cut_off(detach, "detach_volume", &json!({ "VolumeId": volume })) {
            Reply::Answer(_) => {}
            Reply::Refused(code) => assert_eq!(code, "IncorrectState", "{detach}: it is detached already"),
            Reply::Lost(why) => unreachable!("{detach}: {why}"),
        }
        self.wait(volume, "available");
    }

    /// Whether a volume goes with its instance. No host is woken for it.
    fn on_termination(&mut self, volume: &Value, instance: &Value) {
        let parameters = json!({ "VolumeId": volume, "InstanceId": instance, "Device": "/dev/sdf" });
        self.ec2.call("attach_volume", &parameters).answer();
        self.wait(volume, "attached");
        for (delete, point) in [true, false].into_iter().zip(steps("attribute")) {
            let disk = json!({ "DeviceName": "/dev/sdf", "Ebs": { "DeleteOnTermination": delete } });
            let parameters = json!({ "InstanceId": instance, "BlockDeviceMappings": [disk] });
            self.cut_off(point, "modify_instance_attribute", &parameters).answer();
            let found = self.ec2.call("describe_instances", &json!({ "InstanceIds": [instance] })).answer();
            let disks = &found["Reservations"][0]["Instances"][0]["BlockDeviceMappings"];
            assert_eq!(disks[1]["Ebs"]["DeleteOnTermination"], delete, "{point}");
        }
        self.ec2.call("detach_volume", &json!({ "VolumeId": volume })).answer();
        self.wait(volume, "available");
    }

    /// AWS knows no token for it: a repeat takes a second one.
    fn snapshot(&mut self, volume: &Value, point: &str) {
        self.cut_off(point, "create_snapshot", &json!({ "VolumeId": volume })).answer();
        let mut all = Vec::new();
        until("both snapshots are taken", 60, || {
            let own =
                json!({ "OwnerIds": ["self"], "Filters": [{ "Name": "status", "Values": ["completed"] }] });
            let found = self.ec2.call("describe_snapshots", &own).answer();
            all = found["Snapshots"].as_array().cloned().unwrap_or_default();
            (all.len() == 2).then_some(())
        });
        for snapshot in all {
            let id = &snapshot["SnapshotId"];
            match self.cut_off(point, "delete_snapshot", &json!({ "SnapshotId": id })) {
                Reply::Answer(_) => {}
                Reply::Refused(code) => assert_eq!(code, "InvalidSnapshot.NotFound", "{point}"),
                Reply::Lost(why) => unreachable!("{point}: {why}"),
            }
            self.wait_gone("describe_snapshots", &json!({ "SnapshotIds": [id] }));
        }
    }
}

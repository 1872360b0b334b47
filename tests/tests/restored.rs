//! A backup of the control plane is restored while its hosts have gone on.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tepui_tests::{Cloud, Daemon, Ec2Session, Hypervisor, binary, run, until};

#[test]
fn a_restored_backup_takes_over_what_the_hosts_did_and_no_guest_is_stopped_or_started() {
    let mut cloud = Cloud::start(Hypervisor::Simulated, 1);
    cloud.import("tiny", "root");
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(30));
    let image = cloud.image_id("tiny");
    let mut launch = || {
        let one = json!({ "ImageId": image, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1 });
        let made = ec2.call("run_instances", &one).answer();
        let id = made["Instances"][0]["InstanceId"].as_str().unwrap_or_default().to_owned();
        cloud.wait_state(&id, "running", 40);
        id
    };
    let [kept, stopped, ended, started] = [launch(), launch(), launch(), launch()];
    cloud.ec2(&["stop-instances", "--force", "--instance-ids", &started]);
    cloud.wait_state(&started, "stopped", 40);
    let backup = cloud.scratch().join("backup");
    let backup = backup.to_string_lossy();
    api(&cloud, &["backup", &backup]);
    let late = launch();
    cloud.ec2(&["stop-instances", "--force", "--instance-ids", &stopped]);
    cloud.ec2(&["terminate-instances", "--instance-ids", &ended]);
    cloud.ec2(&["start-instances", "--instance-ids", &started]);
    cloud.wait_state(&stopped, "stopped", 40);
    cloud.wait_state(&ended, "terminated", 40);
    cloud.wait_state(&started, "running", 40);
    let before = guests(&cloud);
    cloud.kill(Daemon::Api);
    api(&cloud, &["restore", &backup]);
    cloud.up();
    cloud.wait_state(&ended, "terminated", 60);
    cloud.wait_state(&stopped, "stopped", 40);
    cloud.wait_state(&started, "running", 40);
    cloud.wait_state(&kept, "running", 40);
    until("the guest from after the backup is named", 40, || {
        cloud.tepui(&["doctor", "--problems"]).stdout.contains("no row").then_some(())
    });
    assert!(cloud.ec2_refused(&["describe-instances", "--instance-ids", &late]).contains("NotFound"));
    assert_eq!(guests(&cloud), before, "no guest was stopped, started or reset");
    // And they are still the cloud's to command.
    for id in [&kept, &stopped, &started] {
        cloud.ec2(&["terminate-instances", "--instance-ids", id]);
        cloud.wait_state(id, "terminated", 40);
    }
    assert_eq!(guests(&cloud).len(), 1, "the one that nobody knows runs on");
    cloud.down();
}

fn api(cloud: &Cloud, words: &[&str]) {
    let config = cloud.cloud_folder().join("api.toml");
    run(binary("tepui-api"), &[&["--config", &*config.to_string_lossy()], words].concat()).ok();
}

/// Every guest of the host: whether it is on, how often it was started and reset.
fn guests(cloud: &Cloud) -> BTreeMap<String, Value> {
    let file = fs::read(cloud.cloud_folder().join("sim/node-0/domains.json")).unwrap_or_default();
    serde_json::from_slice(&file).unwrap_or_default()
}

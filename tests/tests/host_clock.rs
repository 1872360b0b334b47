//! Agents whose wall clock somebody has set.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use tepui_tests::{Cloud, Ec2Session, Hypervisor, until};

#[test]
fn agents_whose_clock_is_ten_days_off_renew_their_certificate_and_do_what_is_asked() {
    let mut cloud = Cloud::start(Hypervisor::Simulated, 1);
    cloud.import("tiny", "root");
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(30));
    let image = cloud.image_id("tiny");
    let mut a_guest_comes_and_goes = || {
        let ids = ec2.launch(&image, 1, Value::Null);
        ec2.wait_state(&ids, "running", 30);
        ec2.act("terminate_instances", &ids);
        ec2.wait_state(&ids, "terminated", 30);
    };
    let identity = cloud.cloud_folder().join("sim/node-0/identity/node.pem");
    let certificate = || fs::read(&identity).unwrap();
    for (off, other) in [("+10d", "-10d"), ("-10d", "+10d")] {
        let before = certificate();
        // They have no connection yet, and take their certificate for one of another time.
        let agents = cloud.start_clocked_agents(off);
        until("the certificate is renewed", 30, || (certificate() != before).then_some(()));
        a_guest_comes_and_goes();
        for set in [other, "+0"] {
            agents.set(set);
            a_guest_comes_and_goes();
        }
        drop(agents);
        cloud.up();
    }
    cloud.assert_healthy();
    cloud.down();
}

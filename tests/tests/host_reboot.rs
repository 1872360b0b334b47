//! A host loses power and boots again, with its state as it was or as it was before; and a copy of it.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tepui_tests::{Cloud, Ec2Session, Hypervisor, QEMU, binary, run};

#[test]
fn a_host_that_boots_again_runs_what_should_run_once_also_with_an_old_state_and_a_copy_runs_nothing() {
    let mut cloud = Cloud::start(Hypervisor::Libvirt, 2);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(60));
    ec2.call("create_placement_group", &json!({ "GroupName": "g", "Strategy": "cluster" })).answer();
    let together = json!({ "Placement": { "GroupName": "g" } });
    let ids = ec2.launch(&image, 3, together);
    let [on, off, gone] = ids.as_slice() else { unreachable!("{ids:?}") };
    for id in &ids {
        ec2.wait_console(id, "tepui-tiny: ready", 120);
    }
    let (one, two) = (cloud.host(1), cloud.host(2));
    let (host, other) = if one.processes(QEMU).len() == 3 { (one, two) } else { (two, one) };
    assert_eq!(host.processes(QEMU).len(), 3, "members of one cluster group");

    ec2.act("terminate_instances", std::slice::from_ref(gone));
    ec2.wait_state(std::slice::from_ref(gone), "terminated", 150);
    // The state of a host on which the other two run.
    let data = cloud.cloud_folder().join(format!("n{}/data", host.number()));
    let old = cloud.scratch().join("old-ledger");
    copy(&data.join("ledger"), &old);
    ec2.call("stop_instances", &json!({ "InstanceIds": [off], "Force": true })).answer();
    ec2.wait_state(std::slice::from_ref(off), "stopped", 60);

    let boots = |ec2: &mut Ec2Session, count: u32| {
        ec2.wait_console(on, &format!("tepui-tiny: boot {count}"), 120);
        ec2.wait_console(on, "tepui-tiny: ready", 60);
    };
    host.power_off();
    cloud.up();
    boots(&mut ec2, 2);
    assert_eq!(host.processes(QEMU).len(), 1, "what should run, once");
    cloud.assert_healthy();

    host.power_off();
    run("rm", &[Path::new("-r"), &data.join("ledger")]).ok();
    copy(&old, &data.join("ledger"));
    cloud.up();
    boots(&mut ec2, 3);
    cloud.assert_healthy();
    ec2.wait_state(std::slice::from_ref(off), "stopped", 5);
    assert_eq!(host.processes(QEMU).len(), 1, "what was stopped meanwhile stays so");

    // A copy of the host on another machine: the same identity and state, another address.
    other.kill("tepui-node");
    let copied = cloud.cloud_folder().join(format!("n{}/data", other.number()));
    // The folder itself is mounted on that host.
    let script = "rm -r \"$1\"/* && cp -a \"$2\"/. \"$1\"";
    run("sh", &[Path::new("-c"), Path::new(script), Path::new("sh"), &copied, &data]).ok();
    let config = cloud.cloud_folder().join(format!("n{}/node.toml", other.number()));
    let said = other.run(binary("tepui-node"), &["--config", &config.to_string_lossy(), "run"]).refused();
    assert!(said.contains("this identity joined as the host at"), "{said}");
    assert_eq!((host.processes(QEMU).len(), other.processes(QEMU).len()), (1, 0));
    ec2.wait_state(std::slice::from_ref(on), "running", 5);
    cloud.down();
}

#[track_caller]
fn copy(from: &Path, to: &Path) {
    run("cp", &[Path::new("-a"), from, to]).ok();
}

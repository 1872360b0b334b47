//! The agent dies while it gives a real guest a disk, and while it takes one away.

use std::time::Duration;

use serde_json::json;
use tepui_agent::volumes::{GIVE_STEPS, TAKE_STEPS};
use tepui_tests::{Cloud, Ec2Session, Hypervisor, QEMU, kill, until};

const AGENT: &str = "tepui-node-1";
/// Says how many disks there are beside the root disk, each time that changes.
const COUNT: &str = "#!/bin/sh
before=none
while :; do
  now=$(ls /sys/block | grep -c 'vd[b-z]')
  [ \"$now\" = \"$before\" ] || echo \"has $now more\"
  before=$now
  sleep 1
done
";

#[test]
fn a_real_guest_has_a_disk_once_or_not_at_all_wherever_the_agent_dies_that_gives_or_takes_it() {
    let mut cloud = Cloud::start(Hypervisor::Libvirt, 1);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(60));
    let host = cloud.host(1);
    cloud.make_pool(&host);
    let volume = ec2.make_volume();
    let ids = ec2.launch(&image, 1, json!({ "UserData": COUNT }));
    ec2.wait_console(&ids[0], "has 0 more", 120);
    let guest = host.processes(QEMU);
    let attach = json!({ "VolumeId": volume, "InstanceId": ids[0], "Device": "/dev/sdf" });
    let detach = json!({ "VolumeId": volume });
    let mut deaths = GIVE_STEPS.iter().map(|point| (Some(*point), None)).collect::<Vec<_>>();
    deaths.extend(TAKE_STEPS.iter().map(|point| (None, Some(*point))));
    for (giving, taking) in deaths {
        for (point, call, parameters, state, count) in [
            (giving, "attach_volume", &attach, "attached", 1),
            (taking, "detach_volume", &detach, "available", 0),
        ] {
            if point.is_some() {
                kill(cloud.pid(AGENT));
            }
            ec2.call(call, parameters).answer();
            if let Some(point) = point {
                cloud.up_armed(point);
                until(&format!("the agent dies at {point}"), 60, || cloud.has_ended(AGENT).then_some(()));
                cloud.up();
            }
            ec2.wait_volume(&volume, state);
            let found = host.live_disks().iter().filter(|source| source.contains("iqn.")).count();
            assert_eq!(found, count, "{call} after a death at {point:?}");
            let told = || {
                host.consoles()
                    .lines()
                    .rev()
                    .find_map(|line| line.trim().strip_prefix("has ").map(str::to_owned))
            };
            until(&format!("its guest has {count}"), 60, || {
                (told()? == format!("{count} more")).then_some(())
            });
            cloud.assert_healthy();
        }
    }
    assert_eq!(host.processes(QEMU), guest, "it is the same process");
    cloud.down();
}

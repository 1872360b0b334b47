//! What breaks stays where it breaks, and what was cut off half-way is completed.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;

use tepui_agent::execute::NetworkKeeper;
use tepui_agent::metadata::MetadataService;
use tepui_agent::network::{Network as _, WantedNetwork};
use tepui_types::SubnetId;
use tepui_types::agent::{Protocol, VpcPart};

use super::lab::{Lab, anyone, flows, group, group_id, lab, port, run, vpc, wanted};

const SECOND: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 12);

async fn open_guests(lab: &Lab) -> VpcPart {
    let mut part = vpc(1);
    part.groups = vec![group(1, &[(Protocol::All, anyone())])];
    part.ports = vec![port(&part, 1, &[group_id(1)]), port(&part, 2, &[group_id(1)])];
    lab.guest("tpt1", &part.ports[0]);
    lab.guest("tpt2", &part.ports[1]);
    lab.apply(&[&part]).await;
    part
}

/// Both guests run on; `vpcs` are all the parts there are.
fn with_both_live(part: &VpcPart, vpcs: &[&VpcPart]) -> WantedNetwork {
    WantedNetwork { vpcs: vpcs.iter().map(|part| (*part).clone()).collect(), ..wanted(&[part]) }
}

#[test]
fn a_live_guest_keeps_tap_and_flow_when_its_vpc_or_port_is_gone_from_the_wanted_state() {
    lab(async |lab: &Lab| {
        let part = open_guests(lab).await;
        let mut open = lab.connection("tpt1", "tpt2", SECOND, 80);
        let mut one_port = part.clone();
        one_port.ports.truncate(1);
        let mut no_subnet = part.clone();
        (no_subnet.ports, no_subnet.subnets, no_subnet.groups) = (Vec::new(), Vec::new(), Vec::new());
        let other = vpc(2);
        let cases: [&[&VpcPart]; 4] = [&[&one_port], &[&no_subnet], &[&other], &[]];
        for (number, vpcs) in cases.iter().enumerate() {
            lab.network.apply(&with_both_live(&part, vpcs)).await.unwrap();
            assert!(flows(&mut open), "case {number}");
            assert!(lab.pings("tpt1", SECOND), "case {number}");
            let tap = lab.network.tap_name(part.ports[1].placement_id);
            assert_eq!(tap.as_deref(), Some("tpt2"), "case {number}");
        }
        let heir = lab.restarted().await;
        heir.apply(&with_both_live(&part, &[])).await.unwrap();
        assert!(flows(&mut open) && lab.pings("tpt1", SECOND), "by the next agent too");
        heir.apply(&wanted(&[])).await.unwrap();
        assert!(heir.taps().await.unwrap().is_empty(), "once the guests are off");
    });
}

#[test]
fn a_guest_that_runs_on_unnamed_gives_way_to_a_wanted_one_with_its_address() {
    lab(async |lab: &Lab| {
        let part = open_guests(lab).await;
        let mut heir = part.clone();
        heir.ports[1].placement_id = tepui_types::PlacementId::from_random(77);
        let mut wanted = wanted(&[&heir]);
        wanted.local.push(part.ports[1].placement_id);
        lab.network.apply(&wanted).await.unwrap();
        assert_eq!(lab.network.tap_name(part.ports[1].placement_id), None);
        assert!(lab.network.tap_name(heir.ports[1].placement_id).is_some());
    });
}

#[test]
fn a_vpc_that_cannot_be_built_is_named_and_leaves_the_others_alone() {
    lab(async |lab: &Lab| {
        let mut part = open_guests(lab).await;
        let mut broken = vpc(2);
        broken.ports = vec![port(&broken, 3, &[])];
        broken.vni = 0;
        let mut unknown_subnet = vpc(3);
        unknown_subnet.ports = vec![port(&unknown_subnet, 4, &[])];
        unknown_subnet.ports[0].subnet_id = SubnetId::from_random(99);
        let mut blocked = vpc(4);
        blocked.ports = vec![port(&blocked, 5, &[])];
        let in_the_way = lab.run_dir().join("netns").join(blocked.id.to_string());
        std::fs::create_dir(&in_the_way).unwrap();
        part.groups[0].rules.pop();
        let error =
            lab.network.apply(&wanted(&[&broken, &unknown_subnet, &blocked, &part])).await.unwrap_err();
        let text = format!("{error:?}");
        for bad in [&broken, &unknown_subnet, &blocked] {
            assert!(text.contains(&bad.id.to_string()), "{text}");
        }
        assert!(!lab.pings("tpt1", SECOND), "the change of the good VPC came through");
        let error = lab.network.apply(&wanted(&[&part])).await.unwrap_err();
        assert!(error.to_string().contains(&blocked.id.to_string()), "it cannot be removed either: {error}");
        std::fs::remove_dir(&in_the_way).unwrap();
        lab.apply(&[&part]).await;
    });
}

#[test]
fn a_start_in_a_good_vpc_does_not_wait_for_a_broken_one() {
    lab(async |lab: &Lab| {
        let part = open_guests(lab).await;
        let mut broken = vpc(2);
        broken.vni = 0;
        let keeper = NetworkKeeper::new(Arc::new(lab.restarted().await), None);
        keeper.want(wanted(&[&broken, &part]));
        assert!(keeper.ensure_for(&[part.id]).await.is_ok());
        assert!(keeper.ensure_for(&[broken.id]).await.unwrap_err().to_string().contains("VPC"));
        assert!(keeper.ensure().await.is_err(), "the operator is told");
        assert!(keeper.ensure_for(&[]).await.is_ok(), "a removal goes on");
    });
}

#[test]
fn half_built_devices_are_completed() {
    lab(async |lab: &Lab| {
        let mut part = open_guests(lab).await;
        let router = Lab::router(&part);
        let damages: [&dyn Fn(); 3] = [
            &|| drop(lab.exec(&router, "ip", &["link", "set", "sub1", "down"])),
            &|| drop(lab.exec(&router, "ip", &["link", "set", "up0", "down"])),
            &|| drop(run("ip", &["link", "set", "tpb1", "down"])),
        ];
        for (number, damage) in (3_u8..).zip(damages) {
            damage();
            part.ports.push(port(&part, number, &[group_id(1)]));
            lab.apply(&[&part]).await;
            lab.exec("tpt1", "ip", &["neigh", "flush", "all"]);
            assert!(lab.pings("tpt1", SECOND), "damage {number}");
            assert!(lab.pings("tpt1", super::lab::OUTSIDE), "damage {number}");
        }
    });
}

#[test]
fn the_metadata_service_comes_back_with_a_new_namespace() {
    lab(async |lab: &Lab| {
        let part = open_guests(lab).await;
        let metadata = Arc::new(MetadataService::new(&[3; 32]));
        let keeper = NetworkKeeper::new(Arc::new(lab.restarted().await), Some(metadata));
        keeper.want(wanted(&[&part]));
        keeper.ensure().await.unwrap();
        run("umount", &["--lazy", lab.run_dir().join("netns").join(part.id.to_string()).to_str().unwrap()]);
        keeper.doubt().await;
        keeper.ensure().await.unwrap();
        let ask = |mut stream: TcpStream| {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        let stream = lab.inside("tpt1", || {
            TcpStream::connect_timeout(&([169, 254, 169, 254], 80).into(), super::lab::LONG)
        });
        let stream = stream.unwrap();
        stream.set_read_timeout(Some(super::lab::LONG)).unwrap();
        let answer = tokio::task::spawn_blocking(move || ask(stream)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    });
}

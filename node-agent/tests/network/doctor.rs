//! What is wrong with a host's network is named, and made good.

use std::net::Ipv4Addr;

use tepui_agent::doctor::{self, Site};
use tepui_agent::hypervisor::{SimulatedHypervisor, SimulatedSettings};
use tepui_agent::ledger::{Ledger, Seal};
use tepui_agent::network::Network as _;
use tepui_types::agent::{NodePart, Part, PartBody, PartKey, Protocol, VpcNode, VpcPart, VpcPort};
use tepui_types::{Epoch, Generation, MacAddress, NodeId, VpcId};

use super::lab::{Lab, NEIGHBOUR, anyone, group, group_id, kill, lab, node, port, run, vpc, wanted};

async fn two_guests(lab: &Lab) -> VpcPart {
    let mut part = vpc(1);
    part.groups = vec![group(1, &[(Protocol::All, anyone())])];
    part.ports = vec![port(&part, 1, &[group_id(1)]), port(&part, 2, &[group_id(1)])];
    lab.guest("tpt1", &part.ports[0]);
    lab.guest("tpt2", &part.ports[1]);
    lab.apply(&[&part]).await;
    part
}

/// As the doctor sees it: by another process, which made nothing of it.
async fn faults(lab: &Lab, part: &VpcPart) -> Vec<String> {
    lab.restarted().await.faults(&wanted(&[part])).await.unwrap()
}

/// What is done to the host, and a part of what is then said.
type Damage<'a> = (&'a str, &'a dyn Fn());

#[test]
fn each_damage_is_named_by_a_doctor_and_mended_by_the_agent_that_made_the_network() {
    lab(async |lab: &Lab| {
        let part = two_guests(lab).await;
        assert_eq!(faults(lab, &part).await, Vec::<String>::new());
        let router = Lab::router(&part);
        let dhcp = lab.run_dir().join("dhcp").join(part.id.to_string());
        let inside = |program: &str, arguments: &[&str]| drop(lab.exec(&router, program, arguments));
        let left = lab.run_dir().join("dhcp").join(VpcId::from_random(77).to_string());
        let forwarder = lab.run_dir().join("resolver/pid");
        let damages: [Damage<'_>; 14] = [
            ("tpb1 is down", &|| drop(run("ip", &["link", "set", "tpb1", "down"]))),
            ("tpt1 is not isolated", &|| {
                drop(run("bridge", &["link", "set", "dev", "tpt1", "isolated", "off"]))
            }),
            ("sub1 has lost 172.31.0.1/20", &|| inside("ip", &["address", "flush", "dev", "sub1"])),
            ("tpt77 is a device of Tepui's", &|| drop(run("ip", &["tuntap", "add", "tpt77", "mode", "tap"]))),
            ("tpb78 is a device of Tepui's", &|| {
                drop(run("ip", &["link", "add", "tpb78", "type", "bridge"]))
            }),
            ("is left, and nothing needs it", &|| std::fs::create_dir(&left).unwrap()),
            ("the host lacks the packet filter's table bridge", &|| {
                drop(run("nft", &["delete", "table", "bridge", "tepui"]));
            }),
            ("the host lacks the packet filter's table inet", &|| {
                drop(run("nft", &["delete", "table", "inet", "tepui"]));
            }),
            ("0 rules in the packet filter's chain from_guest", &|| {
                drop(run("nft", &["flush", "chain", "bridge", "tepui", "from_guest"]));
            }),
            ("0 elements in the packet filter's set port_mac_ip4", &|| {
                drop(run("nft", &["flush", "set", "bridge", "tepui", "port_mac_ip4"]));
            }),
            ("it lacks the packet filter's table inet", &|| {
                inside("nft", &["delete", "table", "inet", "tepui"])
            }),
            ("its DHCP server does not run", &|| {
                kill(std::fs::read_to_string(dhcp.join("pid")).unwrap().trim());
            }),
            ("the host's DNS forwarder does not run", &|| {
                kill(std::fs::read_to_string(&forwarder).unwrap().trim());
            }),
            ("it is missing", &|| {
                let path = lab.run_dir().join("netns").join(part.id.to_string());
                run("umount", &["--lazy", path.to_str().unwrap()]);
            }),
        ];
        for (says, damage) in damages {
            damage();
            let told = faults(lab, &part).await;
            assert!(told.iter().any(|fault| fault.contains(says)), "{says}: {told:?}");
            lab.apply(&[&part]).await;
            let left = faults(lab, &part).await;
            assert_eq!(left, Vec::<String>::new(), "after {says}");
        }
    });
}

/// A guest with a public address here, and one on another host.
async fn far_and_public(lab: &Lab) -> VpcPart {
    let mut part = vpc(1);
    part.groups = vec![group(1, &[(Protocol::All, anyone())])];
    let far = NodeId::from_random(2);
    let vtep_mac = MacAddress::from_octets([2, 0, 0, 0, 9, 2]);
    part.nodes.push(VpcNode { id: far, underlay_address: NEIGHBOUR, vtep_mac });
    let public_ip = Some(Ipv4Addr::new(198, 18, 0, 7));
    part.ports.push(VpcPort { public_ip, ..port(&part, 1, &[group_id(1)]) });
    part.ports.push(VpcPort { node_id: far, ..port(&part, 3, &[group_id(1)]) });
    lab.guest("tpt1", &part.ports[0]);
    lab.apply(&[&part]).await;
    part
}

#[test]
fn each_lost_route_neighbour_and_peer_is_named_and_mended() {
    lab(async |lab: &Lab| {
        let part = far_and_public(lab).await;
        assert_eq!(faults(lab, &part).await, Vec::<String>::new());
        let router = Lab::router(&part);
        let (host, inside) = (None, Some(router.as_str()));
        for (place, command, fault) in [
            (inside, "ip route del default", "up0 has lost the route to 0.0.0.0/0 by 100.64.0.2"),
            (inside, "ip route del 172.31.0.0/20", "sub1 has lost the route to 172.31.0.0/20"),
            (inside, "ip route flush dev up0", "up0 has lost the route to 100.64.0.2/31"),
            (inside, "ip route del 172.31.0.13/32", "vx0 has lost the route to 172.31.0.13/32"),
            (inside, "ip neigh del 172.31.0.11 dev sub1", "sub1 has lost the neighbour 172.31.0.11 with"),
            (inside, "ip neigh del 172.31.0.13 dev vx0", "vx0 has lost the neighbour 172.31.0.13 with"),
            (
                inside,
                "ip neigh replace 172.31.0.11 lladdr 02:00:00:00:00:99 dev sub1 nud permanent",
                "sub1 has lost the neighbour 172.31.0.11 with 02:00:00:00:01:01",
            ),
            (
                inside,
                "bridge fdb del 02:00:00:00:09:02 dev vx0 self",
                "vx0 has lost the VXLAN peer 10.9.0.9 with 02:00:00:00:09:02",
            ),
            (host, "ip route del 198.18.0.7/32", "tpu1 has lost the route to 198.18.0.7/32 by 100.64.0.3"),
            (host, "ip route flush dev tpu1", "tpu1 has lost the route to 100.64.0.2/31"),
            (host, "ip neigh del proxy 198.18.0.7 dev eth0", "eth0 does not answer ARP requests for 198.18"),
            (
                host,
                "bridge fdb del 02:00:00:00:01:01 dev tpt1 master",
                "tpt1 has lost the bridge's entry for 02:00:00:00:01:01",
            ),
            (
                host,
                "bridge fdb del 02:54:50:00:00:01 dev tpr1 master",
                "tpr1 has lost the bridge's entry for 02:54:50:00:00:01",
            ),
        ] {
            let words: Vec<&str> = command.split(' ').collect();
            let _ = match place {
                None => run(words[0], &words[1..]),
                Some(place) => lab.exec(place, words[0], &words[1..]),
            };
            let told = faults(lab, &part).await;
            assert!(told.iter().any(|told| told.contains(fault)), "{command}: {told:?}");
            lab.apply(&[&part]).await;
            assert_eq!(faults(lab, &part).await, Vec::<String>::new(), "after {command}");
        }
    });
}

#[test]
fn leases_of_other_guests_are_named() {
    lab(async |lab: &Lab| {
        let part = two_guests(lab).await;
        let hosts = lab.run_dir().join("dhcp").join(part.id.to_string()).join("hosts");
        std::fs::write(&hosts, "02:00:00:00:00:77,172.31.0.77,ip-172-31-0-77\n").unwrap();
        let told = faults(lab, &part).await;
        assert!(told.iter().any(|fault| fault.contains("other guests than are here")), "{told:?}");
        lab.restarted().await.apply(&wanted(&[&part])).await.unwrap();
        assert_eq!(faults(lab, &part).await, Vec::<String>::new());
    });
}

/// A data directory whose ledger has a VPC, and no guest.
fn ledger_of(dir: &std::path::Path, part: &VpcPart) {
    std::fs::create_dir(dir.join("identity")).unwrap();
    let seal = Seal::open(&dir.join("identity/ledger.key")).unwrap();
    let mut ledger = Ledger::open(&dir.join("ledger"), seal).unwrap();
    let part_of = |key, body| Part { key, generation: Generation(1), body };
    let parts = vec![
        part_of(PartKey::Node(node()), PartBody::Node(NodePart { placements: Vec::new() })),
        part_of(PartKey::Vpc(part.id), PartBody::Vpc(part.clone())),
    ];
    let taken = ledger.take(node(), Epoch(1), parts).unwrap();
    assert!(taken.changed && taken.refused.is_empty(), "{taken:?}");
}

#[test]
fn the_network_is_made_good_here_only_while_no_agent_does_it() {
    lab(async |lab: &Lab| {
        let part = vpc(1);
        let dir = tempfile::tempdir().unwrap();
        ledger_of(dir.path(), &part);
        let (hypervisor, network) =
            (SimulatedHypervisor::new(SimulatedSettings::default()), lab.restarted().await);
        let underlay_address = Ipv4Addr::LOCALHOST;
        let site = Site {
            servers: None,
            data_dir: dir.path(),
            underlay_address,
            hypervisor: &hypervisor,
            is_real: false,
            network: &network,
            now: tepui_types::Timestamp::UNIX_EPOCH,
        };
        let found = doctor::examine(site).await.unwrap();
        assert!(found.findings.iter().all(|found| found.fix.is_some()), "{:?}", found.findings);
        assert!(!found.findings.is_empty());
        let agent = tepui_agent::agent::lock(dir.path()).unwrap();
        let parts = [&part];
        let (fixed, ()) = tokio::join!(doctor::fix(site, &found), lab.apply(&parts));
        assert_eq!(fixed.unwrap(), ["waited for the agent, which mended the network"]);
        drop(agent);
        run("ip", &["link", "set", "tpb1", "down"]);
        let found = doctor::examine(site).await.unwrap();
        assert_eq!(doctor::fix(site, &found).await.unwrap(), ["made the network as the ledger has it"]);
        assert_eq!(doctor::examine(site).await.unwrap().findings, []);
    });
}

use std::net::Ipv4Addr;
use std::time::Instant;

use tepui_agent::network::{Network as _, WantedNetwork};
use tepui_types::agent::{Peer, Protocol, VpcNode, VpcPart};
use tepui_types::{MacAddress, NodeId, PlacementId};

use super::lab::{Lab, anyone, flows, group, group_id, lab, node, port, run, vpc, wanted};

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

fn nothing() -> WantedNetwork {
    WantedNetwork { node_id: node(), vpcs: Vec::new(), local: Vec::new() }
}

#[test]
fn a_second_apply_changes_nothing_and_is_quick() {
    lab(async |lab: &Lab| {
        let part = open_guests(lab).await;
        let link = |line: &str| line.split(':').take(2).map(str::to_owned).collect::<Vec<_>>();
        let links = || run("ip", &["-o", "link"]).lines().map(link).collect::<Vec<_>>();
        let state = || (links(), run("nft", &["-a", "list", "ruleset"]));
        let before = state();
        let wanted = wanted(&[&part]);
        let start = Instant::now();
        for _ in 0..20 {
            lab.network.apply(&wanted).await.unwrap();
        }
        println!("an apply without a change: {:?}", start.elapsed() / 20);
        assert_eq!(state(), before);
    });
}

#[test]
fn what_somebody_removed_comes_back() {
    lab(async |lab: &Lab| {
        let part = open_guests(lab).await;
        let router = Lab::router(&part);
        let damages: [&dyn Fn(); 5] = [
            &|| drop(run("nft", &["delete", "table", "bridge", "tepui"])),
            &|| drop(lab.exec(&router, "nft", &["delete", "table", "inet", "tepui"])),
            &|| drop(run("ip", &["link", "set", "tpt1", "nomaster"])),
            &|| drop(run("ip", &["link", "del", "tpr1"])),
            &|| drop(run("ip", &["link", "del", "tpb1"])),
        ];
        for (number, damage) in damages.iter().enumerate() {
            damage();
            lab.apply(&[&part]).await;
            assert!(lab.pings("tpt1", SECOND), "damage {number}");
            assert!(run("nft", &["list", "tables"]).contains("bridge tepui"), "damage {number}");
            assert!(lab.exec(&router, "nft", &["list", "tables"]).contains("inet tepui"), "damage {number}");
        }
        run("ip", &["link", "del", "tpt1"]);
        lab.apply(&[&part]).await;
        assert!(run("ip", &["-d", "link", "show", "tpt1"]).contains("tun type tap"));
    });
}

#[test]
fn a_dhcp_server_that_died_comes_back() {
    lab(async |lab: &Lab| {
        let part = open_guests(lab).await;
        let file = lab.run_dir().join("dhcp").join(part.id.to_string()).join("pid");
        let pid = || std::fs::read_to_string(&file).unwrap().trim().to_owned();
        let dead = pid();
        run("kill", &["-9", &dead]);
        super::lab::eventually("the end of dnsmasq", || {
            !std::fs::read_to_string(format!("/proc/{dead}/cmdline"))
                .is_ok_and(|line| line.contains("dnsmasq"))
        });
        lab.apply(&[&part]).await;
        assert_ne!(pid(), dead);
    });
}

#[test]
fn a_new_agent_takes_everything_over_without_cutting_a_connection() {
    lab(async |lab: &Lab| {
        let mut part = open_guests(lab).await;
        let mut open = lab.connection("tpt1", "tpt2", SECOND, 80);
        let servers = || run("pgrep", &["-f", lab.run_dir().join("dhcp").to_str().unwrap()]);
        let (links, server) = (lab.host_links(), servers());
        let heir = lab.restarted().await;
        assert_eq!(heir.tap_name(part.ports[1].placement_id).as_deref(), Some("tpt2"));
        heir.apply(&wanted(&[&part])).await.unwrap();
        assert!(flows(&mut open));
        assert_eq!((lab.host_links(), servers()), (links, server));
        part.ports.push(port(&part, 3, &[group_id(1)]));
        heir.apply(&wanted(&[&part])).await.unwrap();
        assert!(flows(&mut open));
        assert_eq!(heir.taps().await.unwrap(), ["tpt1", "tpt2", "tpt3"]);
    });
}

#[test]
fn a_port_that_is_not_local_any_more_loses_its_tap_and_its_rights() {
    lab(async |lab: &Lab| {
        let part = open_guests(lab).await;
        let mut less = wanted(&[&part]);
        less.local.retain(|placement| *placement == part.ports[0].placement_id);
        lab.network.apply(&less).await.unwrap();
        assert_eq!(lab.network.taps().await.unwrap(), ["tpt1"]);
        assert_eq!(lab.network.tap_name(part.ports[1].placement_id), None);
        assert!(!run("nft", &["list", "ruleset"]).contains("tpt2"));
    });
}

#[test]
fn removal_leaves_nothing_behind_from_another_agents_state_too() {
    lab(async |lab: &Lab| {
        let links = lab.host_links();
        let mut part = open_guests(lab).await;
        part.ports[0].public_ip = Some(Ipv4Addr::new(198, 18, 0, 7));
        lab.apply(&[&part]).await;
        lab.restarted().await.apply(&nothing()).await.unwrap();
        lab.network.apply(&nothing()).await.unwrap();
        assert_eq!(lab.host_links(), links);
        assert_eq!(run("nft", &["list", "ruleset"]), "");
        assert!(!run("ip", &["neigh", "show", "proxy"]).contains("198.18"));
        for folder in ["netns", "dhcp"] {
            assert_eq!(std::fs::read_dir(lab.run_dir().join(folder)).unwrap().count(), 0, "{folder}");
        }
        lab.network.apply(&nothing()).await.unwrap();
    });
}

#[test]
fn a_vpc_comes_again_right_after_its_removal() {
    lab(async |lab: &Lab| {
        let mut part = vpc(1);
        part.groups = vec![group(1, &[])];
        part.ports = vec![port(&part, 1, &[group_id(1)])];
        part.nodes.push(VpcNode {
            id: NodeId::from_random(2),
            underlay_address: Ipv4Addr::new(10, 9, 0, 2),
            vtep_mac: MacAddress::from_octets([2, 0, 0, 0, 9, 2]),
        });
        let mut far = port(&part, 2, &[group_id(1)]);
        far.node_id = NodeId::from_random(2);
        far.placement_id = PlacementId::from_random(77);
        part.ports.push(far);
        for _ in 0..3 {
            lab.apply(&[&part]).await;
            let routes = lab.exec(&Lab::router(&part), "ip", &["route"]);
            assert!(routes.contains("172.31.0.12 dev vx0"), "{routes}");
            let peers = lab.exec(&Lab::router(&part), "bridge", &["fdb", "show", "dev", "vx0"]);
            assert!(peers.contains("02:00:00:00:09:02 dst 10.9.0.2"), "{peers}");
            lab.network.apply(&nothing()).await.unwrap();
        }
    });
}

/// The words of all rulesets, whatever their order.
fn filter_words(lab: &Lab, part: &VpcPart) -> Vec<String> {
    let text = run("nft", &["list", "ruleset"]) + &lab.exec(&Lab::router(part), "nft", &["list", "ruleset"]);
    let words = text.split(|c: char| c.is_whitespace() || "{},".contains(c)).filter(|word| !word.is_empty());
    let mut words: Vec<String> = words.map(str::to_owned).collect();
    words.sort();
    words
}

#[test]
fn a_filter_changed_piece_by_piece_is_the_one_made_at_once() {
    lab(async |lab: &Lab| {
        let mut part = open_guests(lab).await;
        let rules = || run("nft", &["-a", "list", "chain", "bridge", "tepui", "from_guest"]);
        let handles = rules();
        part.groups.push(group(2, &[(Protocol::All, Peer::Group(group_id(1)))]));
        part.ports.push(port(&part, 3, &[group_id(1), group_id(2)]));
        part.ports[2].public_ip = Some(Ipv4Addr::new(198, 18, 0, 7));
        lab.apply(&[&part]).await;
        part.ports.remove(0);
        part.ports[1].groups = vec![group_id(2)];
        lab.apply(&[&part]).await;
        assert_eq!(rules(), handles, "what did not change must stand");
        let pieces = filter_words(lab, &part);
        run("nft", &["flush", "ruleset"]);
        lab.exec(&Lab::router(&part), "nft", &["flush", "ruleset"]);
        lab.apply(&[&part]).await;
        assert_eq!(filter_words(lab, &part), pieces);
    });
}

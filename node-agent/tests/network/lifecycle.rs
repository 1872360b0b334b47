use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Instant;

use tepui_agent::network::{Network as _, WantedNetwork};
use tepui_types::agent::{Peer, Protocol, VpcNode, VpcPart, VpcPort};
use tepui_types::{MacAddress, NodeId, PlacementId};

use super::lab::{Lab, anyone, eventually, flows, group, group_id, lab, node, port, run, vpc, wanted};

const SECOND: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 12);
const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 7);

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
fn a_device_that_was_changed_is_named_and_mended() {
    lab(async |lab: &Lab| {
        let mut part = open_guests(lab).await;
        part.ports[0].public_ip = Some(PUBLIC);
        let far = NodeId::from_random(2);
        let vtep_mac = MacAddress::from_octets([2, 0, 0, 0, 9, 2]);
        part.nodes.push(VpcNode { id: far, underlay_address: Ipv4Addr::new(10, 9, 0, 2), vtep_mac });
        part.ports.push(VpcPort { node_id: far, ..port(&part, 3, &[group_id(1)]) });
        let wanted = wanted(&[&part]);
        lab.network.apply(&wanted).await.unwrap();
        let router = Lab::router(&part);
        let (host, inside) = (None, Some(router.as_str()));
        let whole = (listing(lab, host), listing(lab, inside));
        for (place, command, fault) in [
            (host, "link set tpt1 down", "tpt1 is down"),
            (host, "link set tpt1 nomaster", "tpt1 is no port of tpb1"),
            (host, "link set dev tpt1 type bridge_slave isolated off", "tpt1 is not isolated"),
            (host, "link set tpr1 down", "tpr1 is down"),
            (host, "link set tpb1 down", "tpb1 is down"),
            (host, "link set tpu1 down", "tpu1 is down"),
            (host, "address flush dev tpu1", "tpu1 has lost 100.64.0.2/31"),
            (inside, "address flush dev sub1", "sub1 has lost 172.31.0.1/20"),
            (inside, "address flush dev up0", "up0 has lost 100.64.0.3/31"),
            (inside, "address del 169.254.169.254/32 dev lo", "lo has lost 169.254.169.254/32"),
            (inside, "link set lo down", "lo is down"),
            (inside, "link set sub1 down", "sub1 is down"),
            (inside, "link set up0 down", "up0 is down"),
            (inside, "link set vx0 down", "vx0 is down"),
            (inside, "link set sub1 address 02:00:00:00:00:99", "sub1 has the MAC address 02:00:00:00:00:99"),
            (inside, "link set up0 address 02:00:00:00:00:99", "up0 has the MAC address 02:00:00:00:00:99"),
            (inside, "link set vx0 address 02:00:00:00:00:99", "vx0 has the MAC address 02:00:00:00:00:99"),
        ] {
            assert_eq!(lab.network.faults(&wanted).await.unwrap(), [""; 0], "before {command}");
            let words: Vec<&str> = command.split(' ').collect();
            let _ = place.map_or_else(|| run("ip", &words), |place| lab.exec(place, "ip", &words));
            let told = lab.restarted().await.faults(&wanted).await.unwrap().join("; ");
            assert!(told.contains(fault), "{command}: {told}");
            lab.network.apply(&wanted).await.unwrap();
            // The kernel tells a device's operational state, and what hangs on it, up to a second later.
            eventually(command, || (listing(lab, host), listing(lab, inside)) == whole);
            assert!(lab.connects("tpt1", "tpt2", SECOND, 80), "{command}");
            assert!(lab.connects("outside", "tpt1", PUBLIC, 80), "{command}");
        }
    });
}

/// Devices, addresses, routes, permanent neighbours and bridge ports, as far as they are anybody's will.
fn listing(lab: &Lab, place: Option<&str>) -> BTreeSet<String> {
    let tell = |arguments: &[&str]| match place {
        Some(place) => lab.exec(place, arguments[0], &arguments[1..]),
        None => run(arguments[0], &arguments[1..]),
    };
    let all = [
        tell(&["ip", "-br", "-4", "address"]),
        tell(&["ip", "route"]),
        tell(&["ip", "neigh", "show", "nud", "permanent"]),
        tell(&["bridge", "-d", "link"])
            .replace("state disabled", "state forwarding")
            .replace("NO-CARRIER,", ""),
        tell(&["bridge", "fdb", "show", "state", "static"]),
    ];
    all.iter().flat_map(|text| text.lines()).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn a_dhcp_server_that_died_comes_back() {
    lab(async |lab: &Lab| {
        let part = open_guests(lab).await;
        let file = lab.run_dir().join("dhcp").join(part.id.to_string()).join("pid");
        let pid = || std::fs::read_to_string(&file).unwrap().trim().to_owned();
        let dead = pid();
        super::lab::kill(&dead);
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
fn an_agent_whose_file_of_numbers_is_damaged_or_gone_takes_everything_over_all_the_same() {
    lab(async |lab: &Lab| {
        let mut first = vpc(1);
        first.groups = vec![group(1, &[])];
        first.ports = vec![port(&first, 1, &[group_id(1)])];
        lab.apply(&[&first]).await;
        let mut part = vpc(2);
        part.groups = vec![group(1, &[(Protocol::All, anyone())])];
        part.ports = vec![port(&part, 2, &[group_id(1)]), port(&part, 3, &[group_id(1)])];
        part.ports[1].private_ip = SECOND;
        part.ports[1].public_ip = Some(PUBLIC);
        part.ports[0].private_ip = Ipv4Addr::new(172, 31, 0, 11);
        lab.guest("tpt2", &part.ports[0]);
        lab.guest("tpt3", &part.ports[1]);
        lab.apply(&[&first, &part]).await;
        // What is wanted now would be numbered from 1 again.
        lab.apply(&[&part]).await;
        let mut open = lab.connection("tpt2", "tpt3", SECOND, 80);
        let (links, file) = (lab.host_links(), lab.state_file());
        let whole = std::fs::read(&file).unwrap();
        let damages: [&dyn Fn(); 3] = [
            &|| std::fs::write(&file, "").unwrap(),
            &|| std::fs::write(&file, &whole[..whole.len() / 2]).unwrap(),
            &|| std::fs::remove_file(&file).unwrap(),
        ];
        for (number, damage) in damages.iter().enumerate() {
            damage();
            let heir = lab.restarted().await;
            assert_eq!(heir.faults(&wanted(&[&part])).await.unwrap(), [""; 0], "damage {number}");
            heir.apply(&wanted(&[&part])).await.unwrap();
            assert!(flows(&mut open), "damage {number}");
            assert_eq!(lab.host_links(), links, "damage {number}");
            assert_eq!(heir.tap_name(part.ports[1].placement_id).as_deref(), Some("tpt3"));
            assert_eq!(std::fs::read(&file).unwrap(), whole, "damage {number}");
        }
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

//! Addresses that pass from one guest or host to another.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, UdpSocket};

use tepui_agent::network::Network as _;
use tepui_types::agent::{Protocol, VpcNode, VpcPart, VpcPort};
use tepui_types::{MacAddress, NodeId};

use super::lab::{
    HOST, LONG, Lab, NEIGHBOUR, OUTSIDE, SHORT, anyone, flows, group, group_id, lab, port, run, vpc, wanted,
};

const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 7);
const FIRST: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 11);

/// Guests 1 and 2, who may all; the first has the public address.
async fn open_guests(lab: &Lab) -> VpcPart {
    let mut part = vpc(1);
    part.groups = vec![group(1, &[(Protocol::All, anyone())]), group(2, &[])];
    part.ports = vec![port(&part, 1, &[group_id(1)]), port(&part, 2, &[group_id(1)])];
    part.ports[0].public_ip = Some(PUBLIC);
    lab.guest("tpt1", &part.ports[0]);
    lab.guest("tpt2", &part.ports[1]);
    lab.apply(&[&part]).await;
    part
}

#[test]
fn a_public_address_is_announced_where_it_comes() {
    lab(async |lab: &Lab| {
        let mut part = open_guests(lab).await;
        let links: serde_json::Value =
            serde_json::from_str(&run("ip", &["-j", "link", "show", "eth0"])).unwrap();
        let mac = links[0]["address"].as_str().unwrap();
        let elsewhere = [
            "neigh",
            "replace",
            "198.18.0.7",
            "lladdr",
            "02:00:00:00:00:99",
            "dev",
            "out0",
            "nud",
            "reachable",
        ];
        let is_here = || lab.exec("outside", "ip", &["neigh", "show", "198.18.0.7"]).contains(mac);
        part.ports[0].public_ip = None;
        lab.apply(&[&part]).await;
        lab.exec("outside", "ip", &elsewhere);
        part.ports[1].public_ip = Some(PUBLIC);
        lab.apply(&[&part]).await;
        super::lab::eventually("the neighbour hears of the address", is_here);
        lab.exec("outside", "ip", &elsewhere);
        lab.apply(&[&part]).await;
        assert!(!is_here(), "it was announced again without a reason");
        lab.restarted().await.apply(&wanted(&[&part])).await.unwrap();
        super::lab::eventually("a new agent announces it", is_here);
    });
}

#[test]
fn the_address_of_a_host_is_no_guests_public_one() {
    lab(async |lab: &Lab| {
        let mut part = open_guests(lab).await;
        part.nodes.push(VpcNode {
            id: NodeId::from_random(2),
            underlay_address: NEIGHBOUR,
            ..part.nodes[0].clone()
        });
        for host in [HOST, NEIGHBOUR] {
            part.ports[1].public_ip = Some(host);
            let error = lab.network.apply(&wanted(&[&part])).await.unwrap_err();
            assert!(format!("{error}").contains(&format!("give {host} to eni-")), "{error}");
        }
        part.ports[1].public_ip = None;
        lab.apply(&[&part]).await;
    });
}

#[test]
fn an_address_is_announced_once_its_uplink_is_up() {
    lab(async |lab: &Lab| {
        let mut part = open_guests(lab).await;
        run("ip", &["link", "set", "eth0", "down"]);
        part.ports[0].public_ip = Some(Ipv4Addr::new(198, 18, 0, 8));
        lab.apply(&[&part]).await;
        run("ip", &["link", "set", "eth0", "up"]);
        lab.exec(
            "outside",
            "ip",
            &[
                "neigh",
                "replace",
                "198.18.0.8",
                "lladdr",
                "02:00:00:00:00:99",
                "dev",
                "out0",
                "nud",
                "reachable",
            ],
        );
        lab.apply(&[&part]).await;
        super::lab::eventually("the neighbour hears of the address", || {
            !lab.exec("outside", "ip", &["neigh", "show", "198.18.0.8"]).contains("02:00:00:00:00:99")
        });
    });
}

#[test]
fn a_public_address_that_moves_takes_no_flow_of_its_last_guest_along() {
    lab(async |lab: &Lab| {
        let mut part = open_guests(lab).await;
        assert!(lab.datagram_arrives("outside", 5000, "tpt1", PUBLIC));
        let mut inner = lab.connection("tpt2", "tpt1", FIRST, 80);
        let mut old = lab.connection("tpt1", "outside", OUTSIDE, 8080);
        assert!(flows(&mut old));
        (part.ports[0].public_ip, part.ports[1].public_ip) = (None, Some(PUBLIC));
        lab.apply(&[&part]).await;
        assert!(lab.datagram_arrives("outside", 5000, "tpt2", PUBLIC), "the new guest gets what is for it");
        old.0.write_all(b"!").unwrap();
        old.1.set_read_timeout(Some(SHORT)).unwrap();
        assert!(old.1.read_exact(&mut [0]).is_err(), "the old guest still speaks in its name");
        assert!(flows(&mut inner), "a flow between private addresses");
    });
}

/// A datagram and its answer: only then the flow is an established one.
fn answered(lab: &Lab, from: &str, source: u16, to: &str, address: Ipv4Addr) {
    let socket = |port| move || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    let (receiver, sender) = (lab.inside(to, socket(7000)), lab.inside(from, socket(source)));
    receiver.set_read_timeout(Some(LONG)).unwrap();
    sender.set_read_timeout(Some(LONG)).unwrap();
    sender.send_to(b"x", (address, 7000)).unwrap();
    let (_, asker) = receiver.recv_from(&mut [0; 8]).unwrap();
    receiver.send_to(b"y", asker).unwrap();
    sender.recv(&mut [0; 8]).unwrap();
}

#[test]
fn a_guest_with_the_private_address_of_a_gone_one_inherits_no_flow() {
    lab(async |lab: &Lab| {
        let mut part = open_guests(lab).await;
        for (number, agent) in [(3, "the same agent"), (4, "a new agent")] {
            part.ports[0].groups = vec![group_id(1)];
            lab.apply(&[&part]).await;
            let mut others = lab.connection("tpt2", "outside", OUTSIDE, 8080);
            answered(lab, "tpt2", 5000, "tpt1", FIRST);
            let mut heir = port(&part, number, &[group_id(2)]);
            heir.private_ip = FIRST;
            lab.exec("tpt1", "ip", &["link", "set", "eth0", "address", &heir.mac.to_string()]);
            part.ports[0] = heir;
            if number == 3 {
                lab.apply(&[&part]).await;
            } else {
                lab.restarted().await.apply(&wanted(&[&part])).await.unwrap();
            }
            assert_eq!(lab.restarted().await.tap_name(part.ports[0].placement_id).as_deref(), Some("tpt1"));
            assert!(!lab.datagram_arrives("tpt2", 5000, "tpt1", FIRST), "{agent}");
            assert!(flows(&mut others), "{agent}: a flow of another guest");
        }
    });
}

/// Whether a flow with this port is known in a namespace, or on the host.
fn is_tracked(lab: &Lab, place: Option<&str>, port: u16) -> bool {
    let flows = match place {
        Some(namespace) => lab.exec(namespace, "cat", &["/proc/net/nf_conntrack"]),
        None => run("cat", &["/proc/net/nf_conntrack"]),
    };
    flows.contains(&format!("sport={port} "))
}

#[test]
fn an_agent_that_died_half_way_through_a_change_of_owner_leaves_the_next_one_to_end_the_flows() {
    lab(async |lab: &Lab| {
        let mut part = open_guests(lab).await;
        answered(lab, "tpt2", 5000, "tpt1", FIRST);
        let mut heir = port(&part, 3, &[group_id(2)]);
        heir.private_ip = FIRST;
        lab.exec("tpt1", "ip", &["link", "set", "eth0", "address", &heir.mac.to_string()]);
        // This far the dead one came: the router knows the heir.
        let (address, mac) = (FIRST.to_string(), heir.mac.to_string());
        let known = ["neigh", "replace", &address, "lladdr", &mac, "dev", "sub1", "nud", "permanent"];
        lab.exec(&Lab::router(&part), "ip", &known);
        part.ports[0] = heir;
        lab.restarted().await.apply(&wanted(&[&part])).await.unwrap();
        assert!(!lab.datagram_arrives("tpt2", 5000, "tpt1", FIRST));
    });
}

#[test]
fn flows_of_an_address_that_passed_between_other_hosts_while_no_agent_was_there_end() {
    lab(async |lab: &Lab| {
        let mut part = open_guests(lab).await;
        let peer = NodeId::from_random(2);
        let node =
            VpcNode { id: peer, underlay_address: Ipv4Addr::new(10, 9, 0, 2), ..part.nodes[0].clone() };
        part.nodes.push(VpcNode { vtep_mac: MacAddress::from_octets([2, 0, 0, 0, 9, 2]), ..node });
        let remote = |part: &VpcPart, number| VpcPort { node_id: peer, ..port(part, number, &[group_id(2)]) };
        part.ports.extend([remote(&part, 3), remote(&part, 4)]);
        lab.apply(&[&part]).await;
        let send = |source: u16, to| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, source)).unwrap();
            socket.send_to(b"x", (to, 7000)).unwrap();
        };
        lab.inside("tpt1", || send(5003, part.ports[2].private_ip));
        lab.inside("tpt1", || send(5004, part.ports[3].private_ip));
        let router = Lab::router(&part);
        super::lab::eventually("both flows", || {
            [5003, 5004].iter().all(|p| is_tracked(lab, Some(&router), *p))
        });
        part.ports[2] = VpcPort { private_ip: part.ports[2].private_ip, ..remote(&part, 5) };
        lab.restarted().await.apply(&wanted(&[&part])).await.unwrap();
        assert!(!is_tracked(lab, Some(&router), 5003), "another guest has the address");
        assert!(is_tracked(lab, Some(&router), 5004), "a flow of another guest");
    });
}

#[test]
fn the_host_forgets_the_flows_of_a_public_address_that_passes_between_its_vpcs() {
    lab(async |lab: &Lab| {
        let mut one = open_guests(lab).await;
        let mut two = vpc(2);
        two.groups = one.groups.clone();
        two.ports = vec![port(&two, 3, &[group_id(1)])];
        lab.guest("tpt3", &two.ports[0]);
        lab.apply(&[&one, &two]).await;
        for agent in ["the same agent", "a new agent"] {
            answered(lab, "outside", 5000, "tpt1", PUBLIC);
            (one.ports[0].public_ip, two.ports[0].public_ip) = (None, Some(PUBLIC));
            if agent == "a new agent" {
                lab.restarted().await.apply(&wanted(&[&one, &two])).await.unwrap();
            } else {
                lab.apply(&[&one, &two]).await;
            }
            assert!(!is_tracked(lab, None, 5000), "{agent}");
            let bound = |port| move || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
            let (heir, asker) = (lab.inside("tpt3", bound(7000)), lab.inside("outside", bound(5000)));
            asker.set_read_timeout(Some(SHORT)).unwrap();
            heir.send_to(b"x", (NEIGHBOUR, 5000)).unwrap();
            assert!(asker.recv(&mut [0; 8]).is_err(), "{agent}: the heir reaches the hosts' own network");
            (one.ports[0].public_ip, two.ports[0].public_ip) = (Some(PUBLIC), None);
            lab.apply(&[&one, &two]).await;
        }
    });
}

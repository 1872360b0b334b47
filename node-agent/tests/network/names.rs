//! Names of others, asked for by guests.

use std::net::{Ipv4Addr, TcpStream, UdpSocket};

use tepui_agent::network::{Network as _, WantedNetwork};
use tepui_types::agent::VpcPart;

use super::lab::{Lab, NEIGHBOUR, SHORT, eventually, group, group_id, kill, lab, node, port, vpc};

const OF_HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OF_NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// A guest on a host with a name server of its own and one beside it.
async fn guest(lab: &Lab, resolv_conf: &str) -> VpcPart {
    lab.name_server("host", Ipv4Addr::LOCALHOST, OF_HOST);
    lab.name_server("outside", NEIGHBOUR, OF_NEIGHBOUR);
    lab.resolv_conf(resolv_conf);
    let mut part = vpc(1);
    part.groups = vec![group(1, &[])];
    part.ports = vec![port(&part, 1, &[group_id(1)])];
    lab.guest("tpt1", &part.ports[0]);
    lab.apply(&[&part]).await;
    part
}

fn look_up(lab: &Lab) -> String {
    lab.try_exec("tpt1", "busybox", &["nslookup", "-type=a", "example.test", "172.31.0.1"]).1
}

fn answers(lab: &Lab, address: Ipv4Addr) {
    eventually(&format!("the answer {address}"), || look_up(lab).contains(&format!("Address: {address}")));
}

#[test]
fn a_host_whose_name_server_is_on_loopback_asks_it_for_its_guests() {
    lab(async |lab: &Lab| {
        let part = guest(lab, "nameserver 127.0.0.1\n").await;
        answers(lab, OF_HOST);
        let mut second = vpc(2);
        second.groups = vec![group(1, &[])];
        second.ports = vec![port(&second, 2, &[group_id(1)])];
        lab.guest("tpt2", &second.ports[0]);
        lab.apply(&[&part, &second]).await;
        eventually("the answer in a VPC that came later", || {
            let look_up = ["nslookup", "-type=a", "example.test", "172.31.0.1"];
            lab.try_exec("tpt2", "busybox", &look_up).1.contains(&format!("Address: {OF_HOST}"))
        });
    });
}

#[test]
fn a_host_that_names_no_server_asks_its_own_for_its_guests() {
    lab(async |lab: &Lab| {
        guest(lab, "search example.test\n").await;
        answers(lab, OF_HOST);
    });
}

#[test]
fn another_resolver_of_the_host_is_the_guests_too_and_nothing_is_left_behind() {
    lab(async |lab: &Lab| {
        let part = guest(lab, &format!("nameserver {NEIGHBOUR}\n")).await;
        answers(lab, OF_NEIGHBOUR);
        lab.resolv_conf("nameserver 127.0.0.1\n");
        answers(lab, OF_HOST);
        let pid = std::fs::read_to_string(lab.run_dir().join("resolver/pid")).unwrap();
        kill(pid.trim());
        lab.apply(&[&part]).await;
        answers(lab, OF_HOST);
        lab.resolv_conf("");
        lab.apply(&[&part]).await;
        answers(lab, OF_HOST);
        lab.resolv_conf(&format!("nameserver {NEIGHBOUR}\n"));
        lab.apply(&[&part]).await;
        answers(lab, OF_NEIGHBOUR);
        let nothing = WantedNetwork { node_id: node(), vpcs: Vec::new(), local: Vec::new() };
        lab.network.apply(&nothing).await.unwrap();
        assert!(!lab.run_dir().join("resolver").exists());
    });
}

/// Asks for `example.test` from a namespace; whether anybody answers, over UDP or TCP.
fn is_answered(lab: &Lab, from: &str, server: Ipv4Addr, port: u16) -> bool {
    const QUESTION: &[u8] =
        b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x04test\x00\x00\x01\x00\x01";
    lab.inside(from, || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.set_read_timeout(Some(SHORT)).unwrap();
        let is_sent = socket.send_to(QUESTION, (server, port)).is_ok();
        let by_udp = is_sent && socket.recv(&mut [0; 512]).is_ok();
        by_udp || TcpStream::connect_timeout(&(server, port).into(), SHORT).is_ok()
    })
}

#[test]
fn a_guest_reaches_the_resolver_of_its_vpc_and_no_other() {
    lab(async |lab: &Lab| {
        let one = guest(lab, &format!("nameserver {NEIGHBOUR}\n")).await;
        let mut two = vpc(2);
        two.groups = vec![group(1, &[])];
        two.ports = vec![port(&two, 2, &[group_id(1)])];
        lab.guest("tpt2", &two.ports[0]);
        lab.apply(&[&one, &two]).await;
        let ways = [1, 2].map(|vpc: u8| Ipv4Addr::new(100, 64, 0, 2 * vpc));
        let gateway = one.subnets[0].gateway;
        let outsides = format!("{}/32", ways[0]);
        lab.exec("outside", "ip", &["route", "add", &outsides, "via", &super::lab::HOST.to_string()]);
        for (from, server, port) in [
            ("tpt1", gateway, 53),
            (&Lab::router(&one), ways[0], 1053),
            (&Lab::router(&two), ways[1], 1053),
            ("outside", NEIGHBOUR, 53),
        ] {
            assert!(is_answered(lab, from, server, port), "{from} to {server}:{port}");
        }
        let of_router = Ipv4Addr::new(100, 64, 0, 3);
        for (from, server, port) in [
            ("tpt1", ways[0], 1053),
            ("tpt2", ways[0], 1053),
            ("tpt1", ways[1], 1053),
            ("tpt1", NEIGHBOUR, 53),
            ("tpt1", super::lab::HOST, 53),
            ("tpt1", super::lab::HOST, 1053),
            ("tpt1", of_router, 53),
            ("tpt1", Ipv4Addr::new(169, 254, 169, 254), 53),
            (&Lab::router(&one), ways[1], 1053),
            (&Lab::router(&one), NEIGHBOUR, 53),
            ("outside", ways[0], 1053),
        ] {
            assert!(!is_answered(lab, from, server, port), "{from} to {server}:{port}");
        }
    });
}

#[test]
fn a_server_whose_pid_file_is_torn_is_found_again() {
    lab(async |lab: &Lab| {
        let part = guest(lab, "nameserver 127.0.0.1\n").await;
        for file in ["resolver/pid".to_owned(), format!("dhcp/{}/pid", part.id)] {
            let path = lab.run_dir().join(file);
            let pid = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, "").unwrap();
            let mut more = part.clone();
            more.ports.push(port(&part, 2, &[group_id(1)]));
            lab.restarted().await.apply(&super::lab::wanted(&[&more])).await.unwrap();
            answers(lab, OF_HOST);
            std::fs::write(&path, pid).unwrap();
        }
    });
}

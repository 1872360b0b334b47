//! Names of others, asked for by guests.

use std::net::Ipv4Addr;

use tepui_agent::network::{Network as _, WantedNetwork};
use tepui_types::agent::VpcPart;

use super::lab::{Lab, NEIGHBOUR, eventually, group, group_id, kill, lab, node, port, vpc};

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
fn another_resolver_of_the_host_is_the_guests_at_the_next_look_and_leaves_nothing_behind() {
    lab(async |lab: &Lab| {
        let part = guest(lab, &format!("nameserver {NEIGHBOUR}\n")).await;
        answers(lab, OF_NEIGHBOUR);
        assert!(!lab.run_dir().join("resolver").exists());
        lab.resolv_conf("nameserver 127.0.0.1\n");
        lab.apply(&[&part]).await;
        answers(lab, OF_HOST);
        let pid = std::fs::read_to_string(lab.run_dir().join("resolver/pid")).unwrap();
        kill(pid.trim());
        lab.apply(&[&part]).await;
        answers(lab, OF_HOST);
        lab.resolv_conf(&format!("nameserver {NEIGHBOUR}\n"));
        lab.apply(&[&part]).await;
        answers(lab, OF_NEIGHBOUR);
        assert!(!lab.run_dir().join("resolver").exists());
        lab.resolv_conf("nameserver 127.0.0.1\n");
        lab.apply(&[&part]).await;
        let nothing = WantedNetwork { node_id: node(), vpcs: Vec::new(), local: Vec::new() };
        lab.network.apply(&nothing).await.unwrap();
        assert!(!lab.run_dir().join("resolver").exists());
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

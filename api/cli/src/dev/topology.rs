//! The network between the hosts, and the machine's way to it.

use std::fs;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, setns};

use super::names::{Addresses, NETNS, Names};
use super::shared;
use super::tools::{ensure_netns, finish, has_link, ip, ip_in};
use crate::failure::{Failure, Result};

/// The port of the agents' listener.
pub(super) const AGENTS_PORT: u16 = 8774;

/// Of the bridge between the hosts, locally administered; each cloud's is alone in its namespace.
const BRIDGE_MAC: &str = "02:74:70:64:00:01";

/// A number for the cloud's networks that no other on this machine has.
pub(super) fn free_network(names: &Names) -> Result<u8> {
    let taken = ip("-o -4 address")? + &ip("-4 route")?;
    let from_first = (names.first_network()..=254).chain(1..names.first_network());
    let is_free = |network: &u8| {
        [format!("10.213.{network}."), format!("198.18.{network}.")].iter().all(|net| !taken.contains(net))
    };
    let none = || Failure::failed("all networks 10.213.1.0/24 to 10.213.254.0/24 are in use");
    from_first.into_iter().find(is_free).ok_or_else(none)
}

/// Makes the underlay and the way to it.
pub(super) fn ensure(names: &Names, addresses: Addresses) -> Result<()> {
    let underlay = names.underlay();
    ensure_netns(&underlay)?;
    if !has_link(&underlay, "ul0") {
        // Left alone a bridge takes the lowest address of its ports: each new host might change it, and
        // those before would send to the old one for most of a minute.
        ip_in(
            &underlay,
            &format!("link add ul0 address {BRIDGE_MAC} type bridge stp_state 0 forward_delay 0"),
        )?;
    }
    ip_in(&underlay, &format!("address replace {}/24 dev ul0", addresses.api()))?;
    ip_in(&underlay, "link set ul0 up")?;
    let device = names.device();
    if ip(&format!("link show {device}")).is_err() {
        ip(&format!("link add {device} type veth peer name out0 netns {underlay}"))?;
    }
    ip_in(&underlay, "link set out0 master ul0 up")?;
    ip(&format!("address replace {}/24 dev {device}", addresses.machine()))?;
    ip(&format!("link set {device} up"))?;
    ip(&format!("route replace {} dev {device}", addresses.public_pool()))?;
    shared::ensure_forwarding()?;
    ensure_filter(names, addresses)
}

/// Guests get out by the machine's address, and reach nothing of the machine itself.
fn ensure_filter(names: &Names, addresses: Addresses) -> Result<()> {
    let (table, device) = (names.table(), names.device());
    let (underlay, pool) = (addresses.underlay(), addresses.public_pool());
    nft(&format!(
        "add table inet {table}\n\
         delete table inet {table}\n\
         table inet {table} {{\n\
           chain input {{\n\
             type filter hook input priority 0; policy accept;\n\
             iifname \"{device}\" ct state established,related accept\n\
             iifname \"{device}\" meta l4proto != icmp drop\n\
           }}\n\
           chain postrouting {{\n\
             type nat hook postrouting priority 100; policy accept;\n\
             ip saddr {{ {underlay}, {pool} }} oifname != \"{device}\" masquerade\n\
           }}\n\
         }}\n"
    ))
}

fn nft(text: &str) -> Result<()> {
    let mut command = Command::new("nft");
    let input = tempfile::tempfile().and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        io::Seek::rewind(&mut file)?;
        Ok(file)
    });
    let input = input.map_err(|e| Failure::io("a temporary file", &e))?;
    finish(command.args(["-f", "-"]).stdin(Stdio::from(input))).map(drop)
}

/// Puts a host on the underlay.
pub(super) fn ensure_node(names: &Names, addresses: Addresses, number: u16) -> Result<()> {
    let (underlay, node) = (names.underlay(), names.node(number));
    ensure_netns(&node)?;
    let port = format!("n{number}");
    if !has_link(&node, "eth0") {
        let _ = ip_in(&underlay, &format!("link del {port}"));
        ip_in(&underlay, &format!("link add {port} type veth peer name eth0 netns {node}"))?;
    }
    ip_in(&underlay, &format!("link set {port} master ul0 up"))?;
    ip_in(&node, &format!("address replace {}/24 dev eth0", addresses.node(number)))?;
    ip_in(&node, "link set eth0 up")?;
    ip_in(&node, &format!("route replace default via {}", addresses.machine())).map(drop)
}

/// A socket for the agents, bound inside the underlay: nothing listens on an address of the machine.
pub(super) fn agents_socket(names: &Names, addresses: Addresses) -> Result<OwnedFd> {
    let path = Path::new(NETNS).join(names.underlay());
    let bind = move || -> io::Result<OwnedFd> {
        setns(fs::File::open(path)?.as_fd(), CloneFlags::CLONE_NEWNET)?;
        Ok(TcpListener::bind((addresses.api(), AGENTS_PORT))?.into())
    };
    // On a thread of its own: the namespace must not stay with this one.
    let bound = std::thread::spawn(bind).join().map_err(|_| Failure::failed("a thread panicked"))?;
    bound.map_err(|e| Failure::io(format!("listening on {}:{AGENTS_PORT}", addresses.api()), &e))
}

/// Removes everything but mounts and files. What is gone already is no failure.
pub(super) fn remove(names: &Names) -> Result<()> {
    let _ = ip(&format!("link del {}", names.device()));
    let _ = finish(Command::new("nft").args(["delete", "table", "inet", &names.table()]));
    let namespaces = fs::read_dir(NETNS).into_iter().flatten().filter_map(io::Result::ok);
    let ours = namespaces.filter_map(|entry| entry.file_name().into_string().ok());
    for namespace in ours.filter(|name| name.starts_with(&names.namespace_prefix())) {
        ip(&format!("netns del {namespace}"))?;
    }
    Ok(())
}

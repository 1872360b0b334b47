//! The network between the hosts and the control plane, with faults.
//!
//! Every host has a port on one bridge, so that a rule on the port meets all that the host sends or
//! receives. The kernel of a test machine may have no netem: there is loss, and delay only by [`Host::slow_down`].

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use crate::process::feed;
use crate::{Cloud, Host};

/// What happens to a host's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// None gets through.
    Cut,
    /// None that it sends gets through.
    Mute,
    /// None reaches it.
    Deaf,
    /// So many of a hundred are lost, each way.
    Loss(u8),
    /// None gets through between it and the control plane; to other hosts it is as before.
    Orphaned,
}

/// The underlay of a cloud with libvirt. It stays as it is when this is dropped.
#[derive(Debug)]
pub struct Underlay {
    namespace: String,
    control_plane: SocketAddrV4,
    faults: BTreeMap<u16, Fault>,
}

impl Cloud {
    /// The network between the hosts.
    #[track_caller]
    pub fn underlay(&self) -> Underlay {
        let first = self.host(1);
        let namespace = format!("{}-ul", first.network().trim_end_matches("-n1"));
        Underlay { namespace, control_plane: first.control_plane(), faults: BTreeMap::new() }
    }
}

impl Underlay {
    /// From now on the host has this fault instead of the one before.
    #[track_caller]
    pub fn inject(&mut self, host: &Host, fault: Fault) {
        self.faults.insert(host.number(), fault);
        self.apply();
    }

    /// Every fault ends.
    #[track_caller]
    pub fn heal(&mut self) {
        self.faults.clear();
        self.apply();
    }

    #[track_caller]
    fn apply(&self) {
        let sent = self.rules("iifname", |fault| fault != Fault::Deaf);
        let received = self.rules("oifname", |fault| fault != Fault::Mute);
        let table = format!(
            "add table bridge faults\n\
             delete table bridge faults\n\
             table bridge faults {{\n\
               chain sent {{\n\
                 type filter hook prerouting priority -400; policy accept;\n\
                 {sent}\
               }}\n\
               chain received {{\n\
                 type filter hook postrouting priority 400; policy accept;\n\
                 {received}\
               }}\n\
             }}\n"
        );
        feed("ip", &["netns", "exec", &self.namespace, "nft", "-f", "-"], &table).ok();
    }

    /// A rule for each host with a fault that `meets` this side of its port.
    fn rules(&self, port: &str, meets: impl Fn(Fault) -> bool) -> String {
        let rule = |(host, fault): (&u16, &Fault)| match fault {
            Fault::Loss(percent) => format!("{port} \"n{host}\" numgen random mod 100 < {percent} drop\n"),
            Fault::Orphaned => {
                let (address, its) = (self.control_plane.ip(), self.control_plane.port());
                let (far, end) = if port == "iifname" { ("daddr", "dport") } else { ("saddr", "sport") };
                format!("{port} \"n{host}\" ip {far} {address} tcp {end} {its} drop\n")
            }
            Fault::Cut | Fault::Mute | Fault::Deaf => format!("{port} \"n{host}\" drop\n"),
        };
        self.faults.iter().filter(|(_, fault)| meets(**fault)).map(rule).collect()
    }
}

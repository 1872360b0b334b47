//! One dnsmasq for each router: addresses and names for the VPC's guests. It is a process of its own
//! that outlives the agent; its files say what it serves, so the next agent takes it over.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use tepui_types::agent::{VpcPart, VpcPort};

use super::dnsmasq::Dnsmasq;
use super::error::file;
use super::names::subnet_device;
use super::namespace::Namespace;
use super::router_filter::METADATA_ADDRESS;
use super::{GUEST_MTU, NetworkError};

/// Seconds a guest may use its address before it asks again.
const LEASE_SECONDS: u32 = 3600;
/// The server of one VPC, by the folder of its files.
#[derive(Debug)]
pub(super) struct Dhcp {
    server: Dnsmasq,
}

/// What the server's files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DhcpFiles {
    config: String,
    leases: String,
    names: String,
}

impl Dhcp {
    /// The server whose files are in `folder`.
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self { server: Dnsmasq::new(folder) }
    }

    /// The files for a VPC; subnets come with their device numbers. `upstream` are the configuration's lines
    /// that say who is asked for names of others.
    pub(super) fn files(
        &self,
        part: &VpcPart,
        subnets: &[(u32, Ipv4Net, Ipv4Addr)],
        local: &[&VpcPort],
        upstream: &str,
    ) -> DhcpFiles {
        let mut config = self.fixed_config(&part.domain) + upstream;
        for (number, cidr, gateway) in subnets {
            let (device, net, mask) = (subnet_device(*number), cidr.network(), cidr.netmask());
            let _ = write!(
                config,
                "interface={device}\n\
                 dhcp-range=set:{device},{net},static,{mask},{LEASE_SECONDS}\n\
                 dhcp-option=tag:{device},option:router,{gateway}\n\
                 dhcp-option=tag:{device},option:classless-static-route,\
                 {METADATA_ADDRESS}/32,{gateway},0.0.0.0/0,{gateway}\n"
            );
        }
        DhcpFiles { config, leases: lease_lines(local), names: name_lines(part) }
    }

    /// Answers are broadcast: to send one to a guest that has no address yet, dnsmasq would make the guest a
    /// neighbour itself, and the kernel's table has one place for that and the permanent neighbour.
    fn fixed_config(&self, domain: &str) -> String {
        let path = |name| self.server.path(name).display().to_string();
        format!(
            "bind-interfaces\nexcept-interface=lo\nno-hosts\nquiet-dhcp\n\
             dhcp-authoritative\ndhcp-broadcast\ndhcp-ignore=tag:!known\ndhcp-option=option:mtu,{GUEST_MTU}\n\
             domain={domain}\nlocal=/{domain}/\n\
             dhcp-hostsfile={}\naddn-hosts={}\ndhcp-leasefile={}\n{}",
            path("hosts"),
            path("names"),
            path("leases"),
            self.server.own_files(),
        )
    }

    /// Whether the server runs.
    pub(super) fn runs(&self) -> bool {
        self.server.runs()
    }

    /// In what it differs from a server that runs with these guests and names.
    pub(super) fn faults(&self, part: &VpcPart, local: &[&VpcPort]) -> Vec<String> {
        let is = |name, wanted: String| {
            fs::read_to_string(self.server.path(name)).is_ok_and(|found| found == wanted)
        };
        let told = [
            (!self.runs(), "its DHCP server does not run"),
            (!is("hosts", lease_lines(local)), "its DHCP server has other guests than are here"),
            (!is("names", name_lines(part)), "its DHCP server has other names than the VPC"),
        ];
        told.into_iter().filter(|(is_so, _)| *is_so).map(|(_, what)| what.to_owned()).collect()
    }

    /// Makes the server run with these files.
    pub(super) async fn ensure(&self, inside: &Namespace, files: &DhcpFiles) -> Result<(), NetworkError> {
        let must_restart =
            self.server.write("config", &files.config)? || self.gives_away_a_lease(&files.leases);
        let mut must_reload = self.server.write("hosts", &files.leases)?;
        must_reload |= self.server.write("names", &files.names)?;
        match (self.server.runs(), must_restart, must_reload) {
            (true, true, _) => {
                self.server.stop().await?;
                self.start(inside).await
            }
            (true, false, true) => self.server.reload(),
            (true, false, false) => Ok(()),
            (false, _, _) => self.start(inside).await,
        }
    }

    /// Ends the server and removes its files.
    pub(super) async fn remove(&self) -> Result<(), NetworkError> {
        self.server.remove().await
    }

    /// dnsmasq keeps an address for the guest that had it last, for up to an hour; a new guest with
    /// the same address would get none.
    fn gives_away_a_lease(&self, wanted: &str) -> bool {
        let held = fs::read_to_string(self.server.path("leases")).unwrap_or_default();
        held.lines().any(|lease| {
            let mut words = lease.split_whitespace().skip(1);
            let (mac, address) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            wanted.lines().any(|line| {
                let mut fields = line.split(',');
                fields.next() != Some(mac) && fields.next() == Some(address)
            })
        })
    }

    async fn start(&self, inside: &Namespace) -> Result<(), NetworkError> {
        // Static addresses need no memory; see `gives_away_a_lease`.
        let leases = self.server.path("leases");
        if let Err(error) = fs::remove_file(&leases)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(file(&leases)(error));
        }
        self.server.start(inside).await
    }
}

fn lease_lines(local: &[&VpcPort]) -> String {
    local.iter().map(|port| format!("{},{},{}\n", port.mac, port.private_ip, host_name(port))).collect()
}

fn name_lines(part: &VpcPart) -> String {
    let line = |port: &VpcPort| format!("{} {}.{}\n", port.private_ip, host_name(port), part.domain);
    part.ports.iter().map(line).collect()
}

/// As AWS names guests inside: `ip-172-31-0-11`.
fn host_name(port: &VpcPort) -> String {
    format!("ip-{}", port.private_ip.to_string().replace('.', "-"))
}

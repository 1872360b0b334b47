//! A host in a network namespace of its own, guests in others, and the operator's network around.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use tempfile::TempDir;
use tepui_agent::network::{HostNetwork, HostNetworkConfig, Network as _, WantedNetwork};
use tepui_types::agent::{
    Direction, FirewallRule, Peer, PortRange, Protocol, SecurityGroupPart, SubnetPart, VpcNode, VpcPart,
    VpcPort,
};
use tepui_types::{MacAddress, NetworkInterfaceId, NodeId, PlacementId, SecurityGroupId, SubnetId, VpcId};

/// How long a connection or an answer that must not come is waited for: longer than TCP's first
/// repetition, since a new device of the kernel's may lose its first packets.
pub(crate) const SHORT: Duration = Duration::from_millis(1500);
/// How long one that must come may take on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(10);
/// The host's address on the operator's network.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// A machine beside the host: another host, or the one of the agents' API.
pub(crate) const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 9);
/// The same machine's address in the world behind it.
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

/// One test's world. What it made ends with it.
pub(crate) struct Lab {
    folder: TempDir,
    pub(crate) network: HostNetwork,
}

/// Runs a test in a host namespace of its own, with a namespace `outside` on its uplink.
pub(crate) fn lab<T>(test: impl AsyncFnOnce(&Lab) -> T + Send + 'static)
where
    T: Send + 'static,
{
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let lab = Lab::new().await;
            test(&lab).await;
        });
    })
    .join()
    .unwrap();
}

impl Lab {
    async fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("tepui-net-").tempdir().unwrap();
        // dnsmasq reads its files as an ordinary user.
        run("chmod", &["0755", folder.path().to_str().unwrap()]);
        std::fs::write(folder.path().join("resolv.conf"), format!("nameserver {NEIGHBOUR}\n")).unwrap();
        let network = HostNetwork::new(config(folder.path())).await.unwrap();
        let lab = Self { folder, network };
        run("ip", &["link", "set", "lo", "up"]);
        let outside = lab.namespace("outside");
        run("ip", &["link", "add", "eth0", "type", "veth", "peer", "name", "out0"]);
        run("ip", &["link", "set", "out0", "netns", outside.to_str().unwrap()]);
        run("ip", &["address", "add", &format!("{HOST}/24"), "dev", "eth0"]);
        run("ip", &["link", "set", "eth0", "up"]);
        lab.exec("outside", "ip", &["address", "add", &format!("{NEIGHBOUR}/24"), "dev", "out0"]);
        lab.exec("outside", "ip", &["address", "add", &format!("{OUTSIDE}/32"), "dev", "lo"]);
        run("ip", &["route", "add", &format!("{OUTSIDE}/32"), "via", &NEIGHBOUR.to_string()]);
        lab.exec("outside", "ip", &["link", "set", "out0", "up"]);
        lab.exec("outside", "ip", &["route", "add", "198.18.0.0/24", "dev", "out0"]);
        lab
    }

    /// What the host's resolv.conf says from now on.
    pub(crate) fn resolv_conf(&self, text: &str) {
        std::fs::write(self.path("resolv.conf"), text).unwrap();
    }

    /// A name server on the host or outside, by whose answer for `example.test` it is known.
    pub(crate) fn name_server(&self, place: &str, listen: Ipv4Addr, answer: Ipv4Addr) {
        let folder = self.path(&format!("names-{place}"));
        std::fs::create_dir(&folder).unwrap();
        let arguments = [
            "--conf-file=/dev/null".to_owned(),
            "--no-resolv".to_owned(),
            "--bind-interfaces".to_owned(),
            "--except-interface=nothing".to_owned(),
            format!("--listen-address={listen}"),
            format!("--address=/example.test/{answer}"),
            format!("--pid-file={}", folder.join("pid").display()),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if place == "outside" {
            self.exec(place, "dnsmasq", &arguments)
        } else {
            run("dnsmasq", &arguments)
        };
    }

    /// A second agent on the same host, as after a restart.
    pub(crate) async fn restarted(&self) -> HostNetwork {
        HostNetwork::new(config(self.folder.path())).await.unwrap()
    }

    /// The folder of namespaces and DHCP files.
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// The file of the numbers in devices' names.
    pub(crate) fn state_file(&self) -> PathBuf {
        config(self.folder.path()).state_file
    }

    /// A namespace for a guest or a machine.
    pub(crate) fn namespace(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::File::create(&path).unwrap();
        run("unshare", &[&format!("--net={}", path.display()), "ip", "link", "set", "lo", "up"]);
        path
    }

    /// A guest with the port's address, whose card is a veth in the place of the tap.
    pub(crate) fn guest(&self, tap: &str, port: &VpcPort) {
        self.wire(tap, port);
        let address = format!("{}/20", port.private_ip);
        self.exec(tap, "ip", &["address", "add", &address, "dev", "eth0"]);
        self.exec(tap, "ip", &["route", "add", "default", "via", "172.31.0.1"]);
    }

    /// As [`Self::guest`], without an address.
    pub(crate) fn wire(&self, tap: &str, port: &VpcPort) {
        let namespace = self.namespace(tap);
        run(
            "ip",
            &[
                "link",
                "add",
                tap,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                namespace.to_str().unwrap(),
            ],
        );
        self.exec(tap, "ip", &["link", "set", "eth0", "address", &port.mac.to_string()]);
        self.exec(tap, "ip", &["link", "set", "eth0", "mtu", "1450", "up"]);
    }

    /// Runs a command in a namespace and wants success.
    pub(crate) fn exec(&self, namespace: &str, program: &str, arguments: &[&str]) -> String {
        let (is_success, output) = self.try_exec(namespace, program, arguments);
        assert!(is_success, "{namespace}: {program} {arguments:?}: {output}");
        output
    }

    /// Runs a command in a namespace: whether it succeeded, and what it said.
    pub(crate) fn try_exec(&self, namespace: &str, program: &str, arguments: &[&str]) -> (bool, String) {
        let path = format!("--net={}", self.path(namespace).display());
        let output = Command::new("nsenter").arg(path).arg(program).args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// The router's namespace of a VPC, as a name for [`Self::exec`].
    pub(crate) fn router(part: &VpcPart) -> String {
        format!("run/netns/{}", part.id)
    }

    fn path(&self, namespace: &str) -> PathBuf {
        self.folder.path().join(namespace)
    }

    /// Whether one of two ICMP echoes is answered: a new device of the kernel's may lose the first.
    pub(crate) fn pings(&self, from: &str, to: Ipv4Addr) -> bool {
        self.try_exec(from, "busybox", &["ping", "-c", "2", "-W", "1", &to.to_string()]).0
    }

    /// Runs `work` on a thread in a namespace.
    pub(crate) fn inside<T: Send>(&self, namespace: &str, work: impl FnOnce() -> T + Send) -> T {
        let file = std::fs::File::open(self.path(namespace)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// Whether a TCP connection between two guests comes about; the listener is real.
    pub(crate) fn connects(&self, from: &str, to: &str, address: Ipv4Addr, port: u16) -> bool {
        let _listener = self.listener(to, port);
        self.inside(from, || connect(address, port).is_some())
    }

    /// A TCP listener in a namespace.
    pub(crate) fn listener(&self, namespace: &str, port: u16) -> TcpListener {
        self.inside(namespace, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap())
    }

    /// An open TCP connection, both ends.
    pub(crate) fn connection(
        &self,
        from: &str,
        to: &str,
        address: Ipv4Addr,
        port: u16,
    ) -> (TcpStream, TcpStream) {
        let listener = self.listener(to, port);
        let client = self.inside(from, || connect(address, port).expect("the connection must come about"));
        (client, listener.accept().unwrap().0)
    }

    /// Whether a UDP datagram from one source port arrives.
    pub(crate) fn datagram_arrives(&self, from: &str, source: u16, to: &str, address: Ipv4Addr) -> bool {
        let receiver = self.inside(to, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 7000)).unwrap());
        receiver.set_read_timeout(Some(SHORT)).unwrap();
        let sender = self.inside(from, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, source)).unwrap());
        sender.send_to(b"x", (address, 7000)).unwrap();
        receiver.recv(&mut [0; 8]).is_ok()
    }

    /// Applies, with every wanted port local.
    pub(crate) async fn apply(&self, parts: &[&VpcPart]) {
        self.network.apply(&wanted(parts)).await.unwrap();
    }

    /// Names of all links of the host.
    pub(crate) fn host_links(&self) -> Vec<String> {
        let output = run("ip", &["-o", "link", "show"]);
        let name = |line: &str| line.split(": ").nth(1)?.split('@').next().map(str::to_owned);
        output.lines().filter_map(name).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let dhcp = std::fs::read_dir(self.run_dir().join("dhcp")).into_iter().flatten();
        let folders = dhcp.filter_map(Result::ok).map(|folder| folder.path());
        let others = [self.run_dir().join("resolver"), self.path("names-host"), self.path("names-outside")];
        for folder in folders.chain(others) {
            if let Ok(pid) = std::fs::read_to_string(folder.join("pid")) {
                let _ = Command::new("kill").arg(pid.trim()).output();
            }
        }
        for folder in [self.folder.path().to_owned(), self.run_dir().join("netns")] {
            for entry in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
                let _ = nix::mount::umount2(&entry.path(), nix::mount::MntFlags::MNT_DETACH);
            }
        }
    }
}

fn config(folder: &Path) -> HostNetworkConfig {
    HostNetworkConfig {
        run_dir: folder.join("run"),
        state_file: folder.join("state/network.json"),
        underlay_address: HOST,
        uplink: "eth0".into(),
        name_prefix: "tp".into(),
        resolv_conf: folder.join("resolv.conf"),
    }
}

/// Runs a command in the test's host namespace.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Kills a process, and waits until it has closed its sockets: it loses its command line before that.
pub(crate) fn kill(pid: &str) {
    run("kill", &["-9", pid]);
    eventually("the end of a process", || {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state
            .rsplit(')')
            .next()
            .is_none_or(|rest| rest.is_empty() || rest.trim_start().starts_with(['Z', 'X']))
    });
}

fn connect(address: Ipv4Addr, port: u16) -> Option<TcpStream> {
    let address = SocketAddrV4::new(address, port);
    TcpStream::connect_timeout(&address.into(), SHORT).ok()
}

/// Whether bytes still go through a connection.
pub(crate) fn flows(connection: &mut (TcpStream, TcpStream)) -> bool {
    connection.1.set_read_timeout(Some(LONG)).unwrap();
    connection.0.write_all(b"!").unwrap();
    connection.1.read_exact(&mut [0]).is_ok()
}

/// Waits until a condition holds.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The node of every test.
pub(crate) fn node() -> NodeId {
    NodeId::from_random(1)
}

/// A wanted state in which every port is local.
pub(crate) fn wanted(parts: &[&VpcPart]) -> WantedNetwork {
    let local = parts.iter().flat_map(|part| part.ports.iter().map(|port| port.placement_id)).collect();
    WantedNetwork { node_id: node(), vpcs: parts.iter().map(|part| (*part).clone()).collect(), local }
}

/// A default VPC, number `n` of the cloud, without a port or a group.
pub(crate) fn vpc(n: u32) -> VpcPart {
    VpcPart {
        id: VpcId::from_random(n.into()),
        cidr: "172.31.0.0/16".parse().unwrap(),
        vni: n,
        domain: "tepui-1.compute.internal".into(),
        subnets: vec![SubnetPart {
            id: SubnetId::from_random(n.into()),
            cidr: "172.31.0.0/20".parse().unwrap(),
            gateway: Ipv4Addr::new(172, 31, 0, 1),
        }],
        ports: Vec::new(),
        groups: Vec::new(),
        nodes: vec![VpcNode {
            id: node(),
            underlay_address: HOST,
            vtep_mac: MacAddress::from_octets([2, 0, 0, 0, 9, 1]),
        }],
    }
}

/// A port of a VPC: `number` makes its ids and MAC, and with 10 more its address.
pub(crate) fn port(part: &VpcPart, number: u8, groups: &[SecurityGroupId]) -> VpcPort {
    VpcPort {
        id: NetworkInterfaceId::from_random(number.into()),
        placement_id: PlacementId::from_random(number.into()),
        node_id: node(),
        subnet_id: part.subnets[0].id,
        mac: MacAddress::from_octets([2, 0, 0, 0, 1, number]),
        private_ip: Ipv4Addr::new(172, 31, 0, 10 + number),
        public_ip: None,
        groups: groups.to_vec(),
    }
}

/// The id of a group.
pub(crate) fn group_id(number: u8) -> SecurityGroupId {
    SecurityGroupId::from_random(number.into())
}

/// A group that lets everything out, and these in.
pub(crate) fn group(number: u8, ingress: &[(Protocol, Peer)]) -> SecurityGroupPart {
    let rule = |direction, protocol, peer| FirewallRule { direction, protocol, peer };
    let mut rules = vec![rule(Direction::Egress, Protocol::All, anyone())];
    rules.extend(ingress.iter().map(|(protocol, peer)| rule(Direction::Ingress, *protocol, *peer)));
    SecurityGroupPart { id: group_id(number), rules }
}

/// Every address.
pub(crate) fn anyone() -> Peer {
    Peer::Cidr("0.0.0.0/0".parse().unwrap())
}

/// One TCP port.
pub(crate) fn tcp(port: u16) -> Protocol {
    Protocol::Tcp(PortRange { from: port, to: port })
}

//! One dnsmasq for each router: addresses and names for the VPC's guests. It is a process of its own
//! that outlives the agent; its files say what it serves, so the next agent takes it over.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use backon::{ConstantBuilder, Retryable as _};
use ipnet::Ipv4Net;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tepui_types::agent::{VpcPart, VpcPort};

use super::error::{file, refused};
use super::names::subnet_device;
use super::namespace::Namespace;
use super::router_filter::METADATA_ADDRESS;
use super::{GUEST_MTU, NetworkError};

/// Seconds a guest may use its address before it asks again.
const LEASE_SECONDS: u32 = 3600;
/// Where systemd-resolved keeps the operator's name servers (systemd-resolved.service(8)). The system's own
/// file then names a loopback address, where a router's namespace has nobody.
const RESOLVED_SERVERS: &str = "/run/systemd/resolve/resolv.conf";

/// The server of one VPC, by the folder of its files.
#[derive(Debug)]
pub(super) struct Dhcp {
    folder: PathBuf,
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
        Self { folder }
    }

    /// The files for a VPC; subnets come with their device numbers.
    pub(super) fn files(
        &self,
        part: &VpcPart,
        subnets: &[(u32, Ipv4Net, Ipv4Addr)],
        local: &[&VpcPort],
    ) -> DhcpFiles {
        let mut config = self.fixed_config(&part.domain);
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

    fn fixed_config(&self, domain: &str) -> String {
        let path = |name| self.folder.join(name).display().to_string();
        format!(
            "bind-interfaces\nexcept-interface=lo\nno-hosts\nquiet-dhcp\n\
             dhcp-authoritative\ndhcp-ignore=tag:!known\ndhcp-option=option:mtu,{GUEST_MTU}\n\
             domain={domain}\nlocal=/{domain}/\n{}\
             dhcp-hostsfile={}\naddn-hosts={}\ndhcp-leasefile={}\npid-file={}\nlog-facility={}\n",
            upstream(Path::new(RESOLVED_SERVERS)),
            path("hosts"),
            path("names"),
            path("leases"),
            path("pid"),
            path("log"),
        )
    }

    /// Whether the server runs.
    pub(super) fn runs(&self) -> bool {
        self.process().is_some()
    }

    /// Makes the server run with these files.
    pub(super) async fn ensure(&self, inside: &Namespace, files: &DhcpFiles) -> Result<(), NetworkError> {
        fs::create_dir_all(&self.folder).map_err(file(&self.folder))?;
        let must_restart = self.write("config", &files.config)? || self.gives_away_a_lease(&files.leases);
        let mut must_reload = self.write("hosts", &files.leases)?;
        must_reload |= self.write("names", &files.names)?;
        match self.process() {
            Some(_) if must_restart => {
                self.stop().await?;
                self.start(inside).await
            }
            Some(pid) if must_reload => {
                kill(pid, Signal::SIGHUP).map_err(refused(|| format!("tell dnsmasq {pid} to read its files")))
            }
            Some(_) => Ok(()),
            None => self.start(inside).await,
        }
    }

    /// dnsmasq keeps an address for the guest that had it last, for up to an hour; a new guest with
    /// the same address would get none.
    fn gives_away_a_lease(&self, wanted: &str) -> bool {
        let held = fs::read_to_string(self.folder.join("leases")).unwrap_or_default();
        held.lines().any(|lease| {
            let mut words = lease.split_whitespace().skip(1);
            let (mac, address) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            wanted.lines().any(|line| {
                let mut fields = line.split(',');
                fields.next() != Some(mac) && fields.next() == Some(address)
            })
        })
    }

    /// Ends the server; it may be gone already.
    pub(super) async fn stop(&self) -> Result<(), NetworkError> {
        let Some(pid) = self.process() else { return Ok(()) };
        match kill(pid, Signal::SIGTERM) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(refused(|| format!("stop dnsmasq {pid}"))(error)),
        }
        let gone = || async { if is_alive(pid) { Err(Errno::EBUSY) } else { Ok(()) } };
        let often = ConstantBuilder::default().with_delay(Duration::from_millis(5)).with_max_times(600);
        gone.retry(often).await.map_err(refused(|| format!("wait for the end of dnsmasq {pid}")))
    }

    /// Ends the server and removes its files.
    pub(super) async fn remove(&self) -> Result<(), NetworkError> {
        self.stop().await?;
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(&self.folder)(error)),
            _ => Ok(()),
        }
    }

    async fn start(&self, inside: &Namespace) -> Result<(), NetworkError> {
        // Static addresses need no memory; see `gives_away_a_lease`.
        let leases = self.folder.join("leases");
        if let Err(error) = fs::remove_file(&leases)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(file(&leases)(error));
        }
        let config = self.folder.join("config");
        inside
            .run(move || spawn(&config))
            .await
            .flatten()
            .map_err(refused(|| format!("start dnsmasq for {}", self.folder.display())))
    }

    /// Writes a file if its content differs, so that a crash leaves the old or the new one.
    fn write(&self, name: &str, content: &str) -> Result<bool, NetworkError> {
        let path = self.folder.join(name);
        if fs::read(&path).is_ok_and(|old| old == content.as_bytes()) {
            return Ok(false);
        }
        self.replace(&path, content).map_err(file(&path))?;
        Ok(true)
    }

    fn replace(&self, path: &Path, content: &str) -> io::Result<()> {
        let mut temporary = tempfile::NamedTempFile::new_in(&self.folder)?;
        temporary.write_all(content.as_bytes())?;
        // dnsmasq reads it again after it gave up root.
        temporary.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        temporary.persist(path)?;
        Ok(())
    }

    /// The server's process, if the pid file's is still it: a pid may be another's by now.
    fn process(&self) -> Option<Pid> {
        let pid: i32 = fs::read_to_string(self.folder.join("pid")).ok()?.trim().parse().ok()?;
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let config = self.folder.join("config").display().to_string();
        command.contains(&config).then(|| Pid::from_raw(pid))
    }
}

/// A process that ends loses its command line before it closes its sockets, and a zombie has closed them.
fn is_alive(pid: Pid) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat"));
    state.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X']))
}

/// dnsmasq comes back once it serves and goes on in the background.
fn spawn(config: &Path) -> io::Result<()> {
    let output = Command::new("dnsmasq").arg(format!("--conf-file={}", config.display())).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// Names the file of name servers unless the system's own will do.
fn upstream(resolved: &Path) -> String {
    if resolved.exists() { format!("resolv-file={}\n", resolved.display()) } else { String::new() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_behind_a_loopback_resolver_are_asked_directly() {
        let servers = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(upstream(servers.path()), format!("resolv-file={}\n", servers.path().display()));
        assert_eq!(upstream(Path::new("/nonexistent/resolv.conf")), "");
    }
}

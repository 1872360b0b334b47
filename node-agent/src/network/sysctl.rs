//! Kernel settings of one namespace. `/proc/sys/net` shows the namespace of the thread that opens
//! a file, so these are written from inside.

use std::io;

use super::NetworkError;
use super::error::refused;
use super::namespace::Namespace;

/// A file below `/proc/sys/net` and its value.
pub(super) type Setting = (String, &'static str);

/// Writes the settings. One whose file does not exist (a module that is not loaded) is left out.
pub(super) async fn write(namespace: &Namespace, settings: Vec<Setting>) -> Result<(), NetworkError> {
    namespace.run(move || write_all(settings)).await.map_err(refused(|| "enter a namespace".into()))?
}

fn write_all(settings: Vec<Setting>) -> Result<(), NetworkError> {
    for (name, value) in settings {
        let path = format!("/proc/sys/net/{name}");
        match std::fs::write(&path, value) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(refused(|| format!("set {path} to {value}"))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Settings of the host: it forwards between routers and uplink, its own firewall's IP chains do
/// not see bridged frames, and it answers for public addresses at once.
pub(super) fn host(uplink: &str) -> Vec<Setting> {
    vec![
        ("ipv4/ip_forward".into(), "1"),
        ("bridge/bridge-nf-call-iptables".into(), "0"),
        ("bridge/bridge-nf-call-ip6tables".into(), "0"),
        ("bridge/bridge-nf-call-arptables".into(), "0"),
        (format!("ipv4/neigh/{uplink}/proxy_delay"), "0"),
    ]
}

/// Settings of a router as such.
pub(super) fn router() -> Vec<Setting> {
    vec![
        ("ipv6/conf/all/disable_ipv6".into(), "1"),
        ("ipv6/conf/default/disable_ipv6".into(), "1"),
        ("ipv4/ip_forward".into(), "1"),
        ("ipv4/conf/all/send_redirects".into(), "0"),
        ("ipv4/conf/all/rp_filter".into(), "1"),
    ]
}

/// Settings of a router's device towards a subnet: it answers ARP for every address of it, at
/// once, since the ports are isolated; and it never tells a guest of a shorter way.
pub(super) fn router_port(device: &str) -> Vec<Setting> {
    vec![
        (format!("ipv4/conf/{device}/send_redirects"), "0"),
        (format!("ipv4/conf/{device}/proxy_arp_pvlan"), "1"),
        (format!("ipv4/conf/{device}/proxy_arp"), "1"),
        (format!("ipv4/neigh/{device}/proxy_delay"), "0"),
    ]
}

/// A subnet's bridge: the host answers no guest there, and takes no packet whose sender it would answer
/// by another device. The filter lets none come that far.
pub(super) fn bridge(device: &str) -> Vec<Setting> {
    let mut settings = silent(device);
    settings.push((format!("ipv4/conf/{device}/arp_ignore"), "8"));
    settings.push((format!("ipv4/conf/{device}/rp_filter"), "1"));
    settings
}

/// A device of the host that carries guests' frames: the host itself speaks no IPv6 on it.
pub(super) fn silent(device: &str) -> Vec<Setting> {
    vec![(format!("ipv6/conf/{device}/disable_ipv6"), "1")]
}

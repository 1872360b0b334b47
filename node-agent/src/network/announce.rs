//! Tells the operator's network that a public address is here now: whoever had its old host in its ARP
//! cache would send there for minutes (RFC 826; RFC 5227 §3 for such announcements).

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};

use super::NetworkError;
use super::error::refused;
use super::namespace::Namespace;

const BROADCAST: [u8; 6] = [0xff; 6];
/// EtherType of ARP, twice in this module's frames: hardware Ethernet, protocol IPv4, lengths 6 and 4.
const ARP: [u8; 8] = [0x08, 0x06, 0x00, 0x01, 0x08, 0x00, 6, 4];
/// Some equipment hears the one form alone, some the other.
const OPERATIONS: [[u8; 2]; 2] = [[0, 1], [0, 2]];

/// Announces an address on a device of the host.
pub(super) async fn announce(host: &Namespace, device: &str, address: Ipv4Addr) -> Result<(), NetworkError> {
    let name = device.to_owned();
    let sent = host.run(move || send(&name, address)).await.flatten();
    sent.map_err(refused(|| format!("announce the address {address} on {device}")))
}

fn send(device: &str, address: Ipv4Addr) -> io::Result<()> {
    let own = link_address(device)?;
    let mac = own.addr().ok_or(io::ErrorKind::NotFound)?;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    for operation in OPERATIONS {
        sendto(socket.as_raw_fd(), &frame(operation, mac, address), &own, MsgFlags::empty())?;
    }
    Ok(())
}

/// The device as the address of a packet socket, which is its index; its MAC address is in it, too.
fn link_address(device: &str) -> io::Result<LinkAddr> {
    let mut all = getifaddrs()?.filter(|one| one.interface_name == device);
    let link = all.find_map(|one| one.address?.as_link_addr().copied());
    link.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no device {device}")))
}

/// Sender and target are the address itself.
fn frame(operation: [u8; 2], mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let address = address.octets();
    [&BROADCAST[..], &mac, &ARP, &operation, &mac, &address, &BROADCAST, &address].concat()
}

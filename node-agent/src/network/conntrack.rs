//! Flows that connection tracking still knows although an address in them changed hands.
//!
//! A change of security-group rules ends no flow, as on AWS ("Security group connection tracking" in the
//! VPC guide): what a removed rule let in stays tracked until it ends or times out. An address that is taken
//! from a guest ends its flows at once, since the address translation of an old flow would go on giving a
//! public address to the guest that had it, and the accept of an established flow would let it into the
//! guest that has the private address now.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd as _;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::conntrack::{ConntrackAttribute, ConntrackMessage, IPTuple, Tuple};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use tepui_types::NetworkInterfaceId;
use tepui_types::agent::VpcPart;

use super::NetworkError;
use super::error::refused;
use super::namespace::Namespace;

/// Longer than any message of the kernel's dumps (`NLMSG_GOODSIZE` is at most 8 KiB, grown to 32 KiB).
const LONGEST_ANSWER: usize = 64 << 10;

/// The addresses of a flow: as it began, and as its answers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) from: Ipv4Addr,
    pub(super) to: Ipv4Addr,
    pub(super) answers_from: Ipv4Addr,
    pub(super) answers_to: Ipv4Addr,
}

impl Flow {
    /// Whether an address has a part in the flow.
    pub(super) fn has(&self, is_meant: impl Fn(Ipv4Addr) -> bool) -> bool {
        [self.from, self.to, self.answers_from, self.answers_to].into_iter().any(is_meant)
    }
}

/// An interface with its private and public address.
pub(super) type Place = (NetworkInterfaceId, Ipv4Addr, Option<Ipv4Addr>);

/// Who has which address in a VPC.
pub(super) fn places(part: &VpcPart) -> BTreeSet<Place> {
    part.ports.iter().map(|port| (port.id, port.private_ip, port.public_ip)).collect()
}

/// Whether the flow rests on an address that nobody has any more, that another has now (`moved`), or on a
/// translation that does not hold. `own` are the router's own addresses, behind which guests without a
/// public address leave.
pub(super) fn is_over(
    flow: &Flow,
    part: &VpcPart,
    moved: &BTreeSet<Ipv4Addr>,
    own: &BTreeSet<Ipv4Addr>,
) -> bool {
    let is_guest = |address: Ipv4Addr| part.ports.iter().any(|port| port.private_ip == address);
    let is_inside = |address: Ipv4Addr| part.subnets.iter().any(|subnet| subnet.cidr.contains(&address));
    let is_pair = |public: Ipv4Addr, private: Ipv4Addr| {
        part.ports.iter().any(|port| port.public_ip == Some(public) && port.private_ip == private)
    };
    let is_nobodys = |address| is_inside(address) && !own.contains(&address) && !is_guest(address);
    let was_sent_in = flow.to != flow.answers_from;
    let was_sent_out = flow.from != flow.answers_to;
    flow.has(|address| moved.contains(&address) || is_nobodys(address))
        || (was_sent_in && !is_pair(flow.to, flow.answers_from))
        || (was_sent_out && !own.contains(&flow.answers_to) && !is_pair(flow.answers_to, flow.from))
}

/// Ends every flow of the namespace that `is_over`.
pub(super) async fn end(
    namespace: &Namespace,
    is_over: impl Fn(&Flow) -> bool + Send + 'static,
) -> Result<(), NetworkError> {
    let ended = namespace.run(move || end_here(is_over)).await.flatten();
    ended.map_err(refused(|| "end the flows of an address that was given up".into()))
}

fn end_here(is_over: impl Fn(&Flow) -> bool) -> io::Result<()> {
    let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkNetFilter);
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    let send = |message, flags| -> io::Result<()> {
        let bytes = request(message, flags);
        sendto(socket.as_raw_fd(), &bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        Ok(())
    };
    send(ConntrackMessage::Get(Vec::new()), NLM_F_DUMP)?;
    let mut over = Vec::new();
    receive(socket.as_raw_fd(), |attributes| {
        if flow(attributes).is_some_and(|flow| is_over(&flow)) {
            over.extend(attributes.iter().find(|one| is_name(one)).cloned());
        }
    })?;
    for name in over {
        send(ConntrackMessage::Delete(vec![name]), NLM_F_ACK)?;
        match receive(socket.as_raw_fd(), |_| {}) {
            // It ended by itself meanwhile.
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {}
            other => other?,
        }
    }
    Ok(())
}

fn request(message: ConntrackMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let body = NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0), message);
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(body));
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    bytes
}

/// Reads answers up to the last one.
fn receive(socket: i32, mut take: impl FnMut(&[ConntrackAttribute])) -> io::Result<()> {
    let mut buffer = vec![0; LONGEST_ANSWER];
    loop {
        let length = recv(socket, &mut buffer, MsgFlags::empty())?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let answer = NetlinkMessage::<NetfilterMessage>::deserialize(rest).map_err(io::Error::other)?;
            match answer.payload {
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::Error(_) => return Ok(()),
                NetlinkPayload::InnerMessage(message) => take(attributes(&message.inner)),
                _ => {}
            }
            // Messages begin at multiples of 4 bytes (netlink(7)).
            let step = (answer.header.length as usize).next_multiple_of(4).max(4);
            rest = rest.get(step..).unwrap_or_default();
        }
    }
}

fn attributes(message: &NetfilterMessageInner) -> &[ConntrackAttribute] {
    match message {
        NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) => attributes,
        _ => &[],
    }
}

/// The kernel finds a flow by how it began.
fn is_name(attribute: &ConntrackAttribute) -> bool {
    matches!(attribute, ConntrackAttribute::CtaTupleOrig(_))
}

fn flow(attributes: &[ConntrackAttribute]) -> Option<Flow> {
    let (mut began, mut answered) = (None, None);
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => began = addresses(tuple),
            ConntrackAttribute::CtaTupleReply(tuple) => answered = addresses(tuple),
            _ => {}
        }
    }
    let ((from, to), (answers_from, answers_to)) = (began?, answered?);
    Some(Flow { from, to, answers_from, answers_to })
}

/// Source and destination.
fn addresses(tuple: &[Tuple]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let ip = tuple.iter().find_map(|part| match part {
        Tuple::Ip(ip) => Some(ip),
        _ => None,
    })?;
    let (mut source, mut destination) = (None, None);
    for address in ip {
        match address {
            IPTuple::SourceAddress(IpAddr::V4(address)) => source = Some(*address),
            IPTuple::DestinationAddress(IpAddr::V4(address)) => destination = Some(*address),
            _ => {}
        }
    }
    source.zip(destination)
}

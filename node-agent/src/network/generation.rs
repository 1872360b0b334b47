//! Whether somebody changed the packet filter. The kernel counts the changes of each namespace's
//! ruleset; to ask for the number takes microseconds, to list a ruleset milliseconds.

use std::io;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use super::NetworkError;
use super::error::refused;
use super::namespace::Namespace;

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN` (linux/netfilter/nfnetlink.h, nf_tables.h).
const GET_GENERATION: u16 = 10 << 8 | 16;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN`.
const NEW_GENERATION: u16 = 10 << 8 | 15;
const NLM_F_REQUEST: u16 = 1;
/// `struct nlmsghdr` and `struct nfgenmsg`.
const HEADERS: usize = 16 + 4;

/// The generation of the namespace's ruleset.
pub(super) async fn of(namespace: &Namespace) -> Result<u32, NetworkError> {
    namespace.run(ask).await.flatten().map_err(refused(|| "ask for the packet filter's generation".into()))
}

fn ask() -> io::Result<u32> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    sendto(socket.as_raw_fd(), &request(), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 256];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    parse(&answer[..length]).ok_or_else(|| io::Error::other("the kernel sent no generation"))
}

fn request() -> [u8; HEADERS] {
    let mut message = [0; HEADERS];
    message[0..4].copy_from_slice(&(HEADERS as u32).to_ne_bytes());
    message[4..6].copy_from_slice(&GET_GENERATION.to_ne_bytes());
    message[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message
}

/// The first attribute is `NFTA_GEN_ID`, a big-endian number behind four bytes of header.
fn parse(answer: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let value = answer.get(HEADERS + 4..HEADERS + 8)?.try_into().ok()?;
    (kind == NEW_GENERATION).then(|| u32::from_be_bytes(value))
}

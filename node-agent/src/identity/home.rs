//! Keeps an identity on its host.
//!
//! A host that was cloned, or a data directory that was copied, would run the guests of the host it was
//! taken from a second time, on copies of their disks. The control plane cannot tell it from a restarted
//! agent before both have spoken. What a clone cannot have on the same network is the original's address.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use backon::{ConstantBuilder, Retryable as _};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::sys::socket::SockaddrIn;

use super::{IdentityError, read, write};

const HOME_FILE: &str = "underlay-address";
/// Between two looks at the host's addresses.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Makes sure that the identity in `dir` is of the host that has `address`, before anything is done in its
/// name. One that joined before addresses were kept is at home where it is first seen.
pub fn keep_home(dir: &Path, address: Ipv4Addr) -> Result<(), IdentityError> {
    check_home(dir, address)?;
    if dir.join(HOME_FILE).exists() { Ok(()) } else { settle(dir, address) }
}

/// [`keep_home`] once the host has `address`: after a power cut the host boots faster than whoever gives it its
/// address, and guests that should run wait for the agent.
pub async fn come_home(dir: &Path, address: Ipv4Addr) -> Result<(), IdentityError> {
    let wait = ConstantBuilder::new().with_delay(LOOK_AGAIN).without_max_times();
    let mut told = false;
    let look = || async { keep_home(dir, address) };
    look.retry(wait)
        .when(|error| matches!(error, IdentityError::NotOurs { .. }))
        .notify(|error, _| {
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(%error, "the agent waits for its address");
            }
        })
        .await
}

/// Like [`keep_home`], for whoever must not write to `dir`.
pub(crate) fn check_home(dir: &Path, address: Ipv4Addr) -> Result<(), IdentityError> {
    let path = dir.join(HOME_FILE);
    if path.exists() {
        let content = IdentityError::Content { path: path.clone(), expected: "an address" };
        let joined = read(&path)?.trim().parse().map_err(|_| content)?;
        if joined != address {
            return Err(IdentityError::Elsewhere { path, joined, configured: address });
        }
    }
    if is_ours(address)? { Ok(()) } else { Err(IdentityError::NotOurs { address }) }
}

/// Of the whole of 127.0.0.0/8 a host lists one address. An address that can be bound need not be its own:
/// `ip_nonlocal_bind` lets it bind any.
fn is_ours(address: Ipv4Addr) -> Result<bool, IdentityError> {
    let mut interfaces = getifaddrs().map_err(IdentityError::Addresses)?;
    let has = |found: InterfaceAddress| {
        found.address.and_then(|found| found.as_sockaddr_in().map(SockaddrIn::ip)) == Some(address)
    };
    Ok(address.is_loopback() || interfaces.any(has))
}

/// Notes that the identity in `dir` joined from `address`.
pub(super) fn settle(dir: &Path, address: Ipv4Addr) -> Result<(), IdentityError> {
    write(&dir.join(HOME_FILE), format!("{address}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);

    #[test]
    fn an_identity_is_refused_at_another_address_until_it_joins_from_there() {
        let dir = tempfile::tempdir().unwrap();
        keep_home(dir.path(), HERE).unwrap();
        keep_home(dir.path(), HERE).unwrap();
        let other = Ipv4Addr::new(127, 0, 0, 2);
        let error = keep_home(dir.path(), other).unwrap_err();
        assert!(
            matches!(error, IdentityError::Elsewhere { joined: HERE, configured, .. } if configured == other)
        );
        settle(dir.path(), other).unwrap();
        keep_home(dir.path(), other).unwrap();
    }

    #[test]
    fn an_address_of_another_host_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        // TEST-NET-1 (RFC 5737): nobody has it.
        let error = keep_home(dir.path(), Ipv4Addr::new(192, 0, 2, 1)).unwrap_err();
        assert!(matches!(error, IdentityError::NotOurs { .. }), "{error}");
        assert!(!dir.path().join(HOME_FILE).exists());
    }

    #[test]
    fn an_identity_of_another_host_waits_for_no_address() {
        let dir = tempfile::tempdir().unwrap();
        settle(dir.path(), HERE).unwrap();
        let nobodys = Ipv4Addr::new(192, 0, 2, 1);
        let error = come_home(dir.path(), nobodys).now_or_never().unwrap().unwrap_err();
        assert!(matches!(error, IdentityError::Elsewhere { joined: HERE, .. }), "{error}");
    }

    #[test]
    fn a_torn_note_is_named() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join(HOME_FILE), b"").unwrap();
        let error = keep_home(dir.path(), HERE).unwrap_err();
        assert!(error.to_string().contains(HOME_FILE), "{error}");
    }
}

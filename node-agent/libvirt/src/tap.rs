//! Taps that outlive whoever makes them. Netlink makes none; an ioctl does (Linux's
//! `Documentation/networking/tuntap.rst`).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

// linux/if_tun.h
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
const TUNSETPERSIST: libc::Ioctl = 0x4004_54cb;
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;

/// `struct ifreq` with its name and flags.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    flags: u16,
    rest: [u8; 22],
}

/// Makes a persistent tap in the network namespace of the calling thread, down and on no bridge. One that
/// is there already and that nobody has open is a success; the kernel refuses other devices of the name.
pub fn create_tap(name: &str) -> io::Result<()> {
    let mut request =
        InterfaceRequest { name: [0; libc::IFNAMSIZ], flags: IFF_TAP | IFF_NO_PI, rest: [0; 22] };
    let is_short = name.len() < libc::IFNAMSIZ && !name.contains('\0');
    let (true, Some(place)) = (is_short, request.name.get_mut(..name.len())) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a device's name has at most 15 bytes"));
    };
    place.copy_from_slice(name.as_bytes());
    let device = File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: the descriptor is open, and the request is as long as the kernel's `struct ifreq`.
    check(unsafe { libc::ioctl(device.as_raw_fd(), TUNSETIFF, &raw mut request) })?;
    // SAFETY: the descriptor is open; the argument is a plain number.
    check(unsafe { libc::ioctl(device.as_raw_fd(), TUNSETPERSIST, 1) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<libc::ifreq>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_the_kernel_would_cut_is_refused() {
        for name in ["sixteen-letters-", "with\0nul"] {
            assert_eq!(create_tap(name).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}

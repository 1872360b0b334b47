//! The disks that keep a guest from going on.

use std::ffi::CStr;
use std::ptr;

use tepui_types::PlacementId;
use tepui_types::agent::DiskFailure;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

use crate::host::{Outcome, is_invalid, lookup, present};

/// A disk of a guest that a request failed on since the guest was made to run last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedDisk {
    /// Its device in the domain, for example `vdf`; `vda` is the disk that it boots from.
    pub device: String,
    /// Why.
    pub failure: DiskFailure,
}

/// None of a domain that is off or missing.
pub(crate) fn failed_disks(connect: &Connect, id: PlacementId) -> Outcome<Vec<FailedDisk>> {
    let Some(domain) = lookup(connect, id)? else { return Ok(Vec::new()) };
    match present(errors(&domain)) {
        Err(error) if is_invalid(&error) => Ok(Vec::new()),
        outcome => outcome.map(Option::unwrap_or_default),
    }
}

fn errors(domain: &Domain) -> Outcome<Vec<FailedDisk>> {
    // SAFETY: the domain is open while it is borrowed; without room libvirt writes nothing and says how many disks there are.
    let most = unsafe { sys::virDomainGetDiskErrors(domain.as_ptr(), ptr::null_mut(), 0, 0) };
    let most = u32::try_from(most).map_err(|_| Error::last_error())?;
    let none =
        sys::virDomainDiskError { disk: ptr::null_mut(), error: sys::VIR_DOMAIN_DISK_ERROR_NONE as i32 };
    let mut entries = vec![none; most as usize];
    // SAFETY: as above; there is room for as many entries as it is told.
    let found = unsafe { sys::virDomainGetDiskErrors(domain.as_ptr(), entries.as_mut_ptr(), most, 0) };
    let found = usize::try_from(found).map_err(|_| Error::last_error())?;
    Ok(entries.into_iter().take(found).filter_map(take).collect())
}

/// The entry's name is given back.
fn take(entry: sys::virDomainDiskError) -> Option<FailedDisk> {
    if entry.disk.is_null() {
        return None;
    }
    // SAFETY: libvirt made the text for its caller, who frees it, and nobody reads it afterwards.
    let device = unsafe {
        let device = CStr::from_ptr(entry.disk).to_string_lossy().into_owned();
        libc::free(entry.disk.cast());
        device
    };
    match u32::try_from(entry.error).ok()? {
        sys::VIR_DOMAIN_DISK_ERROR_NONE => None,
        sys::VIR_DOMAIN_DISK_ERROR_NO_SPACE => Some(FailedDisk { device, failure: DiskFailure::NoSpace }),
        _ => Some(FailedDisk { device, failure: DiskFailure::Other }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_disks_are_those_that_libvirt_tells_and_a_guest_that_is_missing_has_none() {
        let connect = Connect::open(Some("test:///default")).unwrap();
        let id = PlacementId::from_random(0xd1_5c);
        assert_eq!(failed_disks(&connect, id).unwrap(), []);
        let disk = |name: &str| {
            format!("<disk type='file'><source file='/{name}'/><target dev='{name}' bus='virtio'/></disk>")
        };
        let xml = format!(
            "<domain type='test'><name>{}</name><memory>1024</memory><os><type>hvm</type></os><devices>{}{}{}</devices></domain>",
            crate::identity::domain_name(id),
            disk("vda"),
            disk("vdb"),
            disk("vdc")
        );
        let domain = Domain::create_xml(&connect, &xml, 0).unwrap();
        // libvirt's test driver gives the disks of any domain errors of both kinds in turn.
        let failed = |device: &str, failure| FailedDisk { device: device.into(), failure };
        assert_eq!(
            failed_disks(&connect, id).unwrap(),
            [
                failed("vda", DiskFailure::Other),
                failed("vdb", DiskFailure::NoSpace),
                failed("vdc", DiskFailure::Other)
            ]
        );
        domain.destroy().unwrap();
        assert_eq!(failed_disks(&connect, id).unwrap(), []);
    }
}

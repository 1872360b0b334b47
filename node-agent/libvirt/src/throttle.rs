//! Limits of a running domain's disks, which the `virt` crate does not wrap.

use std::ffi::{CStr, CString};
use std::ptr;

use tepui_types::agent::IoLimits;
use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

use crate::host::Outcome;

/// What libvirt counts throughput in.
pub(crate) const MIB: u64 = 1 << 20;

/// Holds a running domain to the limits of one disk, at once; its definition stays.
pub(crate) fn set(domain: &Domain, device: &str, limits: IoLimits) -> Outcome<u32> {
    let mut parameters = Parameters::default();
    parameters.add(sys::VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC, limits.iops.into())?;
    let bytes = u64::from(limits.throughput_mib) * MIB;
    parameters.add(sys::VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC, bytes)?;
    // A device is `vd` and a letter.
    let device = CString::new(device).unwrap_or_default();
    // SAFETY: the domain is open while it is borrowed, and the parameters are as many as they say.
    let done = unsafe {
        let flags = sys::VIR_DOMAIN_AFFECT_LIVE;
        let (list, count) = (parameters.list, parameters.count);
        sys::virDomainSetBlockIoTune(domain.as_ptr(), device.as_ptr(), list, count, flags)
    };
    if done < 0 { Err(Error::last_error()) } else { Ok(0) }
}

/// libvirt's array of typed parameters. Given back when it is dropped.
struct Parameters {
    list: sys::virTypedParameterPtr,
    count: i32,
    room: i32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { list: ptr::null_mut(), count: 0, room: 0 }
    }
}

impl Parameters {
    fn add(&mut self, name: &CStr, value: u64) -> Outcome<()> {
        // SAFETY: libvirt makes the array, keeps count of it and lets it grow; these three are nobody else's.
        let added = unsafe {
            let (list, count, room) = (&raw mut self.list, &raw mut self.count, &raw mut self.room);
            sys::virTypedParamsAddULLong(list, count, room, name.as_ptr(), value)
        };
        if added < 0 { Err(Error::last_error()) } else { Ok(()) }
    }
}

impl Drop for Parameters {
    fn drop(&mut self) {
        // SAFETY: the array came from libvirt and is given back once; libvirt takes a null pointer, too.
        unsafe { sys::virTypedParamsFree(self.list, self.count) };
    }
}

//! The look at all domains: one call, however many there are, so that a libvirtd that answers slowly is slow once.

use std::ffi::CStr;
use std::{iter, ptr};

use tepui_types::PlacementId;
use virt::connect::Connect;
use virt::error::Error;
use virt::sys;

use crate::identity::placement_of;
use crate::{DomainState, DomainStatus};

/// Our domains with their states, of which no QEMU is asked.
pub(crate) fn look(connect: &Connect) -> Result<Vec<DomainStatus>, Error> {
    Ok(Records::of(connect, sys::VIR_DOMAIN_STATS_STATE, 0)?.iter().filter_map(status).collect())
}

/// libvirt's array of records, behind whose last one is a null pointer. Given back when it is dropped.
pub(crate) struct Records(*mut sys::virDomainStatsRecordPtr);

impl Records {
    /// These statistics of all domains that pass the flags, of others' too.
    pub(crate) fn of(connect: &Connect, statistics: u32, flags: u32) -> Result<Self, Error> {
        let mut records = ptr::null_mut();
        // SAFETY: the connection is open while it is borrowed; `records` takes an array only when there is one.
        let found = unsafe {
            sys::virConnectGetAllDomainStats(connect.as_ptr(), statistics, &raw mut records, flags)
        };
        if found < 0 { Err(Error::last_error()) } else { Ok(Self(records)) }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &sys::virDomainStatsRecord> {
        let mut next = self.0;
        iter::from_fn(move || {
            // SAFETY: the array and its records live as long as `self`, and nothing is read behind its end.
            let record = unsafe { next.as_ref()?.as_ref() }?;
            next = next.wrapping_add(1);
            Some(record)
        })
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        // SAFETY: it came from libvirt and is given back once; libvirt takes a null pointer, too.
        unsafe { sys::virDomainStatsRecordListFree(self.0) };
    }
}

/// None for a domain that is not ours.
pub(crate) fn placement(record: &sys::virDomainStatsRecord) -> Option<PlacementId> {
    // SAFETY: the record holds its domain, and the domain its name.
    let name = unsafe {
        let name = sys::virDomainGetName(record.dom);
        (!name.is_null()).then(|| CStr::from_ptr(name))
    };
    placement_of(name?.to_str().ok()?)
}

fn status(record: &sys::virDomainStatsRecord) -> Option<DomainStatus> {
    let id = placement(record)?;
    // A domain that is left out would count as gone: one of which libvirt says nothing counts as running.
    let state = number(record, sys::VIR_DOMAIN_STATS_STATE_STATE).and_then(|state| state.try_into().ok());
    let reason = number(record, sys::VIR_DOMAIN_STATS_STATE_REASON).unwrap_or_default();
    Some(DomainStatus {
        id,
        state: DomainState::from_libvirt(state.unwrap_or(sys::VIR_DOMAIN_NOSTATE), reason),
    })
}

fn number(record: &sys::virDomainStatsRecord, name: &CStr) -> Option<i32> {
    let mut value = 0;
    // SAFETY: the parameters are the record's, as many as it says.
    let found =
        unsafe { sys::virTypedParamsGetInt(record.params, record.nparams, name.as_ptr(), &raw mut value) };
    (found == 1).then_some(value)
}

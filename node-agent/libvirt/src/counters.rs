//! What guests did with their disks: one call for all of them.

use std::ffi::{CStr, CString};
use std::ptr;

use tepui_types::PlacementId;
use tepui_types::agent::IoCounters;
use virt::connect::Connect;
use virt::sys;

use crate::host::Outcome;
use crate::look::{Records, placement};

/// What a guest did with one of its disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskCounters {
    /// Whose.
    pub id: PlacementId,
    /// Its device in the domain, for example `vdf`; `vda` is the root disk.
    pub device: String,
    /// Since the domain started, or was given the disk.
    pub counters: IoCounters,
}

/// The counters of all disks of our running domains, as their QEMUs tell them. One that is busy with another call is
/// left out.
pub(crate) fn counters(connect: &Connect) -> Outcome<Vec<DiskCounters>> {
    let flags = sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
    let records = Records::of(connect, sys::VIR_DOMAIN_STATS_BLOCK, flags)?;
    Ok(records.iter().filter_map(|record| Some(disks(record, placement(record)?))).flatten().collect())
}

fn disks(record: &sys::virDomainStatsRecord, id: PlacementId) -> impl Iterator<Item = DiskCounters> {
    let count = whole(record, sys::VIR_DOMAIN_STATS_BLOCK_COUNT).unwrap_or_default();
    (0..count).filter_map(move |number| disk(record, id, number))
}

fn disk(record: &sys::virDomainStatsRecord, id: PlacementId, number: u32) -> Option<DiskCounters> {
    let field = |suffix: &CStr| {
        let prefix = sys::VIR_DOMAIN_STATS_BLOCK_PREFIX.to_str().ok()?;
        CString::new(format!("{prefix}{number}{}", suffix.to_str().ok()?)).ok()
    };
    let figure = |suffix| long(record, &field(suffix)?);
    Some(DiskCounters {
        id,
        device: text(record, &field(sys::VIR_DOMAIN_STATS_BLOCK_SUFFIX_NAME)?)?,
        counters: IoCounters {
            reads: figure(sys::VIR_DOMAIN_STATS_BLOCK_SUFFIX_RD_REQS)?,
            writes: figure(sys::VIR_DOMAIN_STATS_BLOCK_SUFFIX_WR_REQS)?,
            read_bytes: figure(sys::VIR_DOMAIN_STATS_BLOCK_SUFFIX_RD_BYTES)?,
            written_bytes: figure(sys::VIR_DOMAIN_STATS_BLOCK_SUFFIX_WR_BYTES)?,
        },
    })
}

fn whole(record: &sys::virDomainStatsRecord, name: &CStr) -> Option<u32> {
    let mut value = 0;
    // SAFETY: the parameters are the record's, as many as it says.
    let found =
        unsafe { sys::virTypedParamsGetUInt(record.params, record.nparams, name.as_ptr(), &raw mut value) };
    (found == 1).then_some(value)
}

fn long(record: &sys::virDomainStatsRecord, name: &CStr) -> Option<u64> {
    let mut value = 0;
    // SAFETY: the parameters are the record's, as many as it says.
    let found =
        unsafe { sys::virTypedParamsGetULLong(record.params, record.nparams, name.as_ptr(), &raw mut value) };
    (found == 1).then_some(value)
}

fn text(record: &sys::virDomainStatsRecord, name: &CStr) -> Option<String> {
    let mut value = ptr::null();
    // SAFETY: the parameters are the record's, as many as it says, and a text that is found lives as long as they.
    unsafe {
        let found =
            sys::virTypedParamsGetString(record.params, record.nparams, name.as_ptr(), &raw mut value);
        (found == 1 && !value.is_null()).then(|| CStr::from_ptr(value).to_string_lossy().into_owned())
    }
}

//! What the root disk of a running guest holds at one moment, copied into a file by QEMU while the guest runs on: libvirt's
//! backup in push mode, which the `virt` crate does not wrap. A write of the guest to what is not copied yet waits until that
//! is. The job is the domain's only one; it ends with the domain.

use std::ffi::{CStr, CString};
use std::ptr;

use tepui_types::PlacementId;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

use crate::host::{Outcome, is_invalid, lookup, present};

/// How far a capture is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaptureState {
    /// It is being made.
    UnderWay,
    /// The file has all of it.
    Whole,
    /// It is none: it failed, was called off, or the guest went off. Why, as far as libvirt says.
    Failed(String),
}

/// Begins to copy the root disk into the file that the XML names; whether the guest runs.
pub(crate) fn begin(connect: &Connect, id: PlacementId, xml: &CStr) -> Outcome<bool> {
    let Some(domain) = lookup(connect, id)?.filter(|domain| domain.is_active().unwrap_or(false)) else {
        return Ok(false);
    };
    // What became of the one before is told once, and must not be taken for this one's.
    completed(&domain)?;
    // SAFETY: the domain is open while it is borrowed, the text ends with a zero, and there is no checkpoint.
    let begun = unsafe { sys::virDomainBackupBegin(domain.as_ptr(), xml.as_ptr(), ptr::null(), 0) };
    if begun < 0 { Err(Error::last_error()) } else { Ok(true) }
}

/// How far it is; what has ended is told once.
pub(crate) fn state(connect: &Connect, id: PlacementId) -> Outcome<CaptureState> {
    let failed = |why: &str| CaptureState::Failed(why.to_owned());
    let Some(domain) = lookup(connect, id)? else { return Ok(failed("the guest is gone")) };
    match domain.get_job_info() {
        Ok(job) if job.r#type != sys::VIR_DOMAIN_JOB_NONE as i32 => return Ok(CaptureState::UnderWay),
        Ok(_) => {}
        Err(error) if is_invalid(&error) => return Ok(failed("the guest went off")),
        Err(error) => return Err(error),
    }
    match completed(&domain)? {
        Some((sys::VIR_DOMAIN_JOB_COMPLETED, _)) => Ok(CaptureState::Whole),
        Some((_, Some(why))) => Ok(CaptureState::Failed(why)),
        Some((_, None)) => Ok(failed("it was called off")),
        None => Ok(failed("libvirt knows nothing of it any more")),
    }
}

/// Calls it off. A domain without a job is fine.
pub(crate) fn abort(connect: &Connect, id: PlacementId) -> Outcome<()> {
    let Some(domain) = lookup(connect, id)? else { return Ok(()) };
    // SAFETY: the domain is open while it is borrowed.
    let aborted = unsafe { sys::virDomainAbortJob(domain.as_ptr()) };
    let outcome = if aborted < 0 { Err(Error::last_error()) } else { Ok(()) };
    match present(outcome) {
        Err(error) if is_invalid(&error) => Ok(()),
        outcome => outcome.map(drop),
    }
}

/// How the last job ended, and what was wrong.
fn completed(domain: &Domain) -> Outcome<Option<(u32, Option<String>)>> {
    let (mut kind, mut list, mut count) = (0, ptr::null_mut(), 0);
    // SAFETY: the domain is open while it is borrowed; libvirt fills the three in.
    let told = unsafe {
        let flags = sys::VIR_DOMAIN_JOB_STATS_COMPLETED;
        let (kind, list, count) = (&raw mut kind, &raw mut list, &raw mut count);
        sys::virDomainGetJobStats(domain.as_ptr(), kind, list, count, flags)
    };
    if told < 0 {
        let error = Error::last_error();
        return if is_invalid(&error) { Ok(None) } else { Err(error) };
    }
    let why = message(list, count);
    // SAFETY: the array came from libvirt and is given back once; libvirt takes a null pointer, too.
    unsafe { sys::virTypedParamsFree(list, count) };
    let kind = u32::try_from(kind).unwrap_or(sys::VIR_DOMAIN_JOB_NONE);
    Ok((kind != sys::VIR_DOMAIN_JOB_NONE).then_some((kind, why)))
}

fn message(list: sys::virTypedParameterPtr, count: i32) -> Option<String> {
    let mut text = ptr::null();
    // SAFETY: the parameters are as many as they say, and the text stays theirs.
    unsafe {
        let name = sys::VIR_DOMAIN_JOB_ERRMSG.as_ptr();
        let found = sys::virTypedParamsGetString(list, count, name, &raw mut text);
        (found == 1 && !text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}

/// The text as libvirt takes it.
pub(crate) fn c_text(xml: String) -> CString {
    CString::new(xml).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_is_missing_has_no_capture_and_nothing_to_call_off() {
        let connect = Connect::open(Some("test:///default")).unwrap();
        let id = PlacementId::from_random(0xca_97);
        assert!(!begin(&connect, id, c"<domainbackup/>").unwrap());
        assert!(matches!(state(&connect, id).unwrap(), CaptureState::Failed(_)));
        abort(&connect, id).unwrap();
    }
}

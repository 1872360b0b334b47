//! Guests whose virtual CPUs are paused while snapshots of their volumes are taken. QEMU stops the CPUs, waits for what it has under
//! way at the guest's disks and flushes them before it answers: from then on no write comes until the guest is resumed.
//!
//! A guest also stands still where a write to a disk failed, or since an operator suspended it. libvirt knows the difference, and
//! so none of these is paused here, nor resumed. A write that fails after the pause changes nothing of it: QEMU keeps the write,
//! of which the guest heard nothing, and makes it again when the guest is resumed; where it fails again, the guest stands still as
//! it would have without the pause.

use std::time::Instant;

use tepui_types::PlacementId;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::sys;

use crate::freeze::FreezeAnswer;
use crate::host::{Outcome, lookup, present};

/// How a guest is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guest {
    Runs,
    /// It was told to stand still.
    Paused,
    /// It stands still for another reason.
    Stands,
    Off,
}

/// Pauses a guest that runs. Not one that would be asked after `by`: the answer would come when nobody waits for it, and nobody
/// would resume it.
pub(crate) fn pause(connect: &Connect, id: PlacementId, by: Instant) -> Outcome<FreezeAnswer> {
    let refused = |why: &str| Ok(FreezeAnswer::Refused(why.to_owned()));
    let Some(domain) = lookup(connect, id)? else { return refused("the guest does not run") };
    match guest(&domain)? {
        Guest::Runs => {}
        Guest::Paused | Guest::Stands => return refused("the guest stands still already"),
        Guest::Off => return refused("the guest does not run"),
    }
    if Instant::now() > by {
        return refused("it took too long until the guest could be paused");
    }
    domain.suspend()?;
    match guest(&domain)? {
        Guest::Paused => Ok(FreezeAnswer::Frozen(1)),
        // Just before, and libvirt says nothing of it: it is not ours to resume.
        Guest::Stands => refused("the guest stands still, most likely because a write to a disk failed"),
        Guest::Runs => refused("the guest was resumed at once"),
        Guest::Off => refused("the guest went off"),
    }
}

/// Resumes a guest that was paused here; how many were, 0 of one that goes on already or stands still for another reason.
///
/// One that runs is told so too: a pause that was given up may still be under way, and libvirt carries out the one after the
/// other.
pub(crate) fn resume(connect: &Connect, id: PlacementId) -> Outcome<Option<u32>> {
    let Some(domain) = lookup(connect, id)? else { return Ok(None) };
    match guest(&domain)? {
        Guest::Runs | Guest::Paused => {}
        Guest::Stands => return Ok(Some(0)),
        Guest::Off => return Ok(None),
    }
    let Err(error) = domain.resume() else { return Ok(Some(1)) };
    match guest(&domain)? {
        // It had no turn to say that the guest is not paused.
        _ if error.code().to_raw() == sys::VIR_ERR_OPERATION_TIMEOUT => Err(error),
        Guest::Paused => Err(error),
        Guest::Runs | Guest::Stands => Ok(Some(0)),
        Guest::Off => Ok(None),
    }
}

fn guest(domain: &Domain) -> Outcome<Guest> {
    let paused = sys::VIR_DOMAIN_PAUSED_USER as i32;
    Ok(match present(domain.get_state())? {
        Some((sys::VIR_DOMAIN_PAUSED, reason)) if reason == paused => Guest::Paused,
        Some((sys::VIR_DOMAIN_PAUSED | sys::VIR_DOMAIN_PMSUSPENDED, _)) => Guest::Stands,
        Some((sys::VIR_DOMAIN_SHUTOFF | sys::VIR_DOMAIN_CRASHED, _)) | None => Guest::Off,
        Some(_) => Guest::Runs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(why: &str) -> FreezeAnswer {
        FreezeAnswer::Refused(why.into())
    }

    #[test]
    fn a_guest_is_paused_once_and_resumed_by_whoever_paused_it() {
        let connect = Connect::open(Some("test:///default")).unwrap();
        let id = PlacementId::from_random(0x9a_05ed);
        let pause = || pause(&connect, id, Instant::now() + std::time::Duration::from_secs(60)).unwrap();
        let resume = || resume(&connect, id).unwrap();
        assert_eq!((pause(), resume()), (refused("the guest does not run"), None));
        let xml = format!(
            "<domain type='test'><name>{}</name><memory>1024</memory><os><type>hvm</type></os></domain>",
            crate::identity::domain_name(id)
        );
        let domain = Domain::create_xml(&connect, &xml, 0).unwrap();
        assert_eq!(resume(), Some(0), "it runs");
        let late = super::pause(&connect, id, Instant::now() - std::time::Duration::from_secs(1)).unwrap();
        assert!(matches!(late, FreezeAnswer::Refused(why) if why.contains("too long")));
        assert_eq!(guest(&domain).unwrap(), Guest::Runs);

        assert_eq!(pause(), FreezeAnswer::Frozen(1));
        assert_eq!(guest(&domain).unwrap(), Guest::Paused);
        assert_eq!(pause(), refused("the guest stands still already"));
        assert_eq!((resume(), resume()), (Some(1), Some(0)));
        assert_eq!(guest(&domain).unwrap(), Guest::Runs);

        pause();
        domain.destroy().unwrap();
        assert_eq!((resume(), pause()), (None, refused("the guest does not run")));
    }
}

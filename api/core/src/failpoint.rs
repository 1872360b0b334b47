//! The points between the durable steps of each operation, where a test may cut it off.
//!
//! Nothing that changes something can be without them unnoticed: each call and each job in the background
//! is in [`CALLS`] or [`BACKGROUND`], or a test fails with its name; a wake-up asks for the point that was
//! passed before it ([`Passed`]); and a point that [`STEPS`] does not list is refused where it is passed.

use tepui_types::agent::{
    CONSOLE_PATH, CONTENT_PATH, ENROL_PATH, IMAGE_PATH, POLL_PATH, RENEW_PATH, REPORT_PATH, SENDING_PATH,
};
use tepui_types::failpoint;

use crate::Error;
use crate::reconcile::Reconciler;

/// The steps of every operation, in order. A test walks this list and fails for a step that no
/// operation passes.
pub const STEPS: &[(&str, &[&str])] = &[
    ("run", &["core::run::planned", "core::run::committed", "core::run::woken"]),
    ("start", &["core::start::checked", "core::start::committed", "core::start::woken"]),
    ("stop", &["core::stop::checked", "core::stop::committed", "core::stop::woken"]),
    ("reboot", &["core::reboot::checked", "core::reboot::committed", "core::reboot::woken"]),
    ("terminate", &["core::terminate::checked", "core::terminate::committed", "core::terminate::woken"]),
    ("attribute", &["core::attribute::checked", "core::attribute::committed", "core::attribute::woken"]),
    ("tags", &["core::tags::checked", "core::tags::committed", "core::tags::woken"]),
    ("rules", &["core::rules::checked", "core::rules::committed", "core::rules::woken"]),
    ("import", &["core::import::begun", "core::import::stored", "core::import::completed"]),
    ("enrol", &["core::enrol::enrolled", "core::enrol::woken", "core::enrol::certified"]),
    ("drain", &["core::drain::checked", "core::drain::committed"]),
    ("expunge", &["core::expunge::checked", "core::expunge::committed", "core::expunge::woken"]),
    ("report", &["core::report::planned", "core::report::applied", "core::report::woken"]),
    ("adopt", &["core::adopt::planned", "core::adopt::written", "core::adopt::woken"]),
    ("pool", &["core::pool::committed", "core::pool::woken"]),
    ("volume", &["core::volume::committed", "core::volume::woken"]),
    ("attach_volume", &["core::attach_volume::committed", "core::attach_volume::woken"]),
    ("detach_volume", &["core::detach_volume::committed", "core::detach_volume::woken"]),
    ("snapshot", &["core::snapshot::committed", "core::snapshot::woken"]),
    ("schedule", &["core::schedule::taken", "core::schedule::deleted", "core::schedule::tested"]),
    ("volume_end", &["core::volume_end::warned", "core::volume_end::deleted"]),
    ("move", &["core::move::committed", "core::move::woken"]),
    ("moves", &["core::moves::advanced", "core::moves::begun"]),
    ("reclaim", &["core::reclaim::committed", "core::reclaim::woken"]),
    ("unlink", &["core::unlink::ordered", "core::unlink::forgotten"]),
    ("freeze", &["core::freeze::applied", "core::freeze::woken"]),
    ("expire_freezes", &["core::freeze::expired"]),
    ("storage_news", &["core::storage_news::applied", "core::storage_news::woken"]),
];

/// What a death in the middle of some work can leave half-done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// Something comes after its transaction: it has the points of this operation of [`STEPS`].
    Steps(&'static str),
    /// It is done or not, and nobody is woken after it: why.
    Whole(&'static str),
}

use Course::{Steps, Whole};

const ONE: &str = "one transaction, which no host has to hear of";

/// Every call that changes something, by its name in the audit: the actions of EC2, and what only REST has.
pub const CALLS: &[(&str, Course)] = &[
    ("RunInstances", Steps("run")),
    ("StartInstances", Steps("start")),
    ("StopInstances", Steps("stop")),
    ("RebootInstances", Steps("reboot")),
    ("TerminateInstances", Steps("terminate")),
    ("ModifyInstanceAttribute", Steps("attribute")),
    ("ModifyInstanceMetadataOptions", Steps("attribute")),
    ("CreateTags", Steps("tags")),
    ("DeleteTags", Steps("tags")),
    ("AuthorizeSecurityGroupIngress", Steps("rules")),
    ("AuthorizeSecurityGroupEgress", Steps("rules")),
    ("RevokeSecurityGroupIngress", Steps("rules")),
    ("RevokeSecurityGroupEgress", Steps("rules")),
    ("ImportImage", Steps("import")),
    ("DrainNode", Steps("drain")),
    ("UndrainNode", Steps("drain")),
    ("ExpungeNode", Steps("expunge")),
    ("CreatePool", Steps("pool")),
    ("DeletePool", Steps("pool")),
    ("DrainPool", Whole(ONE)),
    ("UndrainPool", Whole(ONE)),
    ("ReclaimPool", Steps("reclaim")),
    ("CreateVolume", Steps("volume")),
    ("ModifyVolume", Steps("volume")),
    ("MoveVolume", Steps("move")),
    ("SetVolumeTtl", Whole(ONE)),
    ("DeleteVolume", Steps("volume")),
    ("AttachVolume", Steps("attach_volume")),
    ("DetachVolume", Steps("detach_volume")),
    ("CreateSnapshot", Steps("snapshot")),
    ("CreateSnapshots", Steps("snapshot")),
    ("CopySnapshot", Steps("snapshot")),
    ("SnapshotImage", Steps("snapshot")),
    ("DeleteSnapshot", Steps("snapshot")),
    ("TestSnapshot", Steps("snapshot")),
    ("CreateSnapshotSchedule", Whole(ONE)),
    ("DeleteSnapshotSchedule", Whole(ONE)),
    ("ModifySnapshotAttribute", Whole(ONE)),
    ("ResetSnapshotAttribute", Whole(ONE)),
    ("DeregisterImage", Whole("one transaction; a file that no row needs goes with the next tidying")),
    ("CreateImageUpload", Whole("a folder that is renamed into place; without bytes it goes by its age")),
    (
        "AppendImageUpload",
        Whole("bytes at the end of a file; a repeat goes on at the length that is durable"),
    ),
    ("DeleteImageUpload", Whole("one folder; what a death leaves of it goes by its age")),
    ("CreateKeyPair", Whole(ONE)),
    ("ImportKeyPair", Whole(ONE)),
    ("DeleteKeyPair", Whole(ONE)),
    ("CreateSecurityGroup", Whole(ONE)),
    ("DeleteSecurityGroup", Whole("one transaction; nothing uses it, so that no host has it")),
    ("CreatePlacementGroup", Whole(ONE)),
    ("DeletePlacementGroup", Whole(ONE)),
    ("CreateJoinToken", Whole(ONE)),
    ("CreateProject", Whole(ONE)),
    ("DeleteProject", Whole(ONE)),
    ("SetQuota", Whole(ONE)),
    ("CreateUser", Whole(ONE)),
    ("DeleteUser", Whole(ONE)),
    ("CreateAccessKey", Whole(ONE)),
    ("DeleteAccessKey", Whole("one transaction; the memory that it is taken out of ends with the process")),
    ("FixFindings", Whole("one transaction, of sums that no host reads")),
];

/// What no client asks for: each request of an agent, by its path, and each reconciler.
pub const BACKGROUND: &[(&str, Course)] = &[
    (ENROL_PATH, Steps("enrol")),
    (RENEW_PATH, Steps("enrol")),
    (POLL_PATH, Whole("it changes what is in memory only")),
    (REPORT_PATH, Steps("report")),
    (REPORT_PATH, Steps("adopt")),
    (REPORT_PATH, Steps("storage_news")),
    (REPORT_PATH, Steps("freeze")),
    (CONSOLE_PATH, Whole("a file that is renamed into place; who waits for it asks again")),
    (IMAGE_PATH, Whole("it reads")),
    (CONTENT_PATH, Whole("it reads; a copy that broke off is begun anew")),
    (SENDING_PATH, Whole("it reads; the reader goes on where the bytes broke off")),
    (Reconciler::Liveness.name(), Whole("a node's state is one transaction; the next round does the others")),
    (Reconciler::Schedules.name(), Steps("schedule")),
    (Reconciler::VolumeEnds.name(), Steps("volume_end")),
    (Reconciler::Moves.name(), Steps("moves")),
    (Reconciler::Quarantine.name(), Steps("unlink")),
    (Reconciler::Freezes.name(), Steps("expire_freezes")),
    (Reconciler::Purge.name(), Whole("a batch is one transaction; the next round takes the others")),
];

/// A point was passed, so that a test can cut off what comes now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passed(());

impl Passed {
    /// For what is done for a reader: there is nothing durable that a death could leave it without.
    pub(crate) const NOTHING_DURABLE: Self = Self(());
}

/// Passes the point `step`. An armed one leaves the operation here, as if the process had died; what is
/// durable stays.
pub(crate) fn pass(step: &'static str) -> Result<Passed, Error> {
    debug_assert!(
        STEPS.iter().any(|(_, steps)| steps.contains(&step)),
        "no operation lists the point {step}"
    );
    failpoint::hit(step).map_err(|_| Error::Internal { what: format!("cut off at {step}") })?;
    Ok(Passed(()))
}

//! What is on its way for too long.

use std::time::Duration;

use jiff::Timestamp;
use tepui_db::model::{EndingVolume, ImportTask, InstanceRecord, NodeState};

use super::{Finding, warning};
use crate::{EndState, NodeView};

/// Longer than the largest image takes over a slow link; an import that is cut off is failed at the next start.
const LONGEST_IMPORT: Duration = Duration::from_secs(24 * 3600);

/// Instances on their way for longer than their state's deadline. On a silent node nothing can move, and the
/// node is a finding of its own.
pub(super) fn instances<'a>(
    view: &'a NodeView,
    records: &'a [&'a InstanceRecord],
    now: Timestamp,
) -> impl Iterator<Item = Finding> + use<'a> {
    let is_up = view.load.node.state == NodeState::Up;
    records.iter().filter(move |_| is_up).filter_map(move |record| {
        let instance = &record.instance;
        let deadline = instance.state.deadline()?;
        let age = age(instance.state_since, now).filter(|age| *age > deadline)?;
        let state = instance.state.name();
        let what = format!("is {state} for {} s, at most {} s are usual", age.as_secs(), deadline.as_secs());
        let cure = format!("tepui instance explain {0}; tepui instance delete {0} works too", instance.id);
        Some(warning(format!("instance {}", instance.id), what, cure))
    })
}

/// Imports that neither end nor fail.
pub(super) fn imports(tasks: &[ImportTask], now: Timestamp) -> Vec<Finding> {
    let old = tasks.iter().filter(|task| age(task.created_at, now).is_some_and(|age| age > LONGEST_IMPORT));
    let told = old.map(|task| {
        let what =
            format!("is active since {} and at {} %: {}", task.created_at, task.progress, task.message);
        let cure = "if it does not move, restart tepui-api: what cannot go on is failed then";
        warning(format!("import {}", task.id), what, cure)
    });
    told.collect()
}

/// Volumes that were to be deleted, and are not.
pub(super) fn volumes(warned: &[(EndingVolume, EndState)]) -> impl Iterator<Item = Finding> + use<'_> {
    let overdue = warned.iter().filter(|(_, state)| *state == EndState::Overdue);
    overdue.map(|(EndingVolume { volume_id, end, used_by, .. }, _)| {
        let (why, cure) = match used_by {
            Some(instance) => (format!("it is in use by {instance}"), "detach it"),
            None => (
                "its owner was not warned long enough".into(),
                "see that the clock of the control plane's host is right",
            ),
        };
        let what = format!("was to be deleted at {}: {why}", end.at);
        let cure = format!("{cure}; its owner keeps it with: tepui volume modify {volume_id} --no-ttl");
        warning(format!("volume {volume_id}"), what, cure)
    })
}

/// How long ago it was; `None` for what is to come, as after a clock that was set back.
pub(super) fn age(since: Timestamp, now: Timestamp) -> Option<Duration> {
    now.duration_since(since).try_into().ok()
}

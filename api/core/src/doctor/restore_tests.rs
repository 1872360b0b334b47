//! Snapshots that cannot be restored, and schedules whose tests do not end.

use tepui_db::model::{FailedTest, OverdueTest};

use super::{Finding, failure, warning};

/// Snapshots whose last test failed.
pub(super) fn failed(tests: &[FailedTest]) -> impl Iterator<Item = Finding> + use<'_> {
    tests.iter().map(|FailedTest { snapshot_id, tested_at, message }| {
        let what = format!("its test failed at {tested_at}: {message}");
        let cure = format!(
            "look at the disk of its pool, and take a new snapshot while there is a volume to take it of; to test it again: tepui snapshot test {snapshot_id}"
        );
        failure(format!("snapshot {snapshot_id}"), what, cure)
    })
}

/// Schedules of which a test is overdue by more than the time from one to the next.
pub(super) fn overdue(tests: &[OverdueTest]) -> impl Iterator<Item = Finding> + use<'_> {
    tests.iter().map(|OverdueTest { schedule_id, since, snapshot_id }| {
        let what = match snapshot_id {
            Some(snapshot) => format!("the test of {snapshot} is ordered since {since} and has not ended"),
            None => format!("nothing that it made was tested since {since}"),
        };
        let cure = "see that the hosts of its pools are up and that nothing else is wrong with the pools; where their disks cannot read as much, test less often";
        warning(format!("snapshot schedule {schedule_id}"), what, cure)
    })
}

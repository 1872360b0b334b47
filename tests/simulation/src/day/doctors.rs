//! The doctors are asked all day: of the books after the steps that change them, of everything when it is calm.

use std::collections::{BTreeMap, BTreeSet};

use tepui_agent::doctor::Finding;
use tepui_db::BooksDb as _;
use tepui_db::model::InstanceRecord;
use tepui_types::InstanceId;

use super::{Day, Stop};

/// A question takes milliseconds on a cloud of a thousand hosts, whose books change ten thousand times a day.
const HOSTS_FOR_ONE_COMMIT: u64 = 100;

impl Day {
    /// The books agree with each other: after every commit on a small cloud, after some on a large one.
    pub(super) async fn books_agree(&mut self) -> Result<(), Stop> {
        let Some(db) = self.control.db() else { return Ok(()) };
        let every = 1 + self.places.len() as u64 / HOSTS_FOR_ONE_COMMIT;
        // A new process counts from 0.
        if db.commits().abs_diff(self.commits_seen) < every {
            return Ok(());
        }
        self.commits_seen = db.commits();
        let found = db.discrepancies().await.map_err(anyhow::Error::from)?;
        if found.is_empty() { Ok(()) } else { Err(Stop::Broken(format!("the books disagree: {found:?}"))) }
    }

    /// No host's doctor finds anything, but for guests whose record was torn and which nobody started since.
    pub(super) async fn hosts_are_well(
        &self,
        records: &BTreeMap<InstanceId, InstanceRecord>,
    ) -> Result<(), Stop> {
        let kept_off = records.values().filter(|record| self.judge.is_kept_off(record.instance.id));
        let kept_off: BTreeSet<_> =
            kept_off.filter_map(|record| Some(record.placement.as_ref()?.id.to_string())).collect();
        let is_kept_off = |found: &Finding| {
            found.what.contains("record of what was done") && kept_off.contains(&found.object)
        };
        for (number, place) in self.places.iter().enumerate() {
            let mut found = place.host.findings().await?;
            found.retain(|found| !is_kept_off(found));
            if !found.is_empty() {
                return Err(Stop::Broken(format!("the doctor of host {number} finds {found:?}")));
            }
        }
        Ok(())
    }
}

//! The instances of whole projects as they were read last.
//!
//! A project's row counts the changes of all that its instances are read from; triggers do, so that
//! no verb can forget to. A reader takes the count and whatever else it needs from one snapshot.
//! Where the count is that of a listing kept here, the listing is what the snapshot holds: a read
//! after an acknowledged write sees it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tepui_db::model::InstanceRecord;
use tepui_types::ProjectId;

/// What all listings may weigh, in bytes.
const LIMIT: usize = 48 << 20;
/// About what a record weighs without its user data.
const RECORD: usize = 1024;

/// Listings by project.
#[derive(Default)]
pub(crate) struct Listings(Mutex<HashMap<ProjectId, Listing>>);

struct Listing {
    changes: i64,
    records: Vec<Arc<InstanceRecord>>,
    weight: usize,
}

impl Listings {
    fn known(&self) -> MutexGuard<'_, HashMap<ProjectId, Listing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The listing of a project at this count.
    pub(super) fn get(&self, project: ProjectId, changes: i64) -> Option<Vec<Arc<InstanceRecord>>> {
        let known = self.known();
        known.get(&project).filter(|listing| listing.changes == changes).map(|l| l.records.clone())
    }

    /// The records as they are in memory already, where they did not change: whoever kept something
    /// beside a record sees by its address that it holds.
    pub(super) fn known_of(
        &self,
        project: ProjectId,
        records: Vec<InstanceRecord>,
    ) -> Vec<Arc<InstanceRecord>> {
        let before = self.known().get(&project).map(|listing| listing.records.clone()).unwrap_or_default();
        let mut before: HashMap<_, _> = before.into_iter().map(|r| (r.instance.id, r)).collect();
        let known = |record: InstanceRecord| {
            let before = before.remove(&record.instance.id).filter(|before| **before == record);
            before.unwrap_or_else(|| Arc::new(record))
        };
        records.into_iter().map(known).collect()
    }

    /// Keeps a listing, unless a newer one is there. One that goes beyond the limit drives out all.
    pub(super) fn put(&self, project: ProjectId, changes: i64, records: &[Arc<InstanceRecord>]) {
        let weight = records.iter().map(|record| weight(record)).sum();
        let mut known = self.known();
        if known.get(&project).is_some_and(|listing| listing.changes > changes) {
            return;
        }
        known.remove(&project);
        let others: usize = known.values().map(|listing| listing.weight).sum();
        if others + weight > LIMIT {
            known.clear();
        }
        if weight <= LIMIT {
            known.insert(project, Listing { changes, records: records.to_vec(), weight });
        }
    }
}

fn weight(record: &InstanceRecord) -> usize {
    RECORD + record.instance.user_data.as_ref().map_or(0, Vec::len)
}

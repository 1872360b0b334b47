//! How much fits now: a question of every user, who sees counts and no nodes.

use tepui_db::model::{NodeLoad, NodeState};

use crate::scheduler::{self, Demand, Request, Seat};
use crate::{Cloud, Error, INSTANCE_TYPES, InstanceType};

/// The root disk that a question for room assumes, in GiB.
const USUAL_DISK_GIB: u64 = 8;
/// Nobody plans further than this, and counting costs time.
const COUNTED: usize = 1000;

/// How much fits now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Nodes that take new instances.
    pub nodes: u32,
    /// For each type, how many fit, at most 1,000, if only this type were launched.
    pub types: Vec<(&'static InstanceType, u64)>,
}

impl Cloud {
    /// How many instances of each type fit on all nodes together.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn room(&self) -> Result<Room, Error> {
        let loads = self.db.nodes().await?;
        let takes = |load: &&NodeLoad| load.node.state == NodeState::Up && load.node.schedulable;
        let nodes = u32::try_from(loads.iter().filter(takes).count()).unwrap_or(u32::MAX);
        let seats: Vec<Seat> = loads.iter().map(|load| Seat::of(load, &self.config().overcommit)).collect();
        let types = INSTANCE_TYPES.iter().map(|kind| (kind, self.fits(&seats, kind))).collect();
        Ok(Room { nodes, types })
    }

    fn fits(&self, seats: &[Seat], kind: &InstanceType) -> u64 {
        let request = Request {
            demand: Demand {
                vcpus: kind.vcpus,
                memory_mib: kind.memory_mib,
                disk_gib: USUAL_DISK_GIB + u64::from(kind.scratch_gib()),
            },
            strategy: self.config().strategy,
            group: None,
            duplicates: Vec::new(),
            only: None,
        };
        scheduler::plan(seats, &request, COUNTED).len() as u64
    }
}

//! The room in a pool that belongs to nothing there.

use clap::Args;
use tepui_types::endpoint::{ListLeftovers, ReclaimPool};
use tepui_types::rest::{Empty, Leftover, LeftoverState};

use super::{or_dash, when, word};
use crate::complete::{Kind, names};
use crate::confirm::Destroy;
use crate::failure::Result;
use crate::output::Shown;
use crate::session::Session;

const MIB: u64 = 1 << 20;

/// A pool whose room is looked at, or given back.
#[derive(Debug, Args)]
pub struct Reclaim {
    /// Name, id or a unique beginning
    #[arg(add = names(Kind::Pool))]
    pool: String,
    /// Unlink what was removed, though its grace is not over
    #[arg(long)]
    now: bool,
    /// Confirmation.
    #[command(flatten)]
    destroy: Destroy,
}

impl Shown for Leftover {
    const COLUMNS: &'static [&'static str] = &["id", "kind", "state", "size", "project", "removed", "goes"];

    fn cells(&self) -> Vec<String> {
        let time = |at: Option<_>| at.map_or_else(|| "-".into(), when);
        let (id, kind, state) = (self.id.clone(), word(&self.kind), word(&self.state));
        let project = or_dash(self.project_id.as_ref());
        vec![id, kind, state, size(self), project, time(self.removed_at), time(self.goes_at)]
    }

    fn id(&self) -> String {
        self.id.clone()
    }
}

fn size(leftover: &Leftover) -> String {
    leftover.bytes.map_or_else(|| "-".into(), |bytes| format!("{} MiB", bytes.div_ceil(MIB)))
}

/// Lists what takes room, or frees what was removed.
///
/// # Errors
/// What the command met.
pub async fn run(Reclaim { pool, now, destroy }: Reclaim, session: &mut Session) -> Result<()> {
    let path = [pool.as_str()];
    let found = session.call::<ListLeftovers>(&path, &Empty {}).await?.items;
    if !now {
        return session.list(&found, "Nothing but volumes and snapshots takes room there.");
    }
    let inventory: Vec<String> = found.iter().filter_map(unlinks).collect();
    if inventory.is_empty() {
        session.note("nothing that was removed is left there");
        return Ok(());
    }
    if destroy.approve::<ReclaimPool>(session, (&path, &Empty {}), &inventory, &pool).await? {
        let left = session.call::<ReclaimPool>(&path, &Empty {}).await?.items;
        return session.list(&left, "Nothing but volumes and snapshots takes room there.");
    }
    Ok(())
}

/// What is lost for good, if the file is of that kind.
fn unlinks(leftover: &Leftover) -> Option<String> {
    match (leftover.state, leftover.bytes) {
        (LeftoverState::Quarantined, Some(_)) => {
            Some(format!("unlinks: {} {} ({})", word(&leftover.kind), leftover.id, size(leftover)))
        }
        (LeftoverState::Quarantined, None)
        | (
            LeftoverState::Unlinking
            | LeftoverState::Referred
            | LeftoverState::Unnamed
            | LeftoverState::Unused,
            _,
        ) => None,
    }
}

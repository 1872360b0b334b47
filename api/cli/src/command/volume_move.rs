//! Moves of volumes to other pools, for administrators.

use clap::Args;
use tepui_types::endpoint::{ListVolumeMoves, MoveVolume};
use tepui_types::rest::{Empty, MoveVolumeRequest, VolumeMove};

use super::{or_dash, when, word};
use crate::complete::{Kind, names};
use crate::failure::Result;
use crate::output::Shown;
use crate::session::Session;

/// A volume, and where it goes.
#[derive(Debug, Args)]
pub struct Move {
    /// Name, id or a unique beginning; of another project the whole id
    #[arg(add = names(Kind::Volume))]
    volume: String,
    /// The pool that it goes to; the one where it is calls its move off
    #[arg(long, add = names(Kind::Pool))]
    pool: String,
}

impl Shown for VolumeMove {
    const COLUMNS: &'static [&'static str] = &["volume", "stage", "from", "to", "since", "message"];

    fn cells(&self) -> Vec<String> {
        let (from, to) = (self.from_pool_id.to_string(), self.to_pool_id.to_string());
        let (since, message) = (when(self.since), or_dash(self.message.as_ref()));
        vec![self.volume_id.to_string(), word(&self.stage), from, to, since, message]
    }

    fn id(&self) -> String {
        self.volume_id.to_string()
    }
}

/// Begins a move, which goes on in the background.
///
/// # Errors
/// What the command met.
pub async fn run(Move { volume, pool }: Move, session: &mut Session) -> Result<()> {
    let request = MoveVolumeRequest { pool };
    let begun = session.call::<MoveVolume>(&[&volume], &request).await?.items;
    session.list(&begun, "It is in that pool.")
}

/// Lists the moves that are under way or failed.
///
/// # Errors
/// What the command met.
pub async fn list(session: &mut Session) -> Result<()> {
    let moves = session.call::<ListVolumeMoves>(&[], &Empty {}).await?.items;
    session.list(&moves, "No volume moves.")
}

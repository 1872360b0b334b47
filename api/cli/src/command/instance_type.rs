//! Instance types and how many of each fit now.

use clap::Subcommand;
use serde::Serialize;
use tepui_types::endpoint::ShowCapacity;
use tepui_types::rest::{Empty, TypeRoom};

use crate::cli::examples;
use crate::failure::Result;
use crate::output::Shown;
use crate::session::Session;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List instance types and how many of each fit now
    #[command(before_help = examples!("tepui type list", "tepui type list --json=name,fits"))]
    List,
}

/// A line of the list.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    vcpus: u32,
    memory_mib: u64,
    scratch_gib: Option<u32>,
    fits: u64,
}

impl From<TypeRoom> for Row {
    fn from(room: TypeRoom) -> Self {
        let kind = room.instance_type;
        let (memory_mib, scratch_gib) = (kind.memory_mib, kind.scratch_gib);
        Self { name: kind.name, vcpus: kind.vcpus, memory_mib, scratch_gib, fits: room.fits }
    }
}

impl Shown for Row {
    const COLUMNS: &'static [&'static str] = &["name", "vcpus", "memory", "scratch", "fits"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.vcpus.to_string(),
            format!("{} MiB", self.memory_mib),
            self.scratch_gib.map_or_else(String::new, |gib| format!("{gib} GiB")),
            self.fits.to_string(),
        ]
    }

    fn id(&self) -> String {
        self.name.clone()
    }
}

/// Runs it.
///
/// # Errors
/// What the command met.
pub async fn run(verb: Verb, session: &mut Session) -> Result<()> {
    let Verb::List = verb;
    let capacity = session.call::<ShowCapacity>(&[], &Empty {}).await?;
    let rows: Vec<Row> = capacity.types.into_iter().map(Row::from).collect();
    session.list(&rows, "This cloud offers no instance types.")
}

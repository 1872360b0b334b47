//! Schedules of snapshots.

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use tepui_types::endpoint::{
    CreateSnapshotSchedule, DeleteSnapshotSchedule, ListSnapshotSchedules, ShowSnapshotSchedule,
};
use tepui_types::rest::{CreateSnapshotScheduleRequest, Empty, SnapshotSchedule};

use super::tag::parse_tag;
use super::{or_dash, when};
use crate::cli::examples;
use crate::complete::{Kind, names};
use crate::confirm::Destroy;
use crate::failure::Result;
use crate::output::Shown;
use crate::session::Session;
use crate::wait::parse_duration;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the schedules
    #[command(before_help = examples!("tepui snapshot schedule list", "tepui snapshot schedule list --json=id,next_at"))]
    List,
    /// Take snapshots again and again of all volumes that have a tag
    #[command(before_help = examples!("tepui snapshot schedule create --tag backup=daily --every 24h --keep 7", "tepui snapshot schedule create --tag backup=hourly --every 1h --keep 24"))]
    #[command(
        long_about = "Take snapshots again and again of all volumes that have a tag, the first ones at once. Of each volume the newest completed ones are kept, and older ones that this schedule made are deleted. A time that is missed is made up once. A root disk that is local to its host is not among the volumes, whatever its tags.\n\nWith --freeze a running guest writes out all that its programs wrote, and holds its file systems still while the snapshots of all its volumes are taken, as with tepui snapshot create --freeze. Where a guest cannot, or does not, its snapshots are taken without, and say so. Volumes that no running guest writes need none."
    )]
    Create(New),
    /// Delete a schedule; the snapshots that it made stay
    #[command(before_help = examples!("tepui snapshot schedule delete sched-0123456789abcdef0", "tepui snapshot schedule delete sched-0123456789abcdef0 --yes"))]
    Delete {
        /// Id or a unique beginning
        #[arg(add = names(Kind::SnapshotSchedule))]
        schedule: String,
        /// Confirmation.
        #[command(flatten)]
        destroy: Destroy,
    },
}

/// A schedule to be.
#[derive(Debug, Args)]
pub struct New {
    /// The volumes' tag
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_tag)]
    tag: (String, String),
    /// From one time to the next, 1m to 366d, for example 24h
    #[arg(long, value_parser = parse_duration, allow_hyphen_values = true)]
    every: Duration,
    /// So many completed snapshots of each volume are kept
    #[arg(long, allow_negative_numbers = true)]
    keep: u32,
    /// Test the newest snapshot of each volume as often, at least from one time to the next, for example 7d; none without it
    #[arg(long, value_parser = parse_duration, allow_hyphen_values = true)]
    test_every: Option<Duration>,
    /// Have the guests' file systems hold still meanwhile, by their qemu-guest-agents; where one does not, its snapshots are crash-consistent
    #[arg(long)]
    freeze: bool,
}

impl Shown for SnapshotSchedule {
    const COLUMNS: &'static [&'static str] =
        &["id", "tag", "every", "keep", "tested every", "freeze", "next"];

    fn cells(&self) -> Vec<String> {
        let shown = |seconds: u32| format!("{:#}", SignedDuration::from_secs(seconds.into()));
        let (every, tested) = (shown(self.every_seconds), self.test_every_seconds.map(shown));
        let tag = format!("{}={}", self.tag_key, self.tag_value);
        let (keep, next) = (self.keep.to_string(), when(self.next_at));
        let freeze = match (self.freeze, &self.freeze_failure) {
            (true, Some(_)) => "failed",
            (true, None) => "yes",
            (false, _) => "no",
        };
        vec![self.id.to_string(), tag, every, keep, or_dash(tested.as_ref()), freeze.into(), next]
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// Runs one of them.
///
/// # Errors
/// What the command met.
pub async fn run(verb: Verb, session: &mut Session) -> Result<()> {
    match verb {
        Verb::List => {
            let list = session.call::<ListSnapshotSchedules>(&[], &Empty {}).await?;
            session.list(&list.items, "No schedules yet. See: tepui snapshot schedule create --help")
        }
        Verb::Create(New { tag: (tag_key, tag_value), every, keep, test_every, freeze }) => {
            // What is too long for the field is too long for the cloud, which says so.
            let seconds = |long: Duration| u32::try_from(long.as_secs()).unwrap_or(u32::MAX);
            let (every_seconds, test_every_seconds) = (seconds(every), test_every.map(seconds));
            let request = CreateSnapshotScheduleRequest {
                tag_key,
                tag_value,
                every_seconds,
                keep,
                test_every_seconds,
                freeze,
            };
            let schedule = session.call::<CreateSnapshotSchedule>(&[], &request).await?;
            session.show(&schedule)
        }
        Verb::Delete { schedule, destroy } => delete(&schedule, &destroy, session).await,
    }
}

async fn delete(schedule: &str, destroy: &Destroy, session: &mut Session) -> Result<()> {
    let found = session.call::<ShowSnapshotSchedule>(&[schedule], &Empty {}).await?;
    let id = found.id.to_string();
    let inventory =
        [format!("deletes: schedule {id}, of volumes with {}={}", found.tag_key, found.tag_value)];
    let path = [id.as_str()];
    if destroy.approve::<DeleteSnapshotSchedule>(session, (&path, &Empty {}), &inventory, &id).await? {
        session.call::<DeleteSnapshotSchedule>(&path, &Empty {}).await?;
        session.id(&id)?;
    }
    Ok(())
}

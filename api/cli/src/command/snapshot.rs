//! Snapshots of volumes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use tepui_client::DownloadProgress;
use tepui_types::endpoint::{
    CopySnapshot, CreateSnapshot, DeleteSnapshot, ListSnapshots, ShowSnapshot, SnapshotInstance, TestSnapshot,
};
use tepui_types::rest::{
    CopySnapshotRequest, CreateSnapshotRequest, Empty, Snapshot, SnapshotInstanceRequest, SnapshotState,
    SnapshotTest,
};

use super::{or_dash, snapshot_schedule, snapshot_upload, when, word};
use crate::cli::examples;
use crate::complete::{Kind, names};
use crate::confirm::Destroy;
use crate::failure::{Failure, Result};
use crate::output::Shown;
use crate::session::Session;
use crate::wait::{Deadline, parse_duration};

const MIB: u64 = 1 << 20;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List snapshots
    #[command(before_help = examples!("tepui snapshot list", "tepui snapshot list --json=id,volume_id,state"))]
    List,
    /// Show a snapshot
    #[command(before_help = examples!("tepui snapshot show before-upgrade", "tepui snapshot show before-upgrade --json=trouble"))]
    Show {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Snapshot))]
        snapshot: String,
    },
    /// Take a snapshot of a volume, used or not
    #[command(before_help = examples!("tepui snapshot create before-upgrade --volume data", "tepui snapshot create nightly --instance db --freeze"))]
    #[command(
        long_about = "Take a snapshot of a volume, used or not. It holds what a disk holds after a power failure: what the guest had flushed. It takes milliseconds and no room until the volume is written again. That of a root disk that is local to its host is a copy of all that was written there, in a pool: it takes the time of its bytes, and its moment is not that of the instance's volumes.\n\nThose of several volumes of an instance are of one moment, for which it is paused while it runs: some tenths of a second, at most five seconds. It needs no help of the guest. Either all of them are completed, or all end in error.\n\nWith --freeze the guest first writes out all that its programs wrote, and holds its file systems still while the snapshot is taken: a moment, at most ten seconds. That needs qemu-guest-agent in the guest. The snapshot is completed only if it was still all the while; else it ends in error, and one without --freeze is what can be had."
    )]
    Create(New),
    /// Copy a snapshot, also to another host
    #[command(before_help = examples!("tepui snapshot copy before-upgrade kept", "tepui snapshot copy before-upgrade kept --class st1"))]
    #[command(
        long_about = "Copy a snapshot. The copy stays when the snapshot is deleted, which is refused until the copy is completed. In the same pool it takes milliseconds and no room; to another pool every byte that was written is copied, on the same host if it has one of the class, and else from host to host."
    )]
    Copy(NewCopy),
    /// Write what a snapshot holds into a file
    #[command(before_help = examples!("tepui snapshot download before-upgrade data.raw", "tepui snapshot download nightly /mnt/backup/nightly.raw"))]
    #[command(
        long_about = "Write what a snapshot holds into a new raw file with holes, which is there whole or not at all. What breaks off on the way is taken up again where it was; what is given up leaves nothing. The volume may be in use meanwhile, and the snapshot deleted once this is done."
    )]
    Download {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Snapshot))]
        snapshot: String,
        /// The file, which must not exist yet
        file: PathBuf,
    },
    /// Make a snapshot of a file, as one that was downloaded
    #[command(before_help = examples!("tepui snapshot upload data.raw --name data", "tepui snapshot upload old-server.qcow2 --class st1 --tag from=office"))]
    #[command(
        long_about = "Make a snapshot of a raw or qcow2 file, in a pool of the project's usual class unless another is named. It holds the file's disk, and zeros up to whole GiB; of a file that was downloaded, the same bytes. On the way the file is an image of the project, which goes as soon as the snapshot is being made. What breaks off on the way is taken up again where it was; the command that goes on after that is named."
    )]
    Upload(snapshot_upload::Upload),
    /// Test that snapshots can be restored as they were taken
    #[command(before_help = examples!("tepui snapshot test before-upgrade", "tepui snapshot test nightly weekly --no-wait"))]
    #[command(
        long_about = "Test that snapshots can be restored as they were taken. The host of each makes a file of it as for a volume, reads every byte of that, and removes it. It takes no room, half of the disk's time at most, and as long as the bytes take. The first test writes down a digest of the content; a later one that finds another has failed. A test changes nothing of its snapshot."
    )]
    Test(Test),
    /// Snapshots that are taken again and again
    #[command(subcommand, before_help = examples!("tepui snapshot schedule create --tag backup=daily --every 24h --keep 7", "tepui snapshot schedule list"))]
    Schedule(snapshot_schedule::Verb),
    /// Delete a snapshot; volumes made from it stay
    #[command(before_help = examples!("tepui snapshot delete before-upgrade", "tepui snapshot delete before-upgrade --yes"))]
    Delete {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Snapshot))]
        snapshot: String,
        /// Confirmation.
        #[command(flatten)]
        destroy: Destroy,
    },
}

/// A snapshot to be.
#[derive(Debug, Args)]
pub struct New {
    /// The tag Name
    name: String,
    /// Of this volume: name, id or a unique beginning; of a root disk that is local to its host: its id
    #[arg(long, add = names(Kind::Volume), required_unless_present = "instance")]
    volume: Option<String>,
    /// Of every disk of this instance, at one moment: name, id or a unique beginning
    #[arg(long, add = names(Kind::Instance), conflicts_with = "volume")]
    instance: Option<String>,
    /// Not of the disk that the instance boots from
    #[arg(long, requires = "instance", conflicts_with = "volume")]
    exclude_root: bool,
    /// Have the guest's file systems hold still meanwhile, by its qemu-guest-agent; without that the snapshot fails
    #[arg(long)]
    freeze: bool,
    /// For people
    #[arg(long, default_value = "")]
    description: String,
    /// Answer at once; the work goes on
    #[arg(long)]
    no_wait: bool,
    /// How long to watch; then the exit code is 7
    #[arg(long, default_value = "5m", value_parser = parse_duration, allow_hyphen_values = true)]
    timeout: Duration,
}

/// A copy to be.
#[derive(Debug, Args)]
pub struct NewCopy {
    /// Of this snapshot: name, id or a unique beginning
    #[arg(add = names(Kind::Snapshot))]
    snapshot: String,
    /// The tag Name
    name: String,
    /// To a pool of this class; to the same pool without it
    #[arg(long)]
    class: Option<String>,
    /// To this pool: name, id or a unique beginning; for administrators
    #[arg(long, add = names(Kind::Pool), conflicts_with = "class")]
    pool: Option<String>,
    /// For people
    #[arg(long, default_value = "")]
    description: String,
    /// Answer at once; the work goes on
    #[arg(long)]
    no_wait: bool,
    /// How long to watch; then the exit code is 7
    #[arg(long, default_value = "30m", value_parser = parse_duration, allow_hyphen_values = true)]
    timeout: Duration,
}

/// Tests to be.
#[derive(Debug, Args)]
pub struct Test {
    /// Names, ids or unique beginnings
    #[arg(required = true, add = names(Kind::Snapshot))]
    snapshots: Vec<String>,
    /// Answer at once; the work goes on
    #[arg(long)]
    no_wait: bool,
    /// How long to watch; then the exit code is 7
    #[arg(long, default_value = "30m", value_parser = parse_duration, allow_hyphen_values = true)]
    timeout: Duration,
}

impl Shown for Snapshot {
    const COLUMNS: &'static [&'static str] =
        &["name", "id", "of", "size", "state", "consistency", "tested", "created"];

    fn cells(&self) -> Vec<String> {
        let (name, size) = (or_dash(self.name.as_ref()), format!("{} GiB", self.size_gib));
        let (state, consistency) = (word(&self.state), word(&self.consistency));
        let (id, created) = (self.id.to_string(), when(self.created_at));
        vec![name, id, source(self), size, state, consistency, tested(self), created]
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// The volume that it was taken of, the snapshot that it is a copy of, or that it holds an image.
fn source(snapshot: &Snapshot) -> String {
    let volume = snapshot.volume_id.map(|id| id.to_string());
    let copied = || snapshot.copy_of.map(|id| id.to_string());
    let image = || snapshot.image.map(|_| "an image".to_owned());
    or_dash(volume.or_else(copied).or_else(image).as_ref())
}

/// When its last test passed, or that it failed.
fn tested(snapshot: &Snapshot) -> String {
    match &snapshot.test {
        Some(SnapshotTest { failure: Some(_), .. }) => "failed".into(),
        Some(SnapshotTest { tested_at: Some(at), .. }) => when(*at),
        Some(SnapshotTest { ordered_at: Some(_), .. }) => "ordered".into(),
        Some(_) | None => or_dash(None::<&String>),
    }
}

/// Runs one of them.
///
/// # Errors
/// What the command met.
pub async fn run(verb: Verb, session: &mut Session) -> Result<()> {
    match verb {
        Verb::List => {
            let list = session.call::<ListSnapshots>(&[], &Empty {}).await?;
            session.list(&list.items, "No snapshots yet. See: tepui snapshot create --help")
        }
        Verb::Show { snapshot } => {
            let snapshot = session.call::<ShowSnapshot>(&[&snapshot], &Empty {}).await?;
            session.show(&snapshot)
        }
        Verb::Create(new) => create(new, session).await,
        Verb::Copy(new) => copy(new, session).await,
        Verb::Download { snapshot, file } => download(&snapshot, &file, session).await,
        Verb::Upload(upload) => snapshot_upload::run(upload, session).await,
        Verb::Test(tests) => test(tests, session).await,
        Verb::Schedule(verb) => snapshot_schedule::run(verb, session).await,
        Verb::Delete { snapshot, destroy } => delete(&snapshot, &destroy, session).await,
    }
}

async fn create(new: New, session: &mut Session) -> Result<()> {
    let New { name, volume, instance, exclude_root, freeze, description, no_wait, timeout } = new;
    if let Some(instance) = instance {
        let tags = [("Name".to_owned(), name)].into();
        let request = SnapshotInstanceRequest { description, freeze, exclude_root, tags };
        let mut taken = session.call::<SnapshotInstance>(&[&instance], &request).await?.items;
        if !no_wait {
            let deadline = Deadline::after(timeout);
            for snapshot in &mut taken {
                *snapshot = completed(snapshot.clone(), deadline, session).await?;
            }
        }
        return session.list(&taken, "No snapshots were taken.");
    }
    let volume = volume.unwrap_or_default();
    let request = CreateSnapshotRequest { volume, description, freeze, name: Some(name), tags: [].into() };
    let snapshot = session.call::<CreateSnapshot>(&[], &request).await?;
    let snapshot =
        if no_wait { snapshot } else { completed(snapshot, Deadline::after(timeout), session).await? };
    session.show(&snapshot)
}

async fn copy(new: NewCopy, session: &mut Session) -> Result<()> {
    let NewCopy { snapshot, name, class, pool, description, no_wait, timeout } = new;
    let request = CopySnapshotRequest { class, pool, description, name: Some(name), tags: [].into() };
    let copy = session.call::<CopySnapshot>(&[&snapshot], &request).await?;
    let copy = if no_wait { copy } else { completed(copy, Deadline::after(timeout), session).await? };
    session.show(&copy)
}

async fn download(snapshot: &str, file: &Path, session: &mut Session) -> Result<()> {
    // By its id from here on: a name may become another's while this goes on again.
    let snapshot = session.call::<ShowSnapshot>(&[snapshot], &Empty {}).await?;
    let client = session.client()?;
    let mut progress = session.progress();
    progress.stage("download", &file.display().to_string());
    let tell = |at: DownloadProgress| progress.live(&format!("{}/{} MiB", at.received / MIB, at.total / MIB));
    client.download_snapshot(snapshot.id, file, tell).await?;
    progress.done();
    session.show(&snapshot)
}

async fn test(Test { snapshots, no_wait, timeout }: Test, session: &mut Session) -> Result<()> {
    let mut tested = Vec::new();
    for snapshot in &snapshots {
        tested.push(session.call::<TestSnapshot>(&[snapshot], &Empty {}).await?);
    }
    if no_wait {
        return session.list(&tested, "No snapshots were tested.");
    }
    let deadline = Deadline::after(timeout);
    for snapshot in &mut tested {
        *snapshot = test_ended(snapshot.clone(), deadline, session).await?;
    }
    session.list(&tested, "No snapshots were tested.")?;
    tested.iter().find_map(test_failure).map_or(Ok(()), Err)
}

/// Watches a snapshot until no test of it is ordered.
async fn test_ended(mut snapshot: Snapshot, deadline: Deadline, session: &mut Session) -> Result<Snapshot> {
    let id = snapshot.id.to_string();
    while snapshot.test.as_ref().is_some_and(|test| test.ordered_at.is_some()) {
        let what = format!("snapshot {id} to be tested");
        deadline.pause(&what, &format!("tepui snapshot show {id}")).await?;
        snapshot = session.call::<ShowSnapshot>(&[&id], &Empty {}).await?;
    }
    // Its host was given up, or it is being deleted: no test of it passed.
    if snapshot.state != SnapshotState::Completed {
        return Err(failed(&snapshot));
    }
    Ok(snapshot)
}

fn test_failure(snapshot: &Snapshot) -> Option<Failure> {
    let why = snapshot.test.as_ref()?.failure.clone()?;
    let failure = Failure::failed(format!("the test of snapshot {} failed", snapshot.id));
    Some(failure.why(why).try_(format!("tepui snapshot show {}", snapshot.id)))
}

/// Watches a snapshot until it is there.
pub(super) async fn completed(
    mut snapshot: Snapshot,
    deadline: Deadline,
    session: &mut Session,
) -> Result<Snapshot> {
    let id = snapshot.id.to_string();
    loop {
        match snapshot.state {
            SnapshotState::Pending => {}
            SnapshotState::Completed => return Ok(snapshot),
            SnapshotState::Error | SnapshotState::Deleting => return Err(failed(&snapshot)),
        }
        let what = format!("snapshot {id} to be completed");
        deadline.pause(&what, &format!("tepui snapshot show {id}")).await?;
        snapshot = session.call::<ShowSnapshot>(&[&id], &Empty {}).await?;
    }
}

/// Says what became of one that will never be completed.
pub(super) fn failed(snapshot: &Snapshot) -> Failure {
    let failure = Failure::failed(format!("snapshot {} is {}", snapshot.id, word(&snapshot.state)));
    let failure = failure.try_(format!("tepui snapshot show {}", snapshot.id));
    match &snapshot.trouble {
        Some(trouble) => failure.why(trouble.clone()),
        None => failure,
    }
}

async fn delete(snapshot: &str, destroy: &Destroy, session: &mut Session) -> Result<()> {
    let found = session.call::<ShowSnapshot>(&[snapshot], &Empty {}).await?;
    let (id, called) = (found.id.to_string(), found.name.clone().unwrap_or_else(|| found.id.to_string()));
    let inventory = [format!("deletes: snapshot {called} ({id}, of {})", source(&found))];
    if destroy.approve::<DeleteSnapshot>(session, (&[id.as_str()], &Empty {}), &inventory, &called).await? {
        session.call::<DeleteSnapshot>(&[&id], &Empty {}).await?;
        session.id(&id)?;
    }
    Ok(())
}

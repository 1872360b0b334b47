//! Volumes.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use data_encoding::HEXLOWER;
use tepui_types::InstanceId;
use tepui_types::endpoint::{
    AttachVolume, CreateVolume, DeleteVolume, DetachVolume, ListVolumes, ModifyVolume, ShowInstance,
    ShowVolume,
};
use tepui_types::rest::{
    AttachVolumeRequest, AttachmentState, CreateVolumeRequest, DetachVolumeRequest, Empty, ModificationState,
    ModifyVolumeRequest, Volume, VolumeAttachment, VolumeState,
};

use super::instance::Switch;
use super::volume_move::{self, Move};
use super::volume_ttl::{Ttl, ends, parse_ttl, seconds};
use super::{or_dash, word};
use crate::cli::examples;
use crate::complete::{Kind, names};
use crate::confirm::Destroy;
use crate::failure::{Failure, Result};
use crate::output::Shown;
use crate::session::Session;
use crate::wait::{Deadline, parse_duration};

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List volumes, root disks among them
    #[command(before_help = examples!("tepui volume list", "tepui volume list --json=id,state,attachments"))]
    List,
    /// Show a volume
    #[command(before_help = examples!("tepui volume show data", "tepui volume show data --json=attachments"))]
    Show {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Volume))]
        volume: String,
    },
    /// Create a volume
    #[command(before_help = examples!("tepui volume create data --size 10 --iops 500", "tepui volume create golden --snapshot before-upgrade --read-only"))]
    Create(New),
    /// Grow a volume, change its limits or its end, or say whether it is read-only
    #[command(before_help = examples!("tepui volume modify data --size 20 --iops 500", "tepui volume modify data --read-only on"))]
    Modify(Modify),
    /// Attach a volume to an instance, running or stopped; a read-only one to up to 16
    #[command(before_help = examples!("tepui volume attach data web", "tepui volume attach data web --device /dev/sdg"))]
    Attach(Attach),
    /// Detach a volume from an instance
    #[command(before_help = examples!("tepui volume detach data --force", "tepui volume detach golden --instance web"))]
    #[command(
        long_about = "Detach a volume from an instance, which must be named where several have it. Unmount it in the guest first. With --force the guest is asked once more, for up to twelve seconds over iSCSI and not at all over NFS; then it is cut off at the pool's host, and what it had not written yet is lost."
    )]
    Detach(Detach),
    /// Move a volume that nobody uses to another pool of its class; for administrators
    #[command(before_help = examples!("tepui volume move data --pool fast-2", "tepui volume move vol-0123456789abcdef0 --pool fast-2 --quiet"))]
    #[command(
        long_about = "Move a volume that nobody uses to another pool of its class. It keeps its id, tags, size, limits and end; its snapshots stay where they are. What it holds is copied in the background, and the volume is used as always meanwhile: whoever attaches, changes or deletes it ends the move. Then it cannot be attached for some seconds."
    )]
    Move(Move),
    /// List the volumes on their way to other pools; for administrators
    #[command(before_help = examples!("tepui volume moves", "tepui volume moves --json=volume_id,stage"))]
    Moves,
    /// Delete a volume that nobody uses
    #[command(before_help = examples!("tepui volume delete data", "tepui volume delete data --yes"))]
    Delete {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Volume))]
        volume: String,
        /// Confirmation.
        #[command(flatten)]
        destroy: Destroy,
    },
}

/// A volume to be.
#[derive(Debug, Args)]
pub struct New {
    /// The tag Name
    name: String,
    /// In GiB; the snapshot's size without it
    #[arg(long, required_unless_present = "snapshot")]
    size: Option<u32>,
    /// What it holds when it is new: name, id or a unique beginning
    #[arg(long, add = names(Kind::Snapshot))]
    snapshot: Option<String>,
    /// Nobody writes it, so that up to 16 instances may have it at once
    #[arg(long, requires = "snapshot")]
    read_only: bool,
    /// The class of its pool
    #[arg(long)]
    class: Option<String>,
    /// What a guest may do with it.
    #[command(flatten)]
    limits: Limits,
    /// Delete it so long after its creation, after a warning: 1h to 3650d, for example 7d
    #[arg(long, value_name = "TIME", value_parser = parse_ttl, allow_hyphen_values = true)]
    ttl: Option<Duration>,
    /// Watching.
    #[command(flatten)]
    watch: Watch,
}

/// A volume to be changed.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true).args(["size", "iops", "throughput", "ttl", "no_ttl", "read_only"]))]
pub struct Modify {
    /// Name, id or a unique beginning
    #[arg(add = names(Kind::Volume))]
    volume: String,
    /// In GiB; it never shrinks
    #[arg(long)]
    size: Option<u32>,
    /// What a guest may do with it.
    #[command(flatten)]
    limits: Limits,
    /// When it is deleted by itself.
    #[command(flatten)]
    ttl: Ttl,
    /// Nobody writes it, so that up to 16 instances may have it at once; while none has it
    #[arg(long, value_name = "ON|OFF")]
    read_only: Option<Switch>,
    /// Watching.
    #[command(flatten)]
    watch: Watch,
}

/// What a guest may do with a volume in a second.
#[derive(Debug, Clone, Copy, Args)]
struct Limits {
    /// Reads and writes a second at most: 100 to 80000; 3000 is no limit
    #[arg(long, value_name = "N")]
    iops: Option<u32>,
    /// MiB a second at most: 1 to 2000; 125 is no limit
    #[arg(long, value_name = "MIB")]
    throughput: Option<u32>,
}

/// A volume on its way to an instance.
#[derive(Debug, Args)]
pub struct Attach {
    /// Name, id or a unique beginning
    #[arg(add = names(Kind::Volume))]
    volume: String,
    /// Name, id or a unique beginning
    #[arg(add = names(Kind::Instance))]
    instance: String,
    /// The disk's name; the first free one from /dev/sdf on without it
    #[arg(long)]
    device: Option<String>,
    /// Watching.
    #[command(flatten)]
    watch: Watch,
}

/// A volume on its way from an instance.
#[derive(Debug, Args)]
pub struct Detach {
    /// Name, id or a unique beginning
    #[arg(add = names(Kind::Volume))]
    volume: String,
    /// Only from this one; needed where several have it: name, id or a unique beginning
    #[arg(long, add = names(Kind::Instance))]
    instance: Option<String>,
    /// Cut the guest off if it does not let go at once
    #[arg(long)]
    force: bool,
    /// Watching.
    #[command(flatten)]
    watch: Watch,
}

/// Whether and how long to watch.
#[derive(Debug, Clone, Copy, Args)]
struct Watch {
    /// Answer at once; the work goes on
    #[arg(long)]
    no_wait: bool,
    /// How long to watch; then the exit code is 7
    #[arg(long, default_value = "5m", value_parser = parse_duration, allow_hyphen_values = true)]
    timeout: Duration,
}

impl Shown for Volume {
    const COLUMNS: &'static [&'static str] =
        &["name", "id", "size", "class", "state", "instance", "device", "ends"];

    fn cells(&self) -> Vec<String> {
        let (instance, device) = match self.attachments.as_slice() {
            [] => (None, None),
            [only] => (Some(only.instance_id.to_string()), Some(&only.device)),
            several => (Some(format!("{} instances", several.len())), None),
        };
        let (size, class) = (format!("{} GiB", self.size_gib), self.class.clone());
        let (name, id) = (or_dash(self.name.as_ref()), self.id.to_string());
        vec![name, id, size, class, state(self), or_dash(instance.as_ref()), or_dash(device), ends(self)]
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// How far it is, on its way to or from its only instance included.
fn state(volume: &Volume) -> String {
    match volume.attachments.as_slice() {
        [
            VolumeAttachment {
                state: state @ (AttachmentState::Attaching | AttachmentState::Detaching), ..
            },
        ] => word(state),
        _ => word(&volume.state),
    }
}

/// Runs one of them.
///
/// # Errors
/// What the command met.
pub async fn run(verb: Verb, session: &mut Session) -> Result<()> {
    match verb {
        Verb::List => {
            let list = session.call::<ListVolumes>(&[], &Empty {}).await?;
            session.list(&list.items, "No volumes yet. See: tepui volume create --help")
        }
        Verb::Show { volume } => {
            let volume = session.call::<ShowVolume>(&[&volume], &Empty {}).await?;
            session.show(&volume)
        }
        Verb::Create(new) => create(new, session).await,
        Verb::Modify(Modify { volume, ttl, .. }) if ttl.is_asked() => ttl.set(&volume, session).await,
        Verb::Modify(Modify {
            volume,
            size,
            limits: Limits { iops, throughput },
            ttl: _,
            read_only,
            watch,
        }) => {
            let read_only = read_only.map(|switch| switch == Switch::On);
            let request = ModifyVolumeRequest { size_gib: size, iops, throughput_mib: throughput, read_only };
            let volume = session.call::<ModifyVolume>(&[&volume], &request).await?;
            watch.show(volume, Goal::Modified, session).await
        }
        Verb::Attach(attach) => {
            let Attach { volume, instance, device, watch } = attach;
            let instance = session.call::<ShowInstance>(&[&instance], &Empty {}).await?.id;
            let request = AttachVolumeRequest { instance: instance.to_string(), device };
            let volume = session.call::<AttachVolume>(&[&volume], &request).await?;
            watch.show(volume, Goal::Attached(instance), session).await
        }
        Verb::Detach(Detach { volume, instance, force, watch }) => {
            let named = match instance {
                Some(instance) => Some(session.call::<ShowInstance>(&[&instance], &Empty {}).await?.id),
                None => None,
            };
            let request = DetachVolumeRequest { instance: named.map(|id| id.to_string()), force };
            let volume = session.call::<DetachVolume>(&[&volume], &request).await?;
            let left = named.or_else(|| volume.attachments.first().map(|only| only.instance_id));
            watch.show(volume, left.map_or(Goal::Available, Goal::Detached), session).await
        }
        Verb::Move(wanted) => volume_move::run(wanted, session).await,
        Verb::Moves => volume_move::list(session).await,
        Verb::Delete { volume, destroy } => delete(&volume, &destroy, session).await,
    }
}

async fn create(new: New, session: &mut Session) -> Result<()> {
    let request = CreateVolumeRequest {
        size_gib: new.size,
        class: new.class,
        iops: new.limits.iops,
        throughput_mib: new.limits.throughput,
        snapshot: new.snapshot,
        ttl_seconds: new.ttl.map(seconds),
        read_only: new.read_only,
        name: Some(new.name),
        tags: [].into(),
        client_token: Some(HEXLOWER.encode(&(session.world.random)())),
    };
    let volume = session.call::<CreateVolume>(&[], &request).await?;
    new.watch.show(volume, Goal::Available, session).await
}

/// What is lost with a volume.
pub(super) fn deletes(volume: &Volume) -> String {
    let (id, size) = (volume.id.to_string(), volume.size_gib);
    let called = volume.name.as_ref().unwrap_or(&id);
    format!("deletes: volume {called} ({id}, {size} GiB) and what is on it")
}

async fn delete(volume: &str, destroy: &Destroy, session: &mut Session) -> Result<()> {
    let found = session.call::<ShowVolume>(&[volume], &Empty {}).await?;
    let (id, called) = (found.id.to_string(), found.name.clone().unwrap_or_else(|| found.id.to_string()));
    let inventory = [deletes(&found)];
    if destroy.approve::<DeleteVolume>(session, (&[id.as_str()], &Empty {}), &inventory, &called).await? {
        session.call::<DeleteVolume>(&[&id], &Empty {}).await?;
        session.id(&id)?;
    }
    Ok(())
}

/// What to watch for.
#[derive(Clone, Copy)]
enum Goal {
    Available,
    Attached(InstanceId),
    Detached(InstanceId),
    Modified,
}

impl Goal {
    fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Attached(_) => "attached",
            Self::Detached(_) => "detached",
            Self::Modified => "modified",
        }
    }

    fn reached(self, volume: &Volume) -> bool {
        match self {
            Self::Available => volume.state == VolumeState::Available,
            Self::Attached(instance) => place(volume, instance) == Some(AttachmentState::Attached),
            Self::Detached(instance) => place(volume, instance).is_none(),
            Self::Modified => modification(volume).is_none_or(|state| state == ModificationState::Completed),
        }
    }

    /// Whether it can no longer come without another command.
    fn out_of_reach(self, volume: &Volume) -> bool {
        let ends = matches!(volume.state, VolumeState::Error | VolumeState::Deleting);
        match self {
            Self::Available | Self::Detached(_) => ends,
            Self::Attached(instance) => {
                ends || matches!(place(volume, instance), None | Some(AttachmentState::Detaching))
            }
            Self::Modified => ends || modification(volume) == Some(ModificationState::Failed),
        }
    }
}

/// How far it is in or out of an instance; `None` where that does not have it.
fn place(volume: &Volume, instance: InstanceId) -> Option<AttachmentState> {
    volume.attachments.iter().find(|place| place.instance_id == instance).map(|place| place.state)
}

/// How far its last change is; `None` of one that was never changed.
fn modification(volume: &Volume) -> Option<ModificationState> {
    volume.modification.as_ref().map(|modification| modification.state)
}

impl Watch {
    async fn show(self, mut volume: Volume, goal: Goal, session: &mut Session) -> Result<()> {
        let deadline = Deadline::after(self.timeout);
        let id = volume.id.to_string();
        while !self.no_wait && !goal.reached(&volume) {
            if goal.out_of_reach(&volume) {
                let message = format!("volume {id} is {} and will not be {}", state(&volume), goal.name());
                return Err(Failure::failed(message).try_(format!("tepui volume show {id}")));
            }
            let what = format!("volume {id} to be {}; it is {}", goal.name(), state(&volume));
            deadline.pause(&what, &format!("tepui volume show {id}")).await?;
            volume = session.call::<ShowVolume>(&[&id], &Empty {}).await?;
        }
        session.show(&volume)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const WEB: &str = "i-0123456789abcdef0";
    const DB: &str = "i-0fedcba9876543210";

    fn volume(attachments: &[(&str, &str)]) -> Volume {
        let place = |(instance, state): &(&str, &str)| -> Value {
            json!({
                "instance_id": instance, "device": "/dev/sdf", "state": state,
                "delete_on_termination": false, "since": "2026-11-22T04:19:00Z",
            })
        };
        let state = if attachments.is_empty() { "available" } else { "in-use" };
        let volume = json!({
            "id": "vol-0123456789abcdef0", "name": "golden", "size_gib": 20, "class": "gp3", "state": state,
            "snapshot_id": null, "read_only": true,
            "attachments": attachments.iter().map(place).collect::<Vec<_>>(),
            "tags": {}, "created_at": "2026-11-22T04:19:00Z",
        });
        serde_json::from_value(volume).unwrap()
    }

    #[test]
    fn a_row_names_the_only_instance_or_says_how_many() {
        let of = |attachments: &[(&str, &str)]| volume(attachments).cells()[4..7].join(" ");
        assert_eq!(of(&[]), "available - -");
        assert_eq!(of(&[(WEB, "detaching")]), format!("detaching {WEB} /dev/sdf"));
        assert_eq!(of(&[(WEB, "attached"), (DB, "attaching")]), "in-use 2 instances -");
    }

    #[test]
    fn what_others_do_with_a_volume_is_not_waited_for() {
        let [web, db] = [WEB, DB].map(|id| id.parse().unwrap());
        let shared = volume(&[(WEB, "attached"), (DB, "detaching")]);
        assert!(Goal::Attached(web).reached(&shared) && !Goal::Attached(db).reached(&shared));
        assert!(Goal::Attached(db).out_of_reach(&shared) && !Goal::Attached(web).out_of_reach(&shared));
        assert!(!Goal::Detached(db).reached(&shared));
        assert!(Goal::Detached(db).reached(&volume(&[(WEB, "attached")])));
    }
}

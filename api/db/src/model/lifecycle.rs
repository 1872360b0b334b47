//! The states of things, and what leads from one to the next: the tables that the store and the domain
//! decide by. `docs/states.md` is drawn from them, and the walk through all states visits each.

use std::time::Duration;

/// Declares states or events with their names, so that no list of them can miss one.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name, as protocols spell it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

named! {
    /// The state of an instance that EC2 shows.
    ///
    /// ```text
    ///   run ─▶ pending ─▶ running ──stop──▶ stopping ─▶ stopped
    ///             ▲          │  ▲              │           │
    ///             └──────────┼──┼────start─────┼───────────┤
    ///                        ▼  └ (guest) ─────┘           │
    ///                shutting-down ◀───terminate (any) ────┘
    ///                        ▼
    ///                   terminated (row kept for an hour)
    /// ```
    InstanceState {
        /// On its way to running.
        Pending = "pending",
        /// The domain runs.
        Running = "running",
        /// Asked to stop.
        Stopping = "stopping",
        /// Off; disks and address are kept.
        Stopped = "stopped",
        /// Asked to go.
        ShuttingDown = "shutting-down",
        /// Gone.
        Terminated = "terminated",
    }
}

named! {
    /// What a client asks of an instance.
    InstanceRequest {
        /// On, where its disk is.
        Start = "start",
        /// Off, disks kept.
        Stop = "stop",
        /// Reset a running guest.
        Reboot = "reboot",
        /// Gone for good.
        Terminate = "terminate",
    }
}

impl InstanceState {
    /// The state in which the request leaves it; the same one where it asks for nothing new, `None` where
    /// it is refused.
    pub const fn after(self, request: InstanceRequest) -> Option<Self> {
        use InstanceRequest::{Reboot, Start, Stop, Terminate};
        match (self, request) {
            (Self::Pending | Self::Stopped, Start) => Some(Self::Pending),
            (Self::Running, Start | Reboot) => Some(Self::Running),
            (Self::Running | Self::Stopping, Stop) => Some(Self::Stopping),
            (Self::Stopped, Stop) => Some(Self::Stopped),
            (
                Self::Pending | Self::Running | Self::Stopping | Self::Stopped | Self::ShuttingDown,
                Terminate,
            ) => Some(Self::ShuttingDown),
            (Self::Terminated, Terminate) => Some(Self::Terminated),
            (Self::Pending, Stop | Reboot)
            | (Self::Stopping, Start | Reboot)
            | (Self::Stopped, Reboot)
            | (Self::ShuttingDown | Self::Terminated, Start | Stop | Reboot) => None,
        }
    }

    /// How long it may be in this state before that is a fault; `None` for a state to stay in. Longer than
    /// a guest's time to shut down and than a download of a large image over a slow link.
    pub const fn deadline(self) -> Option<Duration> {
        match self {
            Self::Pending | Self::Stopping | Self::ShuttingDown => Some(Duration::from_secs(300)),
            Self::Running | Self::Stopped | Self::Terminated => None,
        }
    }
}

named! {
    /// Whether a node takes part.
    ///
    /// ```text
    ///   enrol ──▶ up ◀──────────▶ unreachable
    ///                polls missed / seen again │
    ///                                          ▼ operator
    ///                                   expunged (final)
    /// ```
    NodeState {
        /// It polls.
        Up = "up",
        /// It missed its polls. Its guests may well run: they show as unknown, nothing is restarted.
        Unreachable = "unreachable",
        /// Given up by an operator, who vouches that nothing of it runs.
        Expunged = "expunged",
    }
}

named! {
    /// What happens to a node.
    NodeEvent {
        /// It was silent for too long.
        Silence = "polls missed",
        /// It polls or reports.
        SignOfLife = "seen again",
    }
}

named! {
    /// What an operator asks of a node.
    NodeRequest {
        /// Nothing new comes to it.
        Drain = "drain",
        /// New instances may come again.
        Undrain = "undrain",
        /// It is given up.
        Expunge = "expunge",
    }
}

impl NodeState {
    /// The state after the event; `None` where the event changes nothing.
    pub const fn after(self, event: NodeEvent) -> Option<Self> {
        match (self, event) {
            (Self::Up, NodeEvent::Silence) => Some(Self::Unreachable),
            (Self::Unreachable, NodeEvent::SignOfLife) => Some(Self::Up),
            (Self::Up, NodeEvent::SignOfLife)
            | (Self::Unreachable, NodeEvent::Silence)
            | (Self::Expunged, NodeEvent::Silence | NodeEvent::SignOfLife) => None,
        }
    }

    /// The state in which the request leaves it; `None` where it is refused.
    pub const fn asked(self, request: NodeRequest) -> Option<Self> {
        use NodeRequest::{Drain, Expunge, Undrain};
        match (self, request) {
            (Self::Up, Drain | Undrain) => Some(Self::Up),
            (Self::Unreachable, Drain | Undrain) => Some(Self::Unreachable),
            (Self::Unreachable | Self::Expunged, Expunge) => Some(Self::Expunged),
            (Self::Up, Expunge) | (Self::Expunged, Drain | Undrain) => None,
        }
    }
}

named! {
    /// How far an import is.
    ImportState {
        /// Bytes come in, are inspected, converted.
        Active = "active",
        /// The image is available.
        Completed = "completed",
        /// Refused or failed; `message` says why.
        Failed = "failed",
    }
}

named! {
    /// How an import ends.
    ImportEvent {
        /// Its bytes are verified and durable.
        Complete = "complete",
        /// It was refused, broke off, or its process died.
        Fail = "fail",
    }
}

impl ImportState {
    /// The state after the event; `None` for an import that is over.
    pub const fn after(self, event: ImportEvent) -> Option<Self> {
        match (self, event) {
            (Self::Active, ImportEvent::Complete) => Some(Self::Completed),
            (Self::Active, ImportEvent::Fail) => Some(Self::Failed),
            (Self::Completed | Self::Failed, ImportEvent::Complete | ImportEvent::Fail) => None,
        }
    }
}

named! {
    /// How far a volume is.
    ///
    /// ```text
    ///   create ──▶ creating ──▶ available ──delete──▶ deleting ──▶ (no row)
    ///                  └──────────▶ error ──delete──────┘
    /// ```
    /// When its host is given up it becomes `error` from `creating` and `available`, and goes from `deleting`.
    VolumeState {
        /// Its host makes it.
        Creating = "creating",
        /// It is there. Whether it is in use is a matter of its attachment.
        Available = "available",
        /// Its host removes it.
        Deleting = "deleting",
        /// Its host cannot make it, and trying again cannot help; or its host was given up.
        Error = "error",
    }
}

named! {
    /// What happens to a volume.
    VolumeEvent {
        /// Its host has it, durable.
        Made = "made",
        /// Its host can never make it.
        Failed = "failed for good",
        /// Its owner deletes it.
        Delete = "delete",
        /// Its host was given up, with all that was on it.
        Lost = "host given up",
    }
}

impl VolumeState {
    /// The state after the event; `None` where the event changes nothing or is refused. A volume that was
    /// made once holds data: nothing but its owner's word ends it, or the end of its host.
    pub const fn after(self, event: VolumeEvent) -> Option<Self> {
        match (self, event) {
            (Self::Creating, VolumeEvent::Made) => Some(Self::Available),
            (Self::Creating, VolumeEvent::Failed) => Some(Self::Error),
            (Self::Creating | Self::Available | Self::Error, VolumeEvent::Delete) => Some(Self::Deleting),
            (Self::Creating | Self::Available | Self::Error, VolumeEvent::Lost) => Some(Self::Error),
            (Self::Available | Self::Deleting | Self::Error, VolumeEvent::Made | VolumeEvent::Failed)
            | (Self::Deleting, VolumeEvent::Delete | VolumeEvent::Lost) => None,
        }
    }
}

named! {
    /// How far an attachment is.
    ///
    /// ```text
    ///   attach ──▶ attaching ──▶ attached ──detach──▶ detaching ──fenced──▶ (no row)
    ///                  └──────────detach, terminate──────┘
    /// ```
    AttachmentState {
        /// On its way into the instance.
        Attaching = "attaching",
        /// The domain has it, or has it when it starts.
        Attached = "attached",
        /// On its way out: the guest lets go of it, then its export is fenced.
        Detaching = "detaching",
    }
}

named! {
    /// How far an export is.
    ///
    /// ```text
    ///   attach ──▶ making ──▶ open ──▶ closing ──fenced──▶ (no row)
    ///                ▲ └─────────────────┘ │ ▲
    ///                │                     │ └──detach, terminate──┐
    ///                └──start, a new one── └───stopped──▶ closed ──┘
    /// ```
    /// An instance that boots from a volume has no place while it is stopped: its volumes stay attached, and nobody
    /// can reach them.
    ExportState {
        /// Its host makes it.
        Making = "making",
        /// Its node may connect.
        Open = "open",
        /// Its credential and connections go. Until its host says that they are gone, its node may write.
        Closing = "closing",
        /// They are gone, and the volume stays attached: the instance's next start makes another.
        Closed = "closed",
    }
}

named! {
    /// How far a snapshot is.
    ///
    /// ```text
    ///   create ──▶ pending ──▶ completed ──delete──▶ deleting ──▶ (no row)
    ///                 └─────────▶ error ──delete──────┘
    /// ```
    /// When its host is given up it becomes `error` from `pending` and `completed`, and goes from `deleting`.
    SnapshotState {
        /// Its host takes it.
        Pending = "pending",
        /// It is there, durable.
        Completed = "completed",
        /// Its host removes it.
        Deleting = "deleting",
        /// It could not be taken; or its host was given up.
        Error = "error",
    }
}

named! {
    /// How far a snapshot is that is taken while its guest holds still.
    ///
    /// ```text
    ///   create ──▶ waiting ──frozen──▶ taking ──made──▶ taken ──thawed, and held until then──▶ held
    /// ```
    /// Whatever goes wrong on the way makes the snapshot `error`.
    SnapshotFreeze {
        /// Its guest is to hold still; no storage host hears of it yet.
        Waiting = "waiting",
        /// Its guest holds still, and its storage host takes it.
        Taking = "taking",
        /// It is there; whether its guest held still is not said yet.
        Taken = "taken",
        /// It is whole: its guest held still all the while.
        Held = "held",
    }
}

named! {
    /// How far a move of a volume to another pool is.
    ///
    /// ```text
    ///   move ──▶ copying ──copied──▶ leaving ──gone there──▶ arriving ──there──▶ (no row)
    ///             │   └─ used, changed, deleted: (no row)
    ///             └─ cannot be copied: failed
    /// ```
    MoveStage {
        /// What it holds is being copied; the volume is as before.
        Copying = "copying",
        /// The copy is whole, and the pool's host puts the volume's file into the trash.
        Leaving = "leaving",
        /// It belongs to the other pool, whose host makes it from the copy.
        Arriving = "arriving",
        /// It could not be copied; the volume is as before.
        Failed = "failed",
    }
}

impl MoveStage {
    /// Whether the volume is in no pool where it could be used.
    pub const fn is_between(self) -> bool {
        match self {
            Self::Leaving | Self::Arriving => true,
            Self::Copying | Self::Failed => false,
        }
    }
}

named! {
    /// How far a freeze of a guest is.
    FreezeStage {
        /// The guest is to hold still.
        Freezing = "freezing",
        /// It does.
        Frozen = "frozen",
        /// All that it is for is made: it is thawed, and its node says whether it held.
        Thawing = "thawing",
    }
}

impl SnapshotState {
    /// The state after the event; `None` where the event changes nothing or is refused.
    pub const fn after(self, event: VolumeEvent) -> Option<Self> {
        match (self, event) {
            (Self::Pending, VolumeEvent::Made) => Some(Self::Completed),
            (Self::Pending, VolumeEvent::Failed) => Some(Self::Error),
            (Self::Pending | Self::Completed | Self::Error, VolumeEvent::Delete) => Some(Self::Deleting),
            (Self::Pending | Self::Completed | Self::Error, VolumeEvent::Lost) => Some(Self::Error),
            (Self::Completed | Self::Deleting | Self::Error, VolumeEvent::Made | VolumeEvent::Failed)
            | (Self::Deleting, VolumeEvent::Delete | VolumeEvent::Lost) => None,
        }
    }
}

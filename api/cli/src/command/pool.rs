//! Pools of volumes, for administrators.

use clap::{Args, Subcommand, ValueEnum};
use tepui_types::FilerFolder;
use tepui_types::endpoint::{CreatePool, DeletePool, DrainPool, ListPools, ShowPool, UndrainPool};
use tepui_types::rest::{CreatePoolRequest, DrainPoolRequest, Empty, Pool, PoolBackend, PoolLeaving};

use super::pool_reclaim::{self, Reclaim};
use super::word;
use crate::cli::examples;
use crate::complete::{Kind, names};
use crate::confirm::Destroy;
use crate::failure::{Failure, Result};
use crate::output::Shown;
use crate::repeat;
use crate::session::Session;

const GIB: u64 = 1 << 30;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the pools
    #[command(before_help = examples!("tepui pool list", "tepui pool list --json=name,class,usage"))]
    List,
    /// Show a pool
    #[command(before_help = examples!("tepui pool show fast", "tepui pool show fast --json=usage,trouble"))]
    Show {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Pool))]
        pool: String,
    },
    /// Create a pool in an empty folder of a node
    #[command(before_help = examples!("tepui pool create fast --class gp3 --backend iscsi --node node-1 --path /srv/volumes", "tepui pool create here --class local --backend local --node node-2 --path /srv/volumes"))]
    #[command(
        long_about = "Create a pool in an empty folder of a node. The folder is on a file system with reflink: XFS as mkfs.xfs makes it, or btrfs. A pool is thin: volumes take what is written to them."
    )]
    Create(New),
    /// Keep new volumes out of a pool, and move what it holds to others
    #[command(before_help = examples!("tepui pool drain fast", "tepui pool drain fast --move"))]
    #[command(
        long_about = "Keep new volumes out of a pool. With --move each volume that nobody uses goes to another open pool of its class, in the background, also what becomes free later, until the pool is opened again; volumes in use and snapshots stay, and tepui doctor names them."
    )]
    Drain {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Pool))]
        pool: String,
        /// Move what it holds and nobody uses to other pools of its class
        #[arg(long = "move")]
        move_volumes: bool,
    },
    /// Let new volumes into a pool again
    #[command(before_help = examples!("tepui pool undrain fast", "tepui pool undrain fast --quiet"))]
    Undrain {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Pool))]
        pool: String,
    },
    /// List what takes room beside volumes and snapshots, or free what was removed
    #[command(before_help = examples!("tepui pool reclaim fast", "tepui pool reclaim fast --now"))]
    #[command(
        long_about = "List what takes room in a pool beside its volumes and snapshots: what was removed and when it goes, files that nothing names, images that no new volume waits for. With --now what was removed is unlinked at once, and nothing brings it back."
    )]
    Reclaim(Reclaim),
    /// Delete a pool without volumes and snapshots
    #[command(before_help = examples!("tepui pool delete fast", "tepui pool delete fast --yes"))]
    Delete {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::Pool))]
        pool: String,
        /// Confirmation.
        #[command(flatten)]
        destroy: Destroy,
    },
}

/// A pool to be.
#[derive(Debug, Args)]
pub struct New {
    /// Unique in the cloud
    name: String,
    /// What users ask for as the volume's type
    #[arg(long, default_value = "gp3")]
    class: String,
    /// How its volumes reach their instances
    #[arg(long)]
    backend: Backend,
    /// The node that has it
    #[arg(long, add = names(Kind::Node))]
    node: String,
    /// An empty folder on that node
    #[arg(long)]
    path: String,
    /// With --backend nfs, the same folder on the filer that serves it, as 10.0.0.9:/export/volumes; without it the node does
    #[arg(long, value_name = "ADDRESS:PATH")]
    filer: Option<FilerFolder>,
    /// Warn from this use on, in percent
    #[arg(long, default_value_t = 80)]
    soft: u8,
    /// Take nothing new from this use on, in percent
    #[arg(long, default_value_t = 90)]
    hard: u8,
}

/// How volumes reach their instances.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Backend {
    /// Over iSCSI, to any node
    Iscsi,
    /// Over NFS, to any node; admits the node's address, as NFS knows no password
    Nfs,
    /// As files, to instances on the pool's own node
    Local,
}

impl From<Backend> for PoolBackend {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Iscsi => Self::Iscsi,
            Backend::Nfs => Self::Nfs,
            Backend::Local => Self::Local,
        }
    }
}

impl Shown for Pool {
    const COLUMNS: &'static [&'static str] =
        &["name", "id", "class", "backend", "volumes", "used", "message"];

    fn cells(&self) -> Vec<String> {
        let gib = |bytes: u64| bytes / GIB;
        let used = self.usage.map_or_else(
            || "-".to_owned(),
            |usage| format!("{}/{} GiB", gib(usage.used_bytes), gib(usage.total_bytes)),
        );
        let volumes = format!("{} ({} GiB)", self.volumes, self.provisioned_gib);
        let (class, backend) = (self.class.clone(), backend(self));
        vec![self.name.clone(), self.id.to_string(), class, backend, volumes, used, message(self)]
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// What serves its volumes.
fn backend(pool: &Pool) -> String {
    let backend = word(&pool.backend);
    pool.filer.as_ref().map_or_else(|| backend.clone(), |filer| format!("{backend} by {}", filer.server))
}

/// Fully operational, or why not.
fn message(pool: &Pool) -> String {
    let percent =
        pool.usage.map_or(0, |usage| usage.used_bytes.saturating_mul(100) / usage.total_bytes.max(1));
    match (&pool.trouble, pool.usage) {
        (Some(trouble), _) => trouble.clone(),
        (None, None) => "its node has not spoken yet".into(),
        (None, Some(_)) if percent >= u64::from(pool.hard_percent) => {
            format!("full: takes nothing new above {} %", pool.hard_percent)
        }
        (None, Some(_)) if pool.draining => match &pool.leaving {
            Some(leaving) => left(pool, leaving),
            None => "drained: takes no new volumes".into(),
        },
        (None, Some(_)) if percent >= u64::from(pool.soft_percent) => {
            format!("nearly full: above {} %", pool.soft_percent)
        }
        (None, Some(_)) => "fully operational".into(),
    }
}

/// How far it is, and what it waits for.
fn left(pool: &Pool, leaving: &PoolLeaving) -> String {
    let parts = [
        (leaving.moving, "volumes move"),
        (leaving.waiting, "volumes wait"),
        (leaving.in_use, "volumes are in use"),
        (leaving.failed, "volumes could not be moved"),
        (pool.snapshots, "snapshots stay"),
    ];
    let left = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let left: Vec<_> = left.collect();
    if left.is_empty() { "drained: empty".into() } else { format!("drained: {}", left.join(", ")) }
}

/// Runs one of them.
///
/// # Errors
/// What the command met.
pub async fn run(verb: Verb, session: &mut Session) -> Result<()> {
    match verb {
        Verb::List => {
            let list = session.call::<ListPools>(&[], &Empty {}).await?;
            session.list(&list.items, "No pools yet. See: tepui pool create --help")
        }
        Verb::Show { pool } => {
            let pool = session.call::<ShowPool>(&[&pool], &Empty {}).await?;
            session.show(&pool)
        }
        Verb::Create(new) => create(new, session).await,
        Verb::Drain { pool, move_volumes } => {
            let pool = session.call::<DrainPool>(&[&pool], &DrainPoolRequest { move_volumes }).await?;
            session.show(&pool)
        }
        Verb::Undrain { pool } => {
            let pool = session.call::<UndrainPool>(&[&pool], &Empty {}).await?;
            session.show(&pool)
        }
        Verb::Reclaim(reclaim) => pool_reclaim::run(reclaim, session).await,
        Verb::Delete { pool, destroy } => {
            let inventory = [format!("deletes: pool {pool}; what else is in its folder stays there")];
            let call = (&[pool.as_str()][..], &Empty {});
            if destroy.approve::<DeletePool>(session, call, &inventory, &pool).await? {
                session.call::<DeletePool>(&[&pool], &Empty {}).await?;
                session.id(&pool)?;
            }
            Ok(())
        }
    }
}

fn folder_of(filer: Option<&FilerFolder>) -> String {
    filer.map_or_else(|| "none".into(), ToString::to_string)
}

async fn create(new: New, session: &mut Session) -> Result<()> {
    let request = CreatePoolRequest {
        name: new.name,
        class: new.class,
        backend: new.backend.into(),
        node: new.node,
        path: new.path,
        filer: new.filer,
        soft_percent: new.soft,
        hard_percent: new.hard,
    };
    let pool = match session.call::<CreatePool>(&[], &request).await {
        Err(failure) if repeat::is_taken(&failure) => present(&request, failure, session).await?,
        created => created?,
    };
    session.show(&pool)
}

/// The pool that is there already, if it is the one that was asked for.
async fn present(wanted: &CreatePoolRequest, taken: Failure, session: &mut Session) -> Result<Pool> {
    let list = session.call::<ListPools>(&[], &Empty {}).await?;
    let pool = list.items.into_iter().find(|pool| pool.name == wanted.name).ok_or(taken)?;
    let fields = [
        ("class", wanted.class.clone(), pool.class.clone()),
        ("backend", word(&wanted.backend), word(&pool.backend)),
        ("path", wanted.path.clone(), pool.path.clone()),
        ("filer", folder_of(wanted.filer.as_ref()), folder_of(pool.filer.as_ref())),
    ];
    repeat::same("pool", &wanted.name, &fields)?;
    Ok(pool)
}

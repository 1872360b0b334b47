//! Compares what the ledger says with what is on the host: ledger ↔ domains ↔ processes ↔ disk files ↔ network,
//! volumes of guests ↔ their passwords ↔ what serves them.

mod books;
mod disks;
mod exports;
mod fix;
mod freezes;
mod network;
mod processes;
mod report;
mod rounds;
mod secrets;
mod volumes;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tepui_libvirt::DomainState;
use tepui_types::{ExportId, PlacementId, Timestamp};
use uuid::Uuid;

use crate::agent::{Layout, StartError};
use crate::hypervisor::{Hypervisor, HypervisorError};
use crate::network::Network;
use crate::storage::PoolSettings;

pub use books::{Books, compare};
pub use disks::Files;
pub use fix::fix;
pub use processes::{Processes, processes};
pub use report::{lines, report};
pub(crate) use rounds::make_rounds;
pub use volumes::Live;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Worth a look; nothing is broken.
    Warning,
    /// Something does not work, or will not.
    Failure,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The agent's own record.
    Ledger,
    /// Placements against libvirt's domains.
    Guests,
    /// QEMU's processes.
    Processes,
    /// Disk files and console logs.
    Disks,
    /// Devices, namespaces, filters, servers.
    Network,
    /// The volumes that guests have.
    Volumes,
    /// The passwords of exports that libvirtd keeps.
    Secrets,
    /// What serves volumes to others.
    Exports,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Where it was found.
    pub subject: Subject,
    /// Whose.
    pub object: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub cure: String,
    /// What [`fix`] does about it; `None` where that could cost a guest or data.
    pub fix: Option<Fix>,
}

impl Finding {
    fn is_of_the_same(&self, other: &Self) -> bool {
        (self.subject, &self.object) == (other.subject, &other.object)
    }
}

/// A cure that risks nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fix {
    /// Removes a file that no guest ever used, or only wrote its console to.
    Remove(PathBuf),
    /// Makes the network as the ledger has it.
    Network,
}

fn failure(subject: Subject, object: impl Into<String>, what: impl Into<String>, cure: &str) -> Finding {
    let (object, what, cure) = (object.into(), what.into(), cure.to_owned());
    Finding { severity: Severity::Failure, subject, object, what, cure, fix: None }
}

fn warning(subject: Subject, object: impl Into<String>, what: impl Into<String>, cure: &str) -> Finding {
    Finding { severity: Severity::Warning, ..failure(subject, object, what, cure) }
}

/// What is on the host.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// The domains; `None` when libvirt did not answer.
    pub domains: Option<BTreeMap<PlacementId, DomainState>>,
    /// QEMU's processes; `None` where guests are simulated or nobody could look.
    pub processes: Option<Processes>,
    /// The disks' directory.
    pub disks: Files,
    /// The directory of the consoles' logs.
    pub consoles: Files,
    /// The volumes that running guests have; `None` when libvirt did not answer.
    pub volumes: Option<Live>,
    /// The exports whose passwords libvirtd keeps, each with its name there; `None` when it did not answer.
    pub secrets: Option<BTreeMap<ExportId, Uuid>>,
}

impl Inventory {
    /// The placements whose guest may run, by libvirt's word or by a process's.
    fn live(&self) -> impl Iterator<Item = PlacementId> {
        let domains = self.domains.iter().flatten().filter(|(_, state)| is_live(state)).map(|(id, _)| *id);
        domains.chain(self.processes.iter().flatten().map(|(id, _)| *id))
    }
}

fn is_live(state: &DomainState) -> bool {
    match state {
        DomainState::Running | DomainState::Paused | DomainState::ShuttingDown => true,
        DomainState::Off { .. } => false,
    }
}

/// What a doctor looks at.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The agent's data directory.
    pub data_dir: &'a Path,
    /// The host's configured address towards other hosts.
    pub underlay_address: Ipv4Addr,
    /// Runs the guests.
    pub hypervisor: &'a dyn Hypervisor,
    /// Guests are processes of QEMU with disks of their own.
    pub is_real: bool,
    /// The guests' network.
    pub network: &'a dyn Network,
    /// How volumes are served; `None` where that is simulated.
    pub servers: Option<&'a PoolSettings>,
    /// The time.
    pub now: Timestamp,
}

/// Who is asked about volumes.
#[derive(Clone, Copy)]
pub(crate) struct Witnesses<'a> {
    /// Runs the guests.
    pub hypervisor: &'a dyn Hypervisor,
    /// How volumes are served; `None` where that is simulated.
    pub servers: Option<&'a PoolSettings>,
    /// The files of filers are looked at too; one that hangs keeps a thread for each look at it.
    pub filers: bool,
}

/// Until the second look at what differs for a moment while the agent does as it is told.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What was seen, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Examination {
    /// The ledger.
    pub books: Books,
    /// The host.
    pub inventory: Inventory,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Looks at everything and changes nothing.
///
/// # Errors
/// The ledger cannot be read. Whatever else cannot be looked at is a finding.
pub async fn examine(site: Site<'_>) -> Result<Examination, StartError> {
    let layout = Layout(site.data_dir);
    // Before the books: whose console is seen here is in there, however fast the agent starts guests.
    let consoles = disks::files(&layout.consoles());
    let books = Books::read(site.data_dir)?;
    let (mut inventory, mut findings) = take_inventory(site, consoles).await;
    let file = layout.freezes();
    let since = crate::freezes::read(&file).map_err(|source| StartError::File { path: file, source })?;
    let paused = freezes::excuse(&mut inventory, &books.freezes, &since);
    findings.extend(compare(&books, &inventory));
    findings.extend(freezes::findings(&books.freezes, &paused, &inventory, site.now));
    findings.extend(processes::findings(&inventory));
    findings.extend(disks::findings(&books, &inventory, &layout.disks(), &layout.consoles()));
    findings.extend(network::findings(&books, &inventory, site.network).await);
    let witnesses = Witnesses { hypervisor: site.hypervisor, servers: site.servers, filers: true };
    findings.extend(of_volumes(site.data_dir, witnesses, &books, &mut inventory).await?);
    Ok(Examination { books, inventory, findings })
}

/// What is found of volumes, and found again a moment later: a change that comes from the control plane meanwhile is in
/// the ledger before it is anywhere else.
async fn of_volumes(
    data_dir: &Path,
    witnesses: Witnesses<'_>,
    books: &Books,
    inventory: &mut Inventory,
) -> Result<Vec<Finding>, StartError> {
    let first = look_at_volumes(witnesses, books, inventory).await;
    if first.is_empty() {
        return Ok(first);
    }
    tokio::time::sleep(LOOK_AGAIN).await;
    let mut again = look_at_volumes(witnesses, &Books::read(data_dir)?, inventory).await;
    again.retain(|found| first.iter().any(|one| one.is_of_the_same(found)));
    Ok(again)
}

async fn look_at_volumes(witnesses: Witnesses<'_>, books: &Books, inventory: &mut Inventory) -> Vec<Finding> {
    let mut findings = Vec::new();
    // That libvirt is silent is told once.
    if inventory.domains.is_some() {
        let mut silent = |subject, error: HypervisorError| {
            let cure = "is libvirtd as it should be? See its log";
            findings.push(failure(subject, "libvirt", crate::chain(&error), cure));
        };
        let volumes = witnesses.hypervisor.live_disks().await;
        inventory.volumes = volumes.map_err(|error| silent(Subject::Volumes, error)).ok();
        let secrets = witnesses.hypervisor.secrets().await;
        inventory.secrets = secrets.map_err(|error| silent(Subject::Secrets, error)).ok();
    }
    let (live, secrets) = (inventory.volumes.as_ref(), inventory.secrets.as_ref());
    findings.extend(volumes::findings(books, live));
    findings.extend(secrets::findings(books, live, secrets));
    findings.extend(exports::findings(books, witnesses).await);
    findings
}

async fn take_inventory(site: Site<'_>, consoles: io::Result<Files>) -> (Inventory, Vec<Finding>) {
    let layout = Layout(site.data_dir);
    let mut findings = Vec::new();
    let domains = site.hypervisor.domains().await.map_err(|error| {
        let cure = "start libvirtd; guests run on without it, but none can be started or stopped";
        findings.push(failure(Subject::Guests, "libvirt", crate::chain(&error), cure));
    });
    let domains = domains.map(|all| all.iter().map(|domain| (domain.id, domain.state)).collect()).ok();
    let mut look = |subject, object: &str, error: io::Error| {
        findings.push(failure(subject, object, error.to_string(), "run the doctor as root"));
    };
    let processes = match site.is_real {
        true => processes(&layout.disks()).map_err(|e| look(Subject::Processes, "/proc", e)).ok(),
        false => None,
    };
    let disks = if site.is_real { disks::disk_files } else { disks::files };
    let disks = disks(&layout.disks()).map_err(|e| look(Subject::Disks, "disks", e)).unwrap_or_default();
    let consoles = consoles.map_err(|e| look(Subject::Disks, "consoles", e)).unwrap_or_default();
    (Inventory { domains, processes, disks, consoles, ..Inventory::default() }, findings)
}

#[cfg(test)]
mod tests;

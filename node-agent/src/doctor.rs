//! Compares what the ledger says with what is on the host: ledger ↔ domains ↔ disk files ↔ taps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use tepui_libvirt::DomainState;
use tepui_types::PlacementId;
use tepui_types::agent::{OffReason, PartKey, PlacementPart, Power};

use crate::agent::{Layout, StartError};
use crate::hypervisor::Hypervisor;
use crate::ledger::{Ledger, Seal, Wanted};
use crate::network::{Network, WantedNetwork};
use crate::plan::Progress;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whose.
    pub object: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub cure: String,
}

/// What is on the host.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// The domains.
    pub domains: BTreeMap<PlacementId, DomainState>,
    /// Names of files in the disks' directory.
    pub files: BTreeSet<String>,
    /// How many taps there are.
    pub taps: usize,
}

/// What the ledger says.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// What is wanted.
    pub wanted: Wanted,
    /// What was done.
    pub progress: BTreeMap<PlacementId, Progress>,
}

/// Reads the ledger below `data_dir` and changes nothing. Before the agent ran there is none.
pub fn books(data_dir: &Path) -> Result<Books, StartError> {
    let layout = Layout(data_dir);
    if !layout.ledger().exists() {
        return Ok(Books::default());
    }
    let seal = layout.seal();
    let seal = Seal::load(&seal).map_err(|source| StartError::File { path: seal, source })?;
    let ledger = Ledger::look(&layout.ledger(), seal)?;
    Ok(Books { wanted: ledger.wanted(), progress: ledger.progress().clone() })
}

/// Looks at the host. What cannot be looked at is a finding of its own.
pub async fn inventory(
    data_dir: &Path,
    books: &Books,
    hypervisor: &dyn Hypervisor,
    network: &dyn Network,
) -> (Inventory, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut inventory = Inventory::default();
    match hypervisor.domains().await {
        Ok(domains) => {
            inventory.domains = domains.iter().map(|domain| (domain.id, domain.state)).collect();
        }
        Err(error) => findings.push(finding(
            "libvirt",
            crate::chain(&error),
            "start libvirtd; guests run on without it, but none can be started or stopped",
        )),
    }
    let faults = match wanted_network(books, &inventory) {
        Some(wanted) => network.faults(&wanted).await.unwrap_or_else(|error| vec![crate::chain(&error)]),
        None => Vec::new(),
    };
    let mended = "wait for the agent, which looks every half a minute; if it stays, see the agent's log";
    findings.extend(faults.into_iter().map(|fault| finding("network", fault, mended)));
    match network.taps().await {
        Ok(taps) => inventory.taps = taps.len(),
        Err(error) => findings.push(finding(
            "network",
            crate::chain(&error),
            "run the agent as root on a kernel with bridge, veth and tun",
        )),
    }
    if let Ok(entries) = std::fs::read_dir(Layout(data_dir).disks()) {
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        inventory.files = names.collect();
    }
    (inventory, findings)
}

/// The network of the guests that run; `None` for a host that was never told of one.
fn wanted_network(books: &Books, inventory: &Inventory) -> Option<WantedNetwork> {
    let node_id = books.wanted.parts.iter().find_map(|part| match part.key {
        PartKey::Node(node) => Some(node),
        PartKey::Vpc(_) => None,
    })?;
    let live = inventory.domains.iter().filter(|(_, state)| !matches!(state, DomainState::Off { .. }));
    let vpcs = books.wanted.vpcs.values().map(|vpc| vpc.as_ref().clone()).collect();
    Some(WantedNetwork { node_id, vpcs, local: live.map(|(id, _)| *id).collect() })
}

/// Compares.
pub fn compare(books: &Books, inventory: &Inventory) -> Vec<Finding> {
    let mut findings: Vec<Finding> = books
        .wanted
        .node
        .placements
        .iter()
        .filter_map(|placement| placement_finding(placement.id, &placement.wanted, books, inventory))
        .collect();
    findings.extend(books.wanted.damaged.iter().map(|key| {
        let cure = "wait for the agent, which asks the control plane for it; guests run on meanwhile";
        finding("ledger", format!("the file of the part {key:?} is damaged"), cure)
    }));
    findings.extend(strangers(books, inventory));
    findings.extend(taps(books, inventory));
    findings
}

fn placement_finding(
    id: PlacementId,
    wanted: &PlacementPart,
    books: &Books,
    inventory: &Inventory,
) -> Option<Finding> {
    let live = inventory.domains.get(&id).is_some_and(|state| !matches!(state, DomainState::Off { .. }));
    let disk = inventory.files.contains(&format!("{id}.qcow2"));
    let done = books.progress.get(&id);
    match wanted {
        PlacementPart::Absent { .. } if live || disk || done.is_some() => Some(finding(
            &id.to_string(),
            "it is to be removed and still here".to_owned(),
            "wait for the agent; if it stays, see the agent's log for the step that fails",
        )),
        PlacementPart::Absent { .. } => None,
        PlacementPart::Present(_) if done.is_some_and(Progress::has_disk) && !disk => Some(finding(
            &id.to_string(),
            "it ran before and its disk file is gone".to_owned(),
            "restore the file from a backup, or terminate the instance",
        )),
        PlacementPart::Present(_) if !live && done.is_some_and(is_unknown) => Some(finding(
            &id.to_string(),
            "it is off, and the record of what was done for it is damaged or was: it is not started by itself".to_owned(),
            "start the instance if it is to run, or terminate it; both need the agent",
        )),
        PlacementPart::Present(_) if inventory.domains.get(&id) == Some(&DomainState::Paused) => {
            Some(finding(
                &id.to_string(),
                "its guest stands still, most likely because a write to its disk failed".to_owned(),
                "free space on the host's disk or repair it; the agent resumes the guest",
            ))
        }
        PlacementPart::Present(spec) => match spec.power {
            Power::Running { start_seq, .. } if !live && done.is_none_or(|done| starts(done, start_seq)) => {
                Some(finding(
                    &id.to_string(),
                    "it should run and does not".to_owned(),
                    "is the agent running? See its log for the step that fails",
                ))
            }
            Power::Stopped { .. } if live => Some(finding(
                &id.to_string(),
                "it should be off and runs".to_owned(),
                "wait for the guest to shut down; the agent pulls the plug after the grace time",
            )),
            Power::Running { .. } | Power::Stopped { .. } => None,
        },
    }
}

fn is_unknown(done: &Progress) -> bool {
    done.lost || done.off == Some(OffReason::Unknown)
}

fn starts(done: &Progress, start_seq: u64) -> bool {
    done.off.is_none() || done.start_seq < start_seq
}

/// What no part names is left alone: it may hold somebody's data.
fn strangers(books: &Books, inventory: &Inventory) -> Vec<Finding> {
    let named: BTreeSet<_> = books.wanted.node.placements.iter().map(|placement| placement.id).collect();
    let domains = inventory.domains.keys().filter(|id| !named.contains(id)).map(|id| {
        let what = "a domain that the control plane does not name; the agent leaves it running";
        finding(
            &id.to_string(),
            what.to_owned(),
            "if nobody needs it: `virsh destroy` and `virsh undefine` it",
        )
    });
    let files = inventory.files.iter().filter(|name| {
        let id = name.strip_suffix(".qcow2").and_then(|id| id.parse::<PlacementId>().ok());
        id.is_none_or(|id| !named.contains(&id))
    });
    let files = files.map(|name| {
        let what = "a disk file that the control plane does not name; the agent never deletes it";
        finding(name, what.to_owned(), "if nobody needs its data: delete it")
    });
    domains.chain(files).collect()
}

fn taps(books: &Books, inventory: &Inventory) -> Option<Finding> {
    let live = inventory.domains.values().filter(|state| !matches!(state, DomainState::Off { .. })).count();
    let wanted = books.wanted.node.placements.iter().filter(|placement| match &placement.wanted {
        PlacementPart::Present(spec) => matches!(spec.power, Power::Running { .. }),
        PlacementPart::Absent { .. } => false,
    });
    let most = live.max(wanted.count());
    let what = format!("there are {} taps for at most {most} guests", inventory.taps);
    let cure = "wait for the agent; if they stay, restart it: it removes the taps that nothing uses";
    (inventory.taps > most).then(|| finding("network", what, cure))
}

fn finding(object: &str, what: String, cure: &str) -> Finding {
    Finding { object: object.to_owned(), what, cure: cure.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tepui_types::agent::NodePart;

    use super::*;
    use crate::testing::{absent, placement, running};

    fn books(placements: Vec<tepui_types::agent::WantedPlacement>) -> Books {
        let node = Arc::new(NodePart { placements });
        Books { wanted: Wanted { node, ..Wanted::default() }, progress: BTreeMap::new() }
    }

    #[test]
    fn looking_at_the_books_changes_nothing_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(books_of(dir.path()), BTreeMap::new());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let layout = Layout(dir.path());
        std::fs::create_dir(layout.identity()).unwrap();
        let mut ledger = Ledger::open(&layout.ledger(), Seal::open(&layout.seal()).unwrap()).unwrap();
        let progress = Progress { start_seq: 1, ..Progress::default() };
        ledger.record(placement(1), Some(progress.clone())).unwrap();
        let half_written = layout.ledger().join("vpc-1.tmp");
        std::fs::write(&half_written, b"the agent writes this now").unwrap();
        assert_eq!(books_of(dir.path()), BTreeMap::from([(placement(1), progress)]));
        assert!(half_written.exists());
        std::fs::remove_file(layout.seal()).unwrap();
        assert!(matches!(super::books(dir.path()), Err(StartError::File { .. })));
        assert!(!layout.seal().exists());
    }

    fn books_of(dir: &Path) -> BTreeMap<tepui_types::PlacementId, Progress> {
        super::books(dir).unwrap().progress
    }

    #[test]
    fn a_guest_that_stands_still_is_found() {
        let id = placement(1);
        let inventory = Inventory {
            domains: BTreeMap::from([(id, DomainState::Paused)]),
            files: BTreeSet::from([format!("{id}.qcow2")]),
            taps: 1,
        };
        let findings = compare(&books(vec![running(id, 1, 0)]), &inventory);
        assert!(findings.len() == 1 && findings[0].what.contains("stands still"), "{findings:?}");
    }

    #[test]
    fn a_guest_that_is_off_and_whose_record_is_damaged_is_found_also_after_the_agent_saw_it() {
        let id = placement(1);
        let noted = Progress { start_seq: 1, off: Some(OffReason::Unknown), ..Progress::default() };
        for done in [Progress::lost(), noted] {
            let mut books = books(vec![running(id, 1, 0)]);
            books.progress.insert(id, done);
            let files = BTreeSet::from([format!("{id}.qcow2")]);
            let off = Inventory { files: files.clone(), ..Inventory::default() };
            let findings = compare(&books, &off);
            assert!(findings.len() == 1 && findings[0].what.contains("damaged"), "{findings:?}");
            let domains = BTreeMap::from([(id, DomainState::Running)]);
            assert_eq!(compare(&books, &Inventory { domains, files, taps: 1 }), []);
        }
    }

    #[test]
    fn a_host_as_wanted_has_no_finding() {
        let id = placement(1);
        let mut books = books(vec![running(id, 1, 0)]);
        books.progress.insert(id, Progress { start_seq: 1, ..Progress::default() });
        let inventory = Inventory {
            domains: BTreeMap::from([(id, DomainState::Running)]),
            files: BTreeSet::from([format!("{id}.qcow2")]),
            taps: 1,
        };
        assert_eq!(compare(&books, &inventory), []);
    }

    #[test]
    fn everything_that_is_wrong_is_found_once() {
        let (lost, stays, stranger) = (placement(1), placement(2), placement(3));
        let mut books = books(vec![running(lost, 1, 0), absent(stays, true)]);
        books.progress.insert(lost, Progress { start_seq: 1, ..Progress::default() });
        let inventory = Inventory {
            domains: BTreeMap::from([(stranger, DomainState::Running)]),
            files: BTreeSet::from([format!("{stays}.qcow2"), "letter.txt".to_owned()]),
            taps: 5,
        };
        let objects: Vec<String> =
            compare(&books, &inventory).into_iter().map(|found| found.object).collect();
        let expected = [
            lost.to_string(),
            stays.to_string(),
            stranger.to_string(),
            "letter.txt".into(),
            "network".into(),
        ];
        assert_eq!(objects, expected);
    }
}

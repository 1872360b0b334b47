mod twice;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tepui_libvirt::{DomainSpec, DomainState, DomainStatus, OffReason};
use tepui_types::agent::{
    FreezeKind, FreezeState, HavePart, HostFinding, NodePart, OffReason as Why, PartKey, PlacementPart,
    WantedPlacement,
};
use tepui_types::{Epoch, FreezeId, Generation};

use super::disks::disk_files;
use super::rounds::make_rounds;
use super::*;
use crate::freezes::FreezeRecord;
use crate::hypervisor::{SimulatedHypervisor, SimulatedSettings};
use crate::ledger::{Ledger, Seal, Wanted};
use crate::network::SimulatedNetwork;
use crate::plan::Progress;
use crate::testing::{absent, booting, node_id, node_part, placement, root, running, with_scratch};

fn books(placements: Vec<WantedPlacement>) -> Books {
    let node = Arc::new(NodePart { placements });
    let parts = vec![HavePart { key: PartKey::Node(node_id()), generation: Generation(1) }];
    Books { wanted: Wanted { node, parts, ..Wanted::default() }, ..Books::default() }
}

fn site<'a>(data_dir: &'a Path, hypervisor: &'a dyn Hypervisor, network: &'a dyn Network) -> Site<'a> {
    Site {
        data_dir,
        underlay_address: Ipv4Addr::LOCALHOST,
        hypervisor,
        is_real: false,
        network,
        servers: None,
        now: Timestamp::UNIX_EPOCH,
    }
}

/// A ledger in which the control plane names nobody.
fn write_ledger(data_dir: &Path) -> Ledger {
    let layout = Layout(data_dir);
    std::fs::create_dir(layout.identity()).unwrap();
    let mut ledger = Ledger::open(&layout.ledger(), Seal::open(&layout.seal()).unwrap()).unwrap();
    ledger.take(node_id(), Epoch(1), vec![node_part(1, Vec::new())]).unwrap();
    ledger
}

fn files<'a>(names: impl IntoIterator<Item = &'a str>, age: Duration) -> Files {
    let ages = names.into_iter().map(|name| (name.to_owned(), age)).collect();
    Files { ages, ..Files::default() }
}

fn inventory(domains: &[(PlacementId, DomainState)], disks: &[&str]) -> Inventory {
    Inventory {
        domains: Some(domains.iter().copied().collect()),
        disks: files(disks.iter().copied(), Duration::ZERO),
        ..Inventory::default()
    }
}

fn disk(id: PlacementId) -> String {
    format!("{id}.qcow2")
}

fn started() -> Progress {
    Progress { start_seq: 1, ..Progress::default() }
}

/// What is said of the placements and the disks.
fn found(books: &Books, inventory: &Inventory) -> Vec<Finding> {
    let (disks, consoles) = (Path::new("/disks"), Path::new("/consoles"));
    let mut findings = compare(books, inventory);
    findings.extend(disks::findings(books, inventory, disks, consoles));
    findings
}

#[test]
fn looking_at_the_books_changes_nothing_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let progress = |dir: &Path| Books::read(dir).unwrap().progress;
    assert_eq!(progress(dir.path()), BTreeMap::new());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let layout = Layout(dir.path());
    std::fs::create_dir(layout.identity()).unwrap();
    let mut ledger = Ledger::open(&layout.ledger(), Seal::open(&layout.seal()).unwrap()).unwrap();
    ledger.record(placement(1), Some(started())).unwrap();
    let half_written = layout.ledger().join("vpc-1.tmp");
    std::fs::write(&half_written, b"the agent writes this now").unwrap();
    assert_eq!(progress(dir.path()), BTreeMap::from([(placement(1), started())]));
    assert!(half_written.exists());
    std::fs::remove_file(layout.seal()).unwrap();
    assert!(matches!(Books::read(dir.path()), Err(StartError::File { .. })));
    assert!(!layout.seal().exists());
}

#[test]
fn a_guest_that_stands_still_is_found() {
    let id = placement(1);
    let inventory = inventory(&[(id, DomainState::Paused)], &[&disk(id)]);
    let findings = compare(&books(vec![running(id, 1, 0)]), &inventory);
    assert!(findings.len() == 1 && findings[0].what.contains("stands still"), "{findings:?}");
}

#[test]
fn a_guest_that_is_off_and_whose_record_is_damaged_is_found_also_after_the_agent_saw_it() {
    let id = placement(1);
    let noted = Progress { off: Some(Why::Unknown), ..started() };
    for done in [Progress::lost(), noted] {
        let mut books = books(vec![running(id, 1, 0)]);
        books.progress.insert(id, done);
        let findings = found(&books, &inventory(&[], &[&disk(id)]));
        assert!(findings.len() == 1 && findings[0].what.contains("damaged"), "{findings:?}");
        assert_eq!(found(&books, &inventory(&[(id, DomainState::Running)], &[&disk(id)])), []);
    }
}

#[test]
fn a_host_as_wanted_has_no_finding() {
    let id = placement(1);
    let mut books = books(vec![running(id, 1, 0)]);
    books.progress.insert(id, started());
    assert_eq!(found(&books, &inventory(&[(id, DomainState::Running)], &[&disk(id)])), []);
}

#[test]
fn a_guest_that_boots_from_a_volume_misses_no_disk_on_its_host() {
    let id = placement(1);
    let mut books = books(vec![booting(id, 1, root())]);
    books.progress.insert(id, started());
    assert_eq!(found(&books, &inventory(&[(id, DomainState::Running)], &[])), []);
}

#[test]
fn scratch_disks_are_known_and_missed_while_a_guest_has_them() {
    let id = placement(1);
    let mut books = books(vec![with_scratch(running(id, 1, 0))]);
    books.progress.insert(id, started());
    let names = [disk(id), format!("{id}.scratch"), format!("{id}.swap")];
    let names = names.each_ref().map(String::as_str);
    let live = [(id, DomainState::Running)];
    assert_eq!(found(&books, &inventory(&live, &names)), []);
    let findings = found(&books, &inventory(&live, &names[..2]));
    assert!(findings.len() == 1 && findings[0].what.contains("swap disk is gone"), "{findings:?}");
    let part = Arc::new(NodePart { placements: vec![absent(id, true)] });
    books.wanted.node = part;
    books.progress.clear();
    let findings = found(&books, &inventory(&[], &names[2..]));
    assert!(findings.len() == 1 && findings[0].what.contains("still here"), "{findings:?}");
    let other = format!("{}.swap", placement(2));
    let findings = found(&books, &inventory(&[], &[&other]));
    assert!(findings.len() == 1 && findings[0].object == other && findings[0].fix.is_none(), "{findings:?}");
}

#[test]
fn everything_that_is_wrong_is_found_once_and_none_of_it_is_removed() {
    let (lost, stays, stranger) = (placement(1), placement(2), placement(3));
    let mut books = books(vec![running(lost, 1, 0), absent(stays, true)]);
    books.progress.insert(lost, started());
    let inventory = inventory(&[(stranger, DomainState::Running)], &[&disk(stays), "letter.txt"]);
    let findings = found(&books, &inventory);
    let objects: Vec<_> = findings.iter().map(|found| found.object.clone()).collect();
    let expected = [lost.to_string(), stays.to_string(), stranger.to_string(), "letter.txt".into()];
    assert_eq!(objects, expected);
    assert!(findings.iter().all(|found| found.fix.is_none() && found.severity == Severity::Failure));
}

#[test]
fn a_guest_that_should_run_or_be_off_and_is_not_is_found() {
    let id = placement(1);
    let off = DomainState::Off { reason: OffReason::Guest };
    let should_run = compare(&books(vec![running(id, 1, 0)]), &inventory(&[(id, off)], &[&disk(id)]));
    assert!(should_run.len() == 1 && should_run[0].what.contains("should run"), "{should_run:?}");
    let mut part = running(id, 1, 0);
    if let PlacementPart::Present(spec) = &mut part.wanted {
        spec.power = tepui_types::agent::Power::Stopped { force: false };
    }
    let live = inventory(&[(id, DomainState::Running)], &[&disk(id)]);
    let should_be_off = compare(&books(vec![part]), &live);
    assert!(should_be_off.len() == 1 && should_be_off[0].what.contains("should be off"), "{should_be_off:?}");
}

/// Their guests run and their owners need them: the part that names them is lost, or never came in this epoch.
#[test]
fn while_nobody_says_who_belongs_here_nobody_is_a_stranger_and_nothing_is_removed() {
    let (id, log) = (placement(1), format!("{}.log", placement(2)));
    let consoles = files([log.as_str()], Duration::ZERO);
    let host = inventory(&[(id, DomainState::Running)], &[&disk(id), &disk(placement(3))]);
    let host = Inventory { consoles, ..host };
    let whole = books(vec![]);
    assert_eq!(found(&whole, &host).len(), 4);
    let mut older = whole.clone();
    older.wanted.parts.clear();
    assert_eq!(found(&older, &host), []);
    let mut torn = whole;
    torn.wanted.damaged.insert(PartKey::Node(node_id()));
    let findings = found(&torn, &host);
    assert!(findings.len() == 1 && findings[0].subject == Subject::Ledger, "{findings:?}");
}

#[test]
fn without_libvirts_word_nothing_is_said_of_guests() {
    let silent = Inventory { domains: None, ..inventory(&[], &[]) };
    assert_eq!(found(&books(vec![running(placement(1), 1, 0)]), &silent), []);
}

#[test]
fn a_half_made_disk_and_a_left_capture_are_removed_after_an_hour_and_no_other_file_is() {
    let id = placement(1);
    let (disk, half, capture) = (disk(id), format!("{}.tmp", disk(id)), format!("{id}.capture"));
    let with = |age| {
        let disks = files([half.as_str(), disk.as_str(), capture.as_str()], age);
        found(&books(vec![]), &Inventory { disks, ..inventory(&[], &[]) })
    };
    let fixes = |findings: &[Finding]| findings.iter().filter_map(|f| f.fix.clone()).collect::<Vec<_>>();
    assert_eq!(fixes(&with(Duration::from_secs(3600))), [], "the agent may be making it");
    let old = with(Duration::from_secs(3601));
    let removed = [&capture, &half].map(|name| Fix::Remove(Path::new("/disks").join(name)));
    assert_eq!(fixes(&old), removed);
    assert!(old.iter().any(|found| found.object == disk && found.fix.is_none()), "{old:?}");
}

#[test]
fn a_console_is_removed_once_nothing_else_of_its_instance_is_left() {
    let id = placement(1);
    let logs = [format!("{id}.log"), format!("{id}.log.1"), "notes.txt".to_owned()];
    let consoles = || files(logs.iter().map(String::as_str), Duration::ZERO);
    let fixes = |books: &Books, rest: Inventory| {
        let findings = found(books, &Inventory { consoles: consoles(), ..rest });
        findings.into_iter().filter_map(|finding| finding.fix).collect::<Vec<_>>()
    };
    let both: Vec<_> = logs[..2].iter().map(|log| Fix::Remove(Path::new("/consoles").join(log))).collect();
    assert_eq!(fixes(&books(vec![]), inventory(&[], &[])), both);
    assert_eq!(fixes(&books(vec![running(id, 1, 0)]), inventory(&[], &[])), []);
    assert_eq!(fixes(&books(vec![]), inventory(&[(id, DomainState::Running)], &[])), []);
    assert_eq!(fixes(&books(vec![]), inventory(&[], &[&disk(id)])), []);
}

#[test]
fn a_disk_whose_image_is_gone_or_whose_header_is_damaged_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (base, whole) = (folder.path().join("base"), folder.path().join(disk(placement(1))));
    std::fs::write(&base, [0; 512]).unwrap();
    crate::disks::create_overlay(&whole, &base, 1 << 20).unwrap();
    assert_eq!(disk_files(folder.path()).unwrap().bases, BTreeMap::new());
    std::fs::write(folder.path().join(disk(placement(2))), b"no header").unwrap();
    std::fs::remove_file(&base).unwrap();
    let bases = disk_files(folder.path()).unwrap().bases;
    assert!(bases[&disk(placement(1))].contains("image below it is gone"), "{bases:?}");
    assert!(bases[&disk(placement(2))].contains("header cannot be read"), "{bases:?}");
    let known = books(vec![running(placement(1), 1, 0), running(placement(2), 1, 0)]);
    let looked = Inventory { disks: disk_files(folder.path()).unwrap(), ..inventory(&[], &[]) };
    let findings = disks::findings(&known, &looked, folder.path(), folder.path());
    assert!(findings.len() == 2 && findings.iter().all(|found| found.fix.is_none()), "{findings:?}");
}

#[tokio::test]
async fn files_are_removed_and_the_report_says_so() {
    let dir = tempfile::tempdir().unwrap();
    write_ledger(dir.path());
    let consoles = Layout(dir.path()).consoles();
    std::fs::create_dir(&consoles).unwrap();
    let log = consoles.join(format!("{}.log", placement(9)));
    std::fs::write(&log, b"Linux").unwrap();
    let hypervisor = SimulatedHypervisor::new(SimulatedSettings::default());
    let network = SimulatedNetwork::new();
    let site = site(dir.path(), &hypervisor, &network);
    let before = examine(site).await.unwrap();
    let said = lines(&report(&before, Vec::new())).replace(&placement(9).to_string(), "p-9");
    let expected = [
        "PASS  ledger: 1 parts are whole",
        "PASS  guests: 0 domains are as wanted",
        "PASS  processes: guests have none here",
        "WARN  p-9.log: the console's log of an instance that is gone",
        "      try: tepui-node doctor --fix",
        "PASS  network: 0 VPCs are as wanted",
        "PASS  volumes: 0 are disks of guests as wanted",
        "PASS  secrets: 0 are guests'",
        "PASS  exports: 0 are open as wanted",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    let fixed = fix(site, &before).await.unwrap();
    assert!(!log.exists());
    let after = lines(&report(&examine(site).await.unwrap(), fixed));
    assert!(after.starts_with(&format!("FIXED removed {}\n", log.display())), "{after}");
    assert!(!after.contains("WARN") && !after.contains("FAIL"), "{after}");
}

#[tokio::test]
async fn nothing_is_fixed_by_the_ledger_of_another_host() {
    let dir = tempfile::tempdir().unwrap();
    write_ledger(dir.path());
    let layout = Layout(dir.path());
    std::fs::create_dir(layout.consoles()).unwrap();
    let log = layout.consoles().join(format!("{}.log", placement(9)));
    std::fs::write(&log, b"Linux").unwrap();
    let (hypervisor, network) =
        (SimulatedHypervisor::new(SimulatedSettings::default()), SimulatedNetwork::new());
    let original = site(dir.path(), &hypervisor, &network);
    crate::identity::keep_home(&layout.identity(), original.underlay_address).unwrap();
    let copy = Site { underlay_address: Ipv4Addr::new(127, 0, 0, 2), ..original };
    let found = examine(copy).await.unwrap();
    let refused = crate::chain(&fix(copy, &found).await.unwrap_err());
    assert!(refused.contains("this identity joined as the host at 127.0.0.1"), "{refused}");
    assert!(log.exists());
    assert_eq!(fix(original, &found).await.unwrap().len(), 1);
    assert!(!log.exists());
}

/// A host on which the agent starts a guest while the doctor looks.
struct Starting<'a> {
    inner: SimulatedHypervisor,
    data_dir: &'a Path,
}

#[async_trait::async_trait]
impl Hypervisor for Starting<'_> {
    async fn domains(&self) -> Result<Vec<DomainStatus>, HypervisorError> {
        let layout = Layout(self.data_dir);
        let mut ledger = Ledger::open(&layout.ledger(), Seal::open(&layout.seal()).unwrap()).unwrap();
        ledger.take(node_id(), Epoch(1), vec![node_part(2, vec![running(placement(1), 1, 0)])]).unwrap();
        std::fs::write(layout.consoles().join(format!("{}.log", placement(1))), b"Linux").unwrap();
        self.inner.domains().await
    }

    async fn start(&self, spec: &DomainSpec) -> Result<(), HypervisorError> {
        self.inner.start(spec).await
    }

    async fn request_shutdown(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.inner.request_shutdown(id).await
    }

    async fn force_off(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.inner.force_off(id).await
    }

    async fn reset(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.inner.reset(id).await
    }

    async fn forget(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.inner.forget(id).await
    }
}

#[tokio::test]
async fn a_console_that_appears_while_the_doctor_looks_is_nobodys_to_remove() {
    let dir = tempfile::tempdir().unwrap();
    drop(write_ledger(dir.path()));
    std::fs::create_dir(Layout(dir.path()).consoles()).unwrap();
    let inner = SimulatedHypervisor::new(SimulatedSettings::default());
    let (hypervisor, network) = (Starting { inner, data_dir: dir.path() }, SimulatedNetwork::new());
    let examination = examine(site(dir.path(), &hypervisor, &network)).await.unwrap();
    assert_eq!(examination.findings, []);
}

#[tokio::test]
async fn a_guest_that_holds_still_for_too_long_is_named() {
    let dir = tempfile::tempdir().unwrap();
    write_ledger(dir.path());
    let hypervisor = SimulatedHypervisor::new(SimulatedSettings::default());
    let held = |number: u128, since: &str, over: Option<FreezeState>| {
        let (id, since) = (FreezeId::from_random(number), since.parse().unwrap());
        (placement(number), FreezeRecord { id, kind: FreezeKind::FileSystems, since, over })
    };
    let (old, now) = ("1970-01-01T00:00:00Z", "1970-01-01T00:00:31Z");
    let freezes: BTreeMap<_, _> =
        [held(1, old, None), held(2, now, None), held(3, old, Some(FreezeState::Held)), held(4, old, None)]
            .into();
    std::fs::write(Layout(dir.path()).freezes(), serde_json::to_vec(&freezes).unwrap()).unwrap();
    let books = Books::read(dir.path()).unwrap();
    let domains = [(1, DomainState::Running), (2, DomainState::Running), (3, DomainState::Running)];
    let nobody = BTreeSet::new();
    let found = freezes::findings(
        &books.freezes,
        &nobody,
        &inventory(&domains.map(|(number, state)| (placement(number), state)), &[]),
        now.parse().unwrap(),
    );
    assert_eq!(found.iter().map(|one| one.object.clone()).collect::<Vec<_>>(), [placement(1).to_string()]);
    assert!(found[0].what.contains("hold still") && found[0].fix.is_none(), "{found:?}");
    // Without libvirt's word whether they run they are named too, by the whole examination.
    let found = freezes::findings(&books.freezes, &nobody, &Inventory::default(), now.parse().unwrap());
    assert_eq!(found.len(), 2);
    let network = SimulatedNetwork::new();
    let examined = examine(site(dir.path(), &hypervisor, &network)).await.unwrap();
    assert_eq!(examined.books.freezes.len(), 4);
}

#[tokio::test]
async fn a_guest_that_is_paused_for_a_snapshot_does_not_stand_still() {
    let dir = tempfile::tempdir().unwrap();
    let (id, since) = (placement(1), "1970-01-01T00:00:00Z".parse().unwrap());
    let named = vec![node_part(2, vec![running(id, 1, 0)])];
    write_ledger(dir.path()).take(node_id(), Epoch(1), named).unwrap();
    let open = FreezeRecord { id: FreezeId::from_random(1), kind: FreezeKind::Vcpus, since, over: None };
    let over = FreezeRecord { over: Some(FreezeState::Held), ..open.clone() };
    let thawing = FreezeRecord { kind: FreezeKind::FileSystems, ..open.clone() };
    let of = |record: Option<&FreezeRecord>| record.map(|record| (id, record.clone())).into_iter().collect();
    for (before, after, excused) in [
        (Some(&open), Some(&open), true),
        (Some(&open), Some(&over), true),
        (None, Some(&open), true),
        (None, Some(&over), true),
        (Some(&open), None, true),
        (Some(&over), Some(&over), false),
        (Some(&over), None, false),
        (None, None, false),
        (Some(&thawing), Some(&thawing), false),
    ] {
        let mut seen = inventory(&[(id, DomainState::Paused)], &[&disk(id)]);
        let told = freezes::excuse(&mut seen, &of(before), &of(after));
        assert_eq!(told, excused.then_some(id).into_iter().collect());
        let state = if excused { DomainState::Running } else { DomainState::Paused };
        assert_eq!(seen.domains.unwrap()[&id], state, "{before:?} {after:?}");
    }
    // One that an operator resumed, whatever the record says, is not paused.
    let resumed = inventory(&[(id, DomainState::Running)], &[]);
    let much_later = "9999-01-01T00:00:00Z".parse().unwrap();
    let found =
        |paused: BTreeSet<_>| freezes::findings(&of(Some(&open)), &paused, &resumed, much_later).len();
    assert_eq!((found([id].into()), found(BTreeSet::new())), (1, 0));
    // The whole examination reads them, and names one that is paused for too long.
    let late = BTreeMap::from([(id, open)]);
    std::fs::write(Layout(dir.path()).freezes(), serde_json::to_vec(&late).unwrap()).unwrap();
    let domains = dir.path().join("domains.json");
    std::fs::write(&domains, format!(r#"{{"{id}":{{"starts":1,"resets":0,"stands":"paused"}}}}"#)).unwrap();
    let hypervisor = SimulatedHypervisor::kept_in(domains, SimulatedSettings::default()).unwrap();
    let network = SimulatedNetwork::new();
    let now = "1970-01-01T00:00:31Z".parse().unwrap();
    let examined = examine(Site { now, ..site(dir.path(), &hypervisor, &network) }).await.unwrap();
    let of_guest: Vec<_> = examined.findings.iter().filter(|one| one.object == id.to_string()).collect();
    let names = |what: &str| of_guest.iter().any(|one| one.what.contains(what));
    assert!(names("it is paused for a snapshot") && !names("stands still"), "{of_guest:?}");
}

//! Tests of snapshots, with hosts that say what the test wants.

use tepui_core::{CreateSnapshotSchedule, CreateSnapshots, Error, Severity};
use tepui_db::model::SnapshotTested;
use tepui_types::agent::{StorageObserved, TestObserved, TestOutcome, WantedTest};
use tepui_types::{Digest, SnapshotId};

use crate::volumes::{Site, done};

const HOUR: i64 = 3600;
const DAY: u32 = 86_400;

impl Site {
    async fn ordered(&self) -> Vec<WantedTest> {
        self.part().await.tests
    }

    /// The host has carried out all tests that it was told of, with this outcome.
    async fn tests_end(&self, outcome: &TestOutcome) {
        let part = self.part().await;
        let seen = |one: &WantedTest| TestObserved { id: one.id, outcome: outcome.clone() };
        let tests = part.tests.iter().map(seen).collect();
        self.tell(StorageObserved { tests, ..done(&part) }).await;
    }

    async fn test_of(&self, id: SnapshotId) -> Option<SnapshotTested> {
        self.t.cloud.snapshot_tests(&self.t.admin).await.unwrap().remove(&id)
    }

    /// What the doctor says of this object.
    async fn told_of(&self, object: String) -> Vec<(Severity, String)> {
        let findings = self.t.cloud.doctor(&self.t.admin).await.unwrap();
        let own = findings.into_iter().filter(|one| one.object == object);
        own.map(|one| (one.severity, one.what)).collect()
    }
}

fn read(content: &[u8]) -> TestOutcome {
    TestOutcome::Read { digest: Digest::of(content) }
}

#[tokio::test]
async fn a_test_goes_to_the_snapshots_host_and_its_word_is_kept_once() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let id = site.snapshot().await;
    cloud.test_snapshot(admin, id).await.unwrap();
    cloud.test_snapshot(admin, id).await.unwrap();
    let told = site.ordered().await;
    assert_eq!(told.len(), 1, "repeated it is ordered once");
    assert_eq!((told[0].snapshot_id, told[0].pool_id), (id, site.pool));
    let restarted = site.t.restarted();
    assert_eq!(restarted.snapshot_tests(admin).await.unwrap().len(), 1, "it outlives the control plane");
    // Its host has not come to it yet.
    site.serve().await;
    assert_eq!(site.ordered().await, told);

    site.t.clock.advance(60);
    let part = site.part().await;
    site.tests_end(&read(b"content")).await;
    assert_eq!(site.ordered().await, []);
    let found = site.test_of(id).await.unwrap();
    assert_eq!((found.ordered_at, found.failure.as_deref()), (None, None));
    assert_eq!(found.digest, Some(Digest::of(b"content")));
    // The host says the same again, and something else: it has not heard yet that it was heard.
    let late = TestObserved { id: told[0].id, outcome: TestOutcome::Failed { message: "late".into() } };
    site.tell(StorageObserved { tests: vec![late], ..done(&part) }).await;
    assert_eq!(site.test_of(id).await, Some(found));

    let pending = CreateSnapshots { volumes: vec![site.available().await], ..CreateSnapshots::default() };
    let pending = cloud.create_snapshots(admin, &pending).await.unwrap()[0].snapshot.id;
    let refused = cloud.test_snapshot(admin, pending).await.unwrap_err();
    assert!(matches!(refused, Error::WrongState { wanted: "completed", .. }), "{refused:?}");
}

#[tokio::test]
async fn the_doctor_names_a_snapshot_whose_test_failed_until_one_passes() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let id = site.snapshot().await;
    let object = || format!("snapshot {id}");
    for (outcome, expected) in [
        (read(b"content"), None),
        (read(b"damaged"), Some("has changed")),
        (TestOutcome::Failed { message: "Input/output error".into() }, Some("Input/output error")),
        (read(b"content"), None),
    ] {
        cloud.test_snapshot(admin, id).await.unwrap();
        site.tests_end(&outcome).await;
        let told = site.told_of(object()).await;
        assert_eq!(told.len(), usize::from(expected.is_some()), "{told:?}");
        let is_named = |why: &str| told[0].0 == Severity::Failure && told[0].1.contains(why);
        assert!(expected.is_none_or(is_named), "{told:?}");
        assert_eq!(cloud.snapshots(admin, &[id]).await.unwrap()[0].snapshot.state.name(), "completed");
    }
}

#[tokio::test]
async fn a_schedule_tests_its_newest_and_the_doctor_names_one_whose_tests_do_not_end() {
    let site = Site::new().await;
    let volumes = [site.tagged().await, site.tagged().await];
    let with =
        |test_every_seconds| CreateSnapshotSchedule { test_every_seconds, ..crate::schedules::hourly(9) };
    for seconds in [3599, 366 * DAY + 1] {
        let refused = site.t.cloud.create_snapshot_schedule(&site.t.admin, with(Some(seconds))).await;
        assert!(
            matches!(&refused, Err(Error::InvalidInput { field: "test_every_seconds", .. })),
            "{refused:?}"
        );
    }
    let schedule = site.t.cloud.create_snapshot_schedule(&site.t.admin, with(Some(7200))).await.unwrap();
    site.after(0).await;
    site.after(HOUR).await;
    assert_eq!(site.ordered().await, []);
    let all = site.after(HOUR).await;
    let tested: Vec<_> = site.ordered().await.iter().map(|test| test.snapshot_id).collect();
    let of = |id: &SnapshotId| all.iter().find(|one| one.snapshot.id == *id).unwrap().snapshot.volume_id;
    let mut of: Vec<_> = tested.iter().map(of).collect();
    of.sort();
    let mut expected = volumes.to_vec();
    expected.sort();
    assert_eq!(of, expected, "one of each volume");
    site.after(0).await;
    assert_eq!(site.ordered().await.len(), 2, "run twice it orders once");

    let object = || format!("snapshot schedule {}", schedule.id);
    site.after(2 * HOUR).await;
    assert_eq!(site.told_of(object()).await, []);
    site.after(60).await;
    let told = site.told_of(object()).await;
    assert_eq!(told.len(), 3, "nothing was tested, and two tests wait: {told:?}");
    assert!(told.iter().all(|(severity, _)| *severity == Severity::Warning), "{told:?}");
    site.tests_end(&read(b"content")).await;
    assert_eq!(site.told_of(object()).await, []);
}

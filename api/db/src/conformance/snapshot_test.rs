//! Tests of snapshots.

use std::sync::Arc;

use jiff::Timestamp;
use tepui_types::agent::TestOutcome;
use tepui_types::{Digest, NodeId, SnapshotId, SnapshotTestId};

use super::schedule::{HOUR, at};
use super::site::Site;
use crate::model::{
    FailedTest, NodeState, OverdueTest, ScheduledTests, SnapshotSchedule, SnapshotTestCounts, SnapshotTested,
    StateReason,
};
use crate::{Db, OrderTestOutcome, StorageNews};

impl Site {
    async fn order(&self, snapshot: SnapshotId, now: Timestamp) -> (SnapshotTestId, OrderTestOutcome) {
        let id = SnapshotTestId::from_random(self.world.bits());
        let db = &self.world.db;
        (id, db.order_snapshot_test(self.tenant.project, id, snapshot, now).await.unwrap())
    }

    async fn completed(&self) -> SnapshotId {
        let new = self.new_snapshot(self.volume(1).await);
        self.world.db.create_snapshots(std::slice::from_ref(&new), &[]).await.unwrap();
        self.says(self.storage, StorageNews::SnapshotPresent(new.id, 1)).await;
        new.id
    }

    /// The tests that the pool's host is told of.
    async fn told(&self) -> Vec<(SnapshotTestId, SnapshotId)> {
        let part = self.world.db.storage_part(self.storage).await.unwrap().unwrap();
        assert!(part.tests.iter().all(|test| test.pool_id == self.pool));
        part.tests.iter().map(|test| (test.id, test.snapshot_id)).collect()
    }

    async fn tested(&self, node: NodeId, test: SnapshotTestId, outcome: TestOutcome, now: Timestamp) {
        let news = [StorageNews::SnapshotTested(test, outcome)];
        self.world.db.apply_storage_news(node, &news, now).await.unwrap();
    }

    async fn found(&self, snapshot: SnapshotId) -> Option<SnapshotTested> {
        let all = self.world.db.snapshot_tests(self.tenant.project).await.unwrap();
        all.into_iter().find(|(id, _)| *id == snapshot).map(|(_, found)| found)
    }

    /// A schedule that takes a snapshot each hour, and tests every second hour.
    async fn testing(&self) -> SnapshotSchedule {
        let tests = Some(ScheduledTests { every_seconds: 7200, next_at: at(2) });
        let schedule = SnapshotSchedule { tests, ..self.new_schedule() };
        assert!(self.world.db.create_schedule(&schedule, 10).await.unwrap());
        schedule
    }
}

fn read(content: &[u8]) -> TestOutcome {
    TestOutcome::Read { digest: Digest::of(content) }
}

fn failed(message: &str) -> TestOutcome {
    TestOutcome::Failed { message: message.into() }
}

pub async fn a_test_is_ordered_once_and_its_word_counts_once(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let snapshot = site.completed().await;
    assert_eq!(site.found(snapshot).await, None);
    let before = site.generation().await;
    let (test, ordered) = site.order(snapshot, at(0)).await;
    assert_eq!(ordered, OrderTestOutcome::Ordered(site.storage));
    let grown = site.generation().await;
    assert!(grown > before, "its host is told");
    assert_eq!(site.order(snapshot, at(1)).await.1, OrderTestOutcome::Ordered(site.storage));
    assert_eq!((site.told().await, site.generation().await), (vec![(test, snapshot)], grown), "only once");
    let ordered_at = Some(at(0));
    assert_eq!(site.found(snapshot).await, Some(SnapshotTested { ordered_at, ..SnapshotTested::default() }));

    site.tested(site.compute, test, failed("another node's word"), at(1)).await;
    site.tested(site.storage, SnapshotTestId::from_random(9), failed("an old word"), at(1)).await;
    assert_eq!(site.told().await, [(test, snapshot)]);
    site.tested(site.storage, test, read(b"content"), at(1)).await;
    assert_eq!(site.told().await, []);
    assert!(site.generation().await > grown, "its host may forget it");
    site.tested(site.storage, test, failed("said late"), at(2)).await;
    let digest = Some(Digest::of(b"content"));
    let passed = SnapshotTested { ordered_at: None, tested_at: Some(at(1)), digest, failure: None };
    assert_eq!(site.found(snapshot).await, Some(passed));

    let stranger = site.world.tenant("beta").await;
    let id = SnapshotTestId::from_random(site.world.bits());
    let foreign = site.world.db.order_snapshot_test(stranger.project, id, snapshot, at(3)).await.unwrap();
    assert_eq!(foreign, OrderTestOutcome::NotFound);
    assert_eq!(site.world.db.snapshot_tests(stranger.project).await.unwrap(), []);
    let pending = site.new_snapshot(site.volume(1).await);
    site.world.db.create_snapshots(std::slice::from_ref(&pending), &[]).await.unwrap();
    assert_eq!(site.order(pending.id, at(3)).await.1, OrderTestOutcome::WrongState(pending.state));
    // What is deleted is not tested, and nothing of it stays.
    site.order(snapshot, at(3)).await;
    site.world.db.delete_snapshot(site.tenant.project, snapshot).await.unwrap();
    assert_eq!(site.told().await, []);
    site.says(site.storage, StorageNews::SnapshotGone(snapshot)).await;
    assert_eq!(site.found(snapshot).await, None);
    site.assert_books().await;
}

pub async fn what_a_first_test_found_every_later_one_must_find(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (snapshot, other) = (site.completed().await, site.completed().await);
    let test = async |outcome: TestOutcome, hour: i64| {
        let (id, _) = site.order(snapshot, at(hour)).await;
        site.tested(site.storage, id, outcome, at(hour)).await;
        let found = site.found(snapshot).await.unwrap();
        assert_eq!((found.ordered_at, found.tested_at), (None, Some(at(hour))));
        assert_eq!(site.snapshot(snapshot).await.unwrap().state.name(), "completed", "whatever it found");
        (found.digest, found.failure)
    };
    let content = Digest::of(b"content");
    let first = Some(content);
    assert_eq!(test(failed("no answer"), 0).await, (None, Some("no answer".into())));
    assert_eq!(test(read(b"content"), 1).await, (first, None));
    let (digest, failure) = test(read(b"other"), 2).await;
    assert_eq!(digest, first, "what it was is not forgotten");
    let why = failure.unwrap();
    assert!(why.contains(&Digest::of(b"other").to_string()) && why.contains(&content.to_string()));
    let failing = FailedTest { snapshot_id: snapshot, tested_at: at(2), message: why };
    assert_eq!(site.world.db.failed_tests().await.unwrap(), [failing]);
    site.order(other, at(2)).await;
    let counts = site.world.db.snapshot_test_counts().await.unwrap();
    assert_eq!(counts, SnapshotTestCounts { ordered: 1, passed: 0, failed: 1 });
    assert_eq!(test(failed("no answer"), 3).await, (first, Some("no answer".into())));
    assert_eq!(test(read(b"content"), 4).await, (first, None), "it was the disk's mood");
    assert_eq!(site.world.db.failed_tests().await.unwrap(), []);
    let counts = site.world.db.snapshot_test_counts().await.unwrap();
    assert_eq!(counts, SnapshotTestCounts { ordered: 1, passed: 1, failed: 0 });
}

pub async fn a_schedule_tests_its_newest_at_each_time_once(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (one, two) = (site.tagged(1).await, site.tagged(1).await);
    let schedule = site.testing().await;
    let other = SnapshotSchedule { tests: None, ..site.new_schedule() };
    site.world.db.create_schedule(&other, 10).await.unwrap();
    site.serve(&other, &[one], 0).await;
    site.serve(&schedule, &[one, two], 0).await;
    let newest = site.serve(&schedule, &[one, two], 1).await;
    let mut expected = newest.clone();
    expected.sort();
    let db = &site.world.db;
    assert_eq!(db.due_tests(at(1)).await.unwrap(), []);
    let due = db.due_tests(at(2)).await.unwrap();
    assert_eq!(
        due.iter().map(|(due, of)| (due.id, of.clone())).collect::<Vec<_>>(),
        [(schedule.id, expected)]
    );

    let test = |id: SnapshotId| (SnapshotTestId::from_random(site.world.bits()), id);
    let tests = [test(newest[0]), test(SnapshotId::from_random(1)), test(newest[1])];
    let before = site.generation().await;
    let run = async || db.run_tests(&due[0].0, at(4), &tests, at(2)).await.unwrap();
    assert_eq!(run().await, Some(vec![site.storage]));
    assert!(site.generation().await > before);
    assert_eq!(run().await, None, "a second time it is served already");
    let mut told = vec![(tests[0].0, newest[0]), (tests[2].0, newest[1])];
    told.sort();
    assert_eq!(site.told().await, told);
    assert_eq!(db.due_tests(at(3)).await.unwrap(), []);
    assert!(db.delete_schedule(site.tenant.project, schedule.id).await.unwrap());
    assert_eq!(run().await, None);
    assert_eq!(site.told().await, told, "what is ordered is done");
}

pub async fn a_schedule_whose_tests_do_not_end_is_overdue(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let volume = site.tagged(1).await;
    let schedule = site.testing().await;
    let db = &site.world.db;
    let late = |hour: i64| Timestamp::from_second(at(hour).as_second() + HOUR / 2).unwrap();
    let overdue = async |now| db.overdue_tests(now).await.unwrap();
    assert_eq!(overdue(late(9)).await, [], "there is nothing to test");
    let taken = site.serve(&schedule, &[volume], 0).await[0];
    assert_eq!(overdue(late(3)).await, []);
    let never = OverdueTest { schedule_id: schedule.id, since: at(0), snapshot_id: None };
    assert_eq!(overdue(late(4)).await, [never]);
    let id = SnapshotTestId::from_random(site.world.bits());
    db.run_tests(&schedule, at(4), &[(id, taken)], at(3)).await.unwrap();
    let waits = OverdueTest { schedule_id: schedule.id, since: at(3), snapshot_id: Some(taken) };
    assert_eq!(overdue(late(3)).await, []);
    assert_eq!(overdue(late(5)).await, [never, waits]);
    site.tested(site.storage, id, failed("a failure is an end too"), at(5)).await;
    assert_eq!(overdue(late(8)).await, []);
    let again = OverdueTest { since: at(5), ..never };
    assert_eq!(overdue(late(9)).await, [again]);
}

pub async fn a_time_with_nothing_to_test_is_served(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let volume = site.tagged(1).await;
    let schedule = site.testing().await;
    let db = &site.world.db;
    assert!(db.run_tests(&schedule, at(9), &[], at(8)).await.unwrap().is_some());
    site.serve(&schedule, &[volume], 0).await;
    assert_eq!(db.overdue_tests(at(9)).await.unwrap(), [], "its first snapshot was never due");
}

pub async fn what_its_host_took_with_it_waits_for_no_test(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let snapshot = site.completed().await;
    site.order(snapshot, at(0)).await;
    assert!(site.found(snapshot).await.is_some());
    let reason = StateReason { code: "Server.Expunged".into(), message: "given up".into(), detail: None };
    let (db, now) = (&site.world.db, site.world.now());
    db.set_node_state(site.storage, NodeState::Unreachable, now).await.unwrap();
    db.expunge_node(site.storage, &reason, now).await.unwrap();
    assert_eq!(site.found(snapshot).await, None);
}

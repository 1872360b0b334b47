//! Guests that are paused.

use tepui_types::agent::IoLimits;
use tepui_types::failpoint::Effect;

use super::*;

impl Host {
    fn is_paused(&self, number: u128) -> bool {
        self.guests.inner.is_paused(placement(number))
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_is_paused_until_everything_is_taken_and_once_only() {
    let host = Host::new();
    let mut life = host.start();
    let begun = Instant::now();
    life.want_paused(&[(1, FROZEN), (2, None)]);
    life.frozen(1).await;
    assert_eq!((host.is_paused(1), host.is_paused(2), host.is_frozen(1)), (true, false, false));
    let record = &read(&host.file()).unwrap()[&placement(1)];
    assert!(record.over.is_none() && record.kind == FreezeKind::Vcpus);
    life.want_paused(&[(1, FROZEN), (2, None)]);
    life.want_paused(&[(1, THAWED), (2, None)]);
    life.until(1, |state| *state == FreezeState::Held).await;
    assert!(!host.is_paused(1));
    // Who looked meanwhile saw a guest that was paused here, and who looks later does not.
    assert_eq!(life.keeper.paused_since(begun), [placement(1)].into());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(life.keeper.paused_since(Instant::now()), [].into());
    for _ in 0..2 {
        life.want_paused(&[(1, FROZEN)]);
        while life.holds.join_next().await.is_some() {}
        assert_eq!((life.state(1), host.is_paused(1)), (Some(FreezeState::Held), false));
        life = host.start();
        assert_eq!(life.keeper.paused_since(begun), [].into());
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_with_a_disk_that_was_taken_from_it_is_never_paused() {
    let host = Host::new();
    let disk =
        |source: &str| LiveDisk { device: "vdf".into(), source: source.into(), limits: IoLimits::NONE };
    *lock(&host.guests.disks) = vec![disk(&format!("/disks/{}.scratch", placement(1))), disk("iqn:torn/1")];
    let mut life = host.start();
    life.want_paused(&[(1, FROZEN)]);
    life.failed(1, "iqn:torn/1").await;
    assert!(!host.is_paused(1) && lock(&host.guests.asked).is_empty());
    lock(&host.guests.disks).pop();
    life.want_paused(&[(1, None)]);
    life.want_paused(&[(1, FROZEN)]);
    life.frozen(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_guest_goes_on_at_its_deadline_and_when_nobody_wants_it_paused_any_more() {
    let host = Host::new();
    let mut life = host.start();
    let begun = Instant::now();
    life.want_paused(&[(1, FROZEN), (2, FROZEN)]);
    life.frozen(1).await;
    life.frozen(2).await;
    life.want_paused(&[(1, FROZEN), (2, None)]);
    life.failed(2, "not wanted").await;
    assert_eq!((host.is_paused(1), host.is_paused(2)), (true, false));
    life.failed(1, "5s").await;
    assert!(!host.is_paused(1));
    let longest = longest(FreezeKind::Vcpus);
    assert!((longest..longest * 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    life.want_paused(&[(1, THAWED)]);
    assert!(matches!(life.state(1), Some(FreezeState::Failed { .. })), "too late");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_died_resumes_what_it_paused_and_nothing_else() {
    let host = Host::new();
    // Paused, and its answer is lost; paused; only written down, of a guest that stands still for a failed write.
    let mut life = host.start();
    host.guests.hangs.store(true, Ordering::Release);
    host.guests.inner.write_fails(placement(3));
    life.want_paused(&[(1, FROZEN), (2, FROZEN)]);
    life.frozen(2).await;
    while !lock(&host.guests.asked).contains(&placement(1)) {
        tokio::task::yield_now().await;
    }
    drop(life);
    let mut records = read(&host.file()).unwrap();
    let noted = FreezeRecord { id: FreezeId::from_random(3), ..records[&placement(1)].clone() };
    records.insert(placement(3), noted);
    std::fs::write(host.file(), serde_json::to_vec(&records).unwrap()).unwrap();
    assert_eq!((host.is_paused(1), host.is_paused(2)), (true, true));
    host.guests.hangs.store(false, Ordering::Release);
    let mut life = host.start();
    assert_eq!(life.keeper.paused_since(Instant::now()).len(), 3, "nobody else may resume them");
    for number in 1..=3 {
        life.failed(number, "restarted").await;
    }
    assert_eq!((host.is_paused(1), host.is_paused(2)), (false, false));
    let is_still = |domain: &DomainStatus| domain.state == tepui_libvirt::DomainState::Paused;
    let still: Vec<_> = host.guests.domains().await.unwrap().into_iter().filter(is_still).collect();
    assert_eq!(still.iter().map(|one| one.id).collect::<Vec<_>>(), [placement(3)]);
    // The order is still in its ledger: it is over all the same.
    life.want_paused(&[(1, FROZEN), (2, THAWED)]);
    while life.holds.join_next().await.is_some() {}
    assert_eq!((host.is_paused(1), host.is_paused(2)), (false, false));
}

/// Fail points are global, so all run one after the other in one test.
#[tokio::test(start_paused = true)]
async fn an_agent_that_fails_at_any_step_leaves_no_guest_paused() {
    for point in ["agent::freeze::noted", "agent::freeze::frozen", "agent::freeze::thawed"] {
        let host = Host::new();
        let mut life = host.start();
        failpoint::arm(point, Effect::Error);
        life.want_paused(&[(1, FROZEN)]);
        if point == "agent::freeze::thawed" {
            life.frozen(1).await;
            life.want_paused(&[(1, THAWED)]);
        }
        life.failed(1, point).await;
        assert_eq!((failpoint::trips(point), host.is_paused(1)), (1, false));
        failpoint::disarm(point);
        assert_eq!(read(&host.file()).unwrap()[&placement(1)].over, life.state(1));
        // It goes on with the next one.
        life.want_paused(&[]);
        while life.holds.join_next().await.is_some() {}
        life.want_paused(&[(1, FROZEN)]);
        life.frozen(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_stands_still_or_is_off_is_refused_and_left_as_it_is() {
    let host = Host::new();
    let mut life = host.start();
    host.guests.inner.write_fails(placement(1));
    host.guests.inner.goes_off(placement(2), OffReason::Guest);
    life.want_paused(&[(1, FROZEN), (2, FROZEN), (3, FROZEN)]);
    life.failed(1, "stands still already").await;
    life.failed(2, "does not run").await;
    // One that somebody else resumes, whose write then fails, is not ours any more.
    life.frozen(3).await;
    host.guests.inner.write_fails(placement(3));
    life.want_paused(&[(1, FROZEN), (2, FROZEN), (3, THAWED)]);
    life.failed(3, "did not hold still").await;
    let domains = host.guests.domains().await.unwrap();
    let still = domains.iter().filter(|domain| domain.state == tepui_libvirt::DomainState::Paused);
    assert_eq!(still.map(|one| one.id).collect::<Vec<_>>(), [placement(1), placement(3)]);
}

#[tokio::test(start_paused = true)]
async fn a_guest_whose_hypervisor_does_not_answer_is_resumed_once_it_does() {
    let host = Host::new();
    let mut life = host.start();
    life.want_paused(&[(1, FROZEN)]);
    life.frozen(1).await;
    host.guests.deaf.store(true, Ordering::Release);
    life.want_paused(&[(1, THAWED)]);
    life.until(1, |state| matches!(state, FreezeState::Stuck { .. })).await;
    assert!(host.is_paused(1) && life.keeper.paused_since(Instant::now()).contains(&placement(1)));
    tokio::time::advance(Duration::from_secs(60)).await;
    host.guests.deaf.store(false, Ordering::Release);
    let answers = Instant::now();
    life.failed(1, "does not answer").await;
    assert!(!host.is_paused(1));
    assert!(answers.elapsed() <= Duration::from_secs(2), "{:?}", answers.elapsed());
}

#[test]
fn a_record_of_an_older_agent_is_one_of_file_systems() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("freezes.json");
    let id = FreezeId::from_random(1);
    let text = format!(r#"{{"{}":{{"id":"{id}","since":"1970-01-01T00:00:00Z"}}}}"#, placement(1));
    std::fs::write(&file, &text).unwrap();
    let records = read(&file).unwrap();
    assert_eq!(records[&placement(1)].kind, FreezeKind::FileSystems);
    assert_eq!(serde_json::to_string(&records).unwrap(), text, "and an older agent reads it");
}

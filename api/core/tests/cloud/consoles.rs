//! Serial consoles.

use std::sync::Arc;
use std::time::Duration;

use tepui_core::{Caller, Error, Turn};
use tepui_types::agent::{HavePart, PlacementState};

use super::harness::{Harness, placement_of};

#[tokio::test]
async fn a_reader_of_the_latest_console_waits_for_the_upload() {
    let t = Harness::new().await;
    let host = Arc::new(t.host(1).await);
    let made = t.run_one(&t.admin).await;
    let (id, placement) = (made.instances[0].record.instance.id, placement_of(&made));
    assert_eq!(t.cloud.console_output(&t.admin, id, false).await.unwrap(), None);
    let known = host.poll().await.parts;
    let have: Vec<_> =
        known.iter().map(|part| HavePart { key: part.key, generation: part.generation }).collect();
    let reader = tokio::spawn({
        let (cloud, admin) = (Arc::clone(&t.cloud), t.admin.clone());
        async move { cloud.console_output(&admin, id, true).await.unwrap().unwrap() }
    });
    let poll = host.poll_with(have.clone(), 30_000);
    let reply = tokio::time::timeout(Duration::from_secs(10), poll).await.unwrap();
    assert_eq!(reply.wanted_consoles, [placement]);
    assert_eq!(host.poll_with(have, 0).await.wanted_consoles, [], "named once");
    let mut bytes = vec![b'a'; 70_000];
    bytes.extend(b"login:");
    t.cloud.put_console(host.id, placement, &bytes).await.unwrap();
    let output = reader.await.unwrap();
    assert_eq!(output.bytes.len(), 64 * 1024);
    assert!(output.bytes.ends_with(b"login:"));
    let stored = t.cloud.console_output(&t.admin, id, false).await.unwrap().unwrap();
    assert_eq!(stored.bytes, output.bytes);
}

#[tokio::test]
async fn readers_that_wait_for_a_host_keep_nobody_out() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let id = t.run_one(&t.admin).await.instances[0].record.instance.id;
    // As many requests as are worked on at once.
    let request = |n| Caller { access_key_id: format!("key-{n}"), turn: Turn::default(), ..t.admin.clone() };
    let crowd: Vec<_> = (0..128).map(request).collect();
    let mut admitted = Vec::new();
    for caller in &crowd {
        admitted.push(t.cloud.admit(caller).await.unwrap());
    }
    let reader = t.cloud.console_output(&crowd[0], id, true);
    let known = host.poll().await.parts;
    let have = known.iter().map(|part| HavePart { key: part.key, generation: part.generation }).collect();
    let next = request(128);
    let other = async {
        assert_eq!(host.poll_with(have, 30_000).await.wanted_consoles.len(), 1, "the reader waits");
        t.cloud.admit(&next).await
    };
    let (_, other) = tokio::join!(reader, other);
    assert!(other.is_ok());
}

#[tokio::test]
async fn a_node_uploads_only_consoles_of_its_own_placements() {
    let t = Harness::new().await;
    let first = t.host(1).await;
    let made = t.run_one(&t.admin).await;
    let second = t.host(2).await;
    let placement = placement_of(&made);
    let refused = t.cloud.put_console(second.id, placement, b"lies").await;
    assert!(matches!(refused, Err(Error::NotFound { .. })));
    t.cloud.put_console(first.id, placement, b"truth").await.unwrap();
}

#[tokio::test]
async fn a_console_goes_with_its_placement() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let made = t.run_one(&t.admin).await;
    let (id, placement) = (made.instances[0].record.instance.id, placement_of(&made));
    t.cloud.put_console(host.id, placement, b"secrets of a tenant").await.unwrap();
    let files = || std::fs::read_dir(&t.cloud.config().consoles_dir).unwrap().count();
    assert_eq!(files(), 1);
    t.cloud.terminate_instances(&t.admin, &[id]).await.unwrap();
    host.report(vec![(placement, PlacementState::Gone)]).await;
    assert_eq!(files(), 0);
}

#[tokio::test]
async fn consoles_that_nobody_needs_are_marked_and_swept_an_hour_later() {
    let t = Harness::new().await;
    let (kept, lost) = (t.host(1).await, t.host(2).await);
    let (first, second) = (t.run_one(&t.admin).await, t.run_one(&t.admin).await);
    for made in [&first, &second] {
        let record = &made.instances[0].record;
        let node = record.placement.as_ref().unwrap().node_id;
        t.cloud.put_console(node, placement_of(made), b"secrets of a tenant").await.unwrap();
    }
    // One with a guest on each: the scheduler spreads.
    t.clock.advance(100);
    kept.report(Vec::new()).await;
    t.cloud.reconcile_once().await;
    t.cloud.expunge_node(&t.admin, lost.id).await.unwrap();
    let dir = &t.cloud.config().consoles_dir;
    std::fs::write(dir.join(".half-written"), b"").unwrap();
    // No file, and so nothing that can be removed: it keeps none of the others.
    std::fs::create_dir(dir.join(".a-folder")).unwrap();
    let files = || std::fs::read_dir(dir).unwrap().count();
    // Whatever the clock is set to meanwhile.
    for (seconds, removed, left) in [(0, 0, 4), (3599, 0, 4), (1, 2, 2), (7200, 0, 2)] {
        t.clock.advance(seconds);
        assert_eq!((t.cloud.sweep_consoles().await.unwrap(), files()), (removed, left), "{seconds}");
        t.clock.jump(if seconds == 0 { 10 * 86_400 } else { -20 * 86_400 });
    }
}

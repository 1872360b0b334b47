//! Content of snapshots in a real pool.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use tepui_agent::link::LinkError;
use tepui_agent::storage::{ContentSource, RemoteContent, Storage as _};
use tepui_storage::{Content, PoolError};
use tepui_types::agent::{SnapshotPart, SnapshotSource, StoredState, WantedSending};
use tepui_types::frames::{Decoder, Encoder, FrameError, PIECE_BYTES};
use tepui_types::{PoolId, SendingId, SnapshotId};

use super::support::{MIB, pool_id, snapshot, volume};
use super::{COLD, Host, host, present, seen_of, walk};

/// The other host: what it sends at each try, the last of which is at the end of the list.
#[derive(Default)]
pub(crate) struct Far(Mutex<Vec<Try>>);

/// The size that it tells, and the frames that it sends before it breaks off or ends; none: it sends nothing, for ever.
type Try = (u64, Option<Vec<u8>>);

#[async_trait]
impl ContentSource for Far {
    async fn content(&self, of: SnapshotId) -> Result<RemoteContent, LinkError> {
        assert_eq!(of, snapshot(9));
        let next = self.0.lock().unwrap().pop();
        let Some((bytes, sent)) = next else {
            let (call, message) = ("/agent/v1/snapshots/{snapshot}/content", "gone".to_owned());
            return Err(LinkError::Refused { call, status: reqwest::StatusCode::NOT_FOUND, message });
        };
        let Some(sent) = sent else { return Ok((bytes, stream::pending().boxed())) };
        let portions: Vec<_> = sent.chunks(1009).map(|portion| Ok(Bytes::copy_from_slice(portion))).collect();
        Ok((bytes, stream::iter(portions).boxed()))
    }
}

/// Eight MiB with something in the third.
fn far_content() -> Vec<u8> {
    let mut content = vec![0; 8 * PIECE_BYTES];
    content[2 * PIECE_BYTES + 5..3 * PIECE_BYTES].fill(3);
    content
}

fn frames(content: &[u8]) -> Vec<u8> {
    let (mut encoder, mut frames) = (Encoder::new().unwrap(), Vec::new());
    for piece in content.chunks(PIECE_BYTES) {
        encoder.piece(piece, &mut frames).unwrap();
    }
    frames
}

/// What is sent stays on its way for ever, as a disk that is being captured for hours.
#[test]
fn a_root_that_waits_for_its_host_holds_up_no_copy() {
    host(|host, _| {
        let (whole, size) = (frames(&far_content()), 8 * MIB);
        *host.far.0.lock().unwrap() = vec![(size, Some(whole)), (size, None)];
        // The snapshot of a root disk is its own source.
        host.want_snapshot(9, pool_id(), from_afar());
        assert_eq!(seen_of(&host.apply_once(), 9), None, "it is under way");
        host.until(|_| host.far.0.lock().unwrap().len() == 1);
        host.want_snapshot(1, pool_id(), from_afar());
        host.until(|seen| seen_of(seen, 1) == Some(&StoredState::Present { size_bytes: size }));
        assert_eq!(seen_of(&host.apply_once(), 9), None, "it still is");
    });
}

/// Its host would capture or read a disk at each try.
#[test]
fn nothing_is_asked_of_another_host_for_a_full_pool() {
    host(|host, _| {
        *host.far.0.lock().unwrap() = vec![(8 * MIB, None)];
        for pool in &mut host.part.pools {
            (pool.soft_percent, pool.hard_percent) = (1, 1);
        }
        host.want_snapshot(1, pool_id(), from_afar());
        let is_full =
            |state: Option<&StoredState>| matches!(state, Some(StoredState::Failed { permanent: false, .. }));
        host.until(|seen| is_full(seen_of(seen, 1)));
        assert_eq!(host.far.0.lock().unwrap().len(), 1);
    });
}

/// A copy of a snapshot of another host.
fn from_afar() -> SnapshotPart {
    let source = SnapshotSource { snapshot_id: snapshot(9), pool_id: PoolId::from_random(99) };
    SnapshotPart::Present { volume_id: volume(9), copy_of: Some(source), image: None, taken: false }
}

impl Host {
    fn content(&self, number: u128, pool_id: PoolId, offset: u64) -> Result<Content, PoolError> {
        let (id, snapshot_id) = (SendingId::from_random(1), snapshot(number));
        self.runtime.block_on(self.pools.content(WantedSending {
            id,
            pool_id,
            snapshot_id,
            offset,
            root_of: None,
        }))
    }
}

fn read(content: Content) -> Vec<u8> {
    let (mut decoder, mut raw) = (Decoder::new().unwrap(), Vec::new());
    for portion in content {
        let keep = |piece: &[u8]| {
            raw.extend_from_slice(piece);
            Ok::<_, FrameError>(())
        };
        decoder.read(&portion.unwrap(), keep).unwrap();
    }
    raw
}

#[test]
fn a_snapshot_is_read_as_it_was_taken_also_when_it_is_removed_meanwhile() {
    host(|host, path| {
        host.want_volume(1, present(16));
        host.apply();
        let disk = path.join(format!("pool/volumes/{}/disk.raw", volume(1)));
        let disk = OpenOptions::new().write(true).open(disk).unwrap();
        disk.write_all_at(&[7; 4096], 5 * MIB).unwrap();
        let taken = SnapshotPart::Present { volume_id: volume(1), copy_of: None, image: None, taken: false };
        host.want_snapshot(1, pool_id(), taken);
        host.apply();
        disk.write_all_at(&[8; 4096], 5 * MIB).unwrap();

        let content = host.content(1, pool_id(), 5 * MIB).unwrap();
        assert_eq!(content.bytes(), 16 * MIB);
        host.want_snapshot(1, pool_id(), SnapshotPart::Absent);
        host.apply();
        let mut wanted = vec![0; 11 << 20];
        wanted[..4096].fill(7);
        assert!(read(content) == wanted);
        for pool in [pool_id(), COLD] {
            assert!(matches!(host.content(1, pool, 0), Err(PoolError::NoSnapshot(_))));
        }
    });
}

#[test]
fn a_copy_comes_from_another_host_whole_or_not_at_all() {
    host(|host, path| {
        let (whole, size) = (frames(&far_content()), 8 * MIB);
        let short = whole[..whole.len() - 5].to_vec();
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 1;
        let long = [&whole[..], &frames(&[1])].concat();
        // From the last on.
        *host.far.0.lock().unwrap() =
            vec![(size, Some(whole)), (size, Some(long)), (size, Some(damaged)), (size, Some(short))];
        host.want_snapshot(1, pool_id(), from_afar());
        for wrong in ["of 8388608 bytes came", "the content came damaged", "8388609 of 8388608 bytes came"] {
            let is_told = |state: Option<&StoredState>| matches!(state, Some(StoredState::Failed { message, permanent: false }) if message.contains(wrong));
            host.until(|seen| is_told(seen_of(seen, 1)));
            assert!(walk(&path.join("pool/snapshots")).is_empty(), "{wrong}");
        }
        let there = StoredState::Present { size_bytes: size };
        host.until(|seen| seen_of(seen, 1) == Some(&there));
        let copy = path.join(format!("pool/snapshots/{}/disk.raw", snapshot(1)));
        assert!(std::fs::read(&copy).unwrap() == far_content());
        let taken = std::fs::metadata(&copy).unwrap().blocks() * 512;
        assert!(taken < 2 * MIB, "{taken} bytes are taken");

        host.want_snapshot(2, pool_id(), from_afar());
        let is_lost =
            |state: Option<&StoredState>| matches!(state, Some(StoredState::Failed { permanent: true, .. }));
        host.until(|seen| is_lost(seen_of(seen, 2)));
        assert_eq!(walk(&path.join("pool/tmp")), [] as [std::path::PathBuf; 0]);
    });
}

#[test]
fn a_copy_that_is_not_wanted_any_more_waits_for_no_other_host() {
    host(|host, path| {
        *host.far.0.lock().unwrap() = vec![(8 * MIB, None)];
        host.want_snapshot(1, pool_id(), from_afar());
        assert_eq!(seen_of(&host.apply_once(), 1), None, "it is under way");
        host.until(|_| host.far.0.lock().unwrap().is_empty());
        host.want_snapshot(1, pool_id(), SnapshotPart::Absent);
        assert_eq!(seen_of(&host.apply_once(), 1), Some(&StoredState::Gone));
        assert_eq!(walk(&path.join("pool/tmp")), [] as [std::path::PathBuf; 0]);
    });
}

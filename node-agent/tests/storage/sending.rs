//! Content of snapshots in a real pool.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

use tepui_agent::storage::Storage as _;
use tepui_storage::{Content, PoolError};
use tepui_types::agent::{SnapshotPart, WantedSending};
use tepui_types::frames::{Decoder, FrameError};
use tepui_types::{PoolId, SendingId};

use super::support::{MIB, pool_id, snapshot, volume};
use super::{COLD, Host, host, present};

impl Host {
    fn content(&self, number: u128, pool_id: PoolId, offset: u64) -> Result<Content, PoolError> {
        let (id, snapshot_id) = (SendingId::from_random(1), snapshot(number));
        self.runtime.block_on(self.pools.content(WantedSending { id, pool_id, snapshot_id, offset }))
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
        let taken = SnapshotPart::Present { volume_id: volume(1), copy_of: None, taken: false };
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

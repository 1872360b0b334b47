//! Takes snapshots and makes volumes of them in a pool, as the agent does, at the word of a benchmark.
//!
//! `pool_copies FOLDER GIB` makes a volume of so many GiB in a new pool and prints its file. Then each line of standard
//! input, `snapshot` or `clone`, is done and answered with `done`. Snapshots are of the volume; clones are of a snapshot
//! that is taken before the first of them.

use std::io::{self, BufRead as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use tepui_storage::{Pool, Watermarks};
use tepui_types::{PoolId, SnapshotId, VolumeId};

const MARKS: Watermarks = Watermarks { soft_percent: 98, hard_percent: 99 };

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, gib] = &arguments[..] else { anyhow::bail!("usage: pool_copies FOLDER GIB") };
    let bytes = gib.parse::<u64>().context(gib.clone())? << 30;
    let pool = Pool::create(Path::new(folder), PoolId::from_random(1), MARKS)?;
    let (volume, source) = (VolumeId::from_random(0), SnapshotId::from_random(0));
    say(&pool.create_volume(volume, bytes)?.path.display().to_string())?;
    for (number, line) in (1..).zip(io::stdin().lock().lines()) {
        match line?.as_str() {
            "snapshot" => drop(pool.take_snapshot(SnapshotId::from_random(number), volume)?),
            "clone" => {
                if pool.snapshot(source)?.is_none() {
                    pool.take_snapshot(source, volume)?;
                }
                pool.clone_volume(VolumeId::from_random(number), source, bytes)?;
            }
            other => anyhow::bail!("{other:?} is neither snapshot nor clone"),
        }
        say("done")?;
    }
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

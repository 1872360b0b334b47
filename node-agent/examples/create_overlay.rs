//! Makes root disks as the agent does, for the benchmark: reads `PATH BASE BYTES` a line and answers each
//! with a line once the overlay is durable.

use std::io::{self, BufRead as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use tepui_agent::disks::create_overlay;

fn main() -> anyhow::Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let [path, base, bytes] = words[..] else { anyhow::bail!("not `PATH BASE BYTES`: {line}") };
        create_overlay(Path::new(path), Path::new(base), bytes.parse().context(line.clone())?)?;
        writeln!(io::stdout(), "done")?;
    }
    Ok(())
}

//! `simulated-day`: lives through simulated days and says what happened in each.

use std::time::Instant;

use anyhow::Context as _;
use clap::Parser;
use tepui_simulation::{Scale, live};

/// Live through a day of a cloud for each seed, with faults, and check what was promised.
#[derive(Parser)]
#[command(name = "simulated-day")]
struct Arguments {
    /// The days; the same seed gives the same day.
    #[arg(required_unless_present = "random")]
    seeds: Vec<u64>,
    /// This many days of seeds that nobody chose.
    #[arg(long, value_name = "COUNT")]
    random: Option<u32>,
    /// Simulated hosts.
    #[arg(long, default_value_t = 1000)]
    nodes: u32,
    /// Projects that launch instances.
    #[arg(long, default_value_t = 20)]
    tenants: u32,
    /// Simulated hours.
    #[arg(long, default_value_t = 24)]
    hours: u32,
}

fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let chosen = (0..arguments.random.unwrap_or(0)).map(|_| rand::random());
    let seeds: Vec<u64> = arguments.seeds.iter().copied().chain(chosen).collect();
    for seed in seeds {
        let scale =
            Scale { seed, nodes: arguments.nodes, tenants: arguments.tenants, hours: arguments.hours };
        println!("seed {seed}: {} nodes, {} hours", scale.nodes, scale.hours);
        let begun = Instant::now();
        let summary = live(scale).with_context(|| {
            format!(
                "again with: simulated-day {seed} --nodes {} --tenants {} --hours {}",
                scale.nodes, scale.tenants, scale.hours
            )
        })?;
        println!("  {summary:#?}\n  in {:.1} s", begun.elapsed().as_secs_f64());
    }
    Ok(())
}

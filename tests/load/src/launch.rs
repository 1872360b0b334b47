//! Launching over many connections at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hyper::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;

use crate::sign::Signer;
use crate::wire::Wire;

/// Launches as fast as calls are acknowledged; says what became of it in one line of JSON.
#[derive(clap::Parser)]
#[command(name = "tepui-load", version)]
pub(crate) struct Arguments {
    /// Address and port of the public listener, without TLS.
    #[arg(long, value_name = "HOST:PORT")]
    host: String,
    /// The region of signatures.
    #[arg(long)]
    region: String,
    /// Access keys, `KEY SECRET` a line, of one project each; connections take them in turn.
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// An image that all projects may launch.
    #[arg(long)]
    image: String,
    /// Connections, each with one call under way.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Instances of each call.
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// For how long.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Makes the tokens of this run its own.
    #[arg(long)]
    run: String,
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    placed: usize,
    refused: BTreeMap<String, usize>,
    took: Vec<Duration>,
}

/// Launches until the time is over, and tells the sum.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let keys = keys(&arguments)?;
    let mut wires = Vec::new();
    for (key_id, secret) in keys.iter().cycle().take(arguments.connections) {
        let signer = Signer::new(key_id, secret, &arguments.region, &arguments.host);
        wires.push(Wire::connect(&arguments.host, signer).await?);
    }
    let started = Instant::now();
    let until = started + Duration::from_secs(arguments.seconds);
    let mut running = JoinSet::new();
    for (number, wire) in wires.into_iter().enumerate() {
        running.spawn(launches(wire, form(&arguments, number), until));
    }
    let mut all = Seen::default();
    while let Some(seen) = running.join_next().await {
        all.add(seen??);
    }
    println!("{}", all.told(started.elapsed()));
    Ok(())
}

fn keys(arguments: &Arguments) -> anyhow::Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(&arguments.keys)
        .with_context(|| format!("cannot read {}", arguments.keys.display()))?;
    let pair = |line: &str| line.split_once(' ').map(|(id, secret)| (id.to_owned(), secret.to_owned()));
    let keys: Vec<_> = text.lines().filter_map(pair).collect();
    if keys.is_empty() {
        bail!("{} has no line of the form KEY SECRET", arguments.keys.display());
    }
    Ok(keys)
}

/// All of a call but the number of its token. As SDKs do, each call has a token.
fn form(arguments: &Arguments, connection: usize) -> String {
    let Arguments { image, count, run, .. } = arguments;
    format!(
        "Action=RunInstances&Version=2016-11-15&ImageId={image}&InstanceType=t3.nano&MinCount={count}\
         &MaxCount={count}&NetworkInterface.1.DeviceIndex=0\
         &NetworkInterface.1.AssociatePublicIpAddress=false&ClientToken={run}-{connection}-"
    )
}

async fn launches(mut wire: Wire, form: String, until: Instant) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    let mut number = 0_u64;
    while Instant::now() < until {
        number += 1;
        let sent = Instant::now();
        let (status, reply) = wire.post(format!("{form}{number}")).await?;
        seen.took.push(sent.elapsed());
        seen.note(status, &reply);
    }
    Ok(seen)
}

impl Seen {
    fn note(&mut self, status: StatusCode, reply: &Bytes) {
        let text = String::from_utf8_lossy(reply);
        if status == StatusCode::OK {
            self.placed += text.matches("<instanceId>").count();
            return;
        }
        let code = text.split("<Code>").nth(1).and_then(|rest| rest.split('<').next());
        let code = code.map_or_else(|| status.to_string(), str::to_owned);
        *self.refused.entry(code).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        self.placed += other.placed;
        self.took.extend(other.took);
        for (code, count) in other.refused {
            *self.refused.entry(code).or_default() += count;
        }
    }

    fn told(mut self, elapsed: Duration) -> String {
        self.took.sort_unstable();
        let at = |percent: usize| {
            let index = (self.took.len() * percent / 100).min(self.took.len().saturating_sub(1));
            self.took.get(index).copied().unwrap_or_default().as_secs_f64() * 1e3
        };
        let told = json!({
            "placed": self.placed,
            "seconds": elapsed.as_secs_f64(),
            "calls": self.took.len(),
            "refused": self.refused,
            "median_ms": at(50),
            "p99_ms": at(99),
        });
        told.to_string()
    }
}

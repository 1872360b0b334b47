//! `tepui-load`: the load of the benchmark. It calls `RunInstances` over many kept connections and
//! counts the instances of acknowledged calls.

mod launch;
mod sign;
mod wire;

use clap::Parser as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    launch::run(launch::Arguments::parse()).await
}

/// The time of day; this program is where it comes in.
#[expect(clippy::disallowed_methods, reason = "the composition root of this program")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

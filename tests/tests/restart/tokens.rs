//! One token through lost replies, at the same time from several clients, while the control plane is
//! killed again and again.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use tepui_tests::{Cloud, Daemon, Ec2Session, Hypervisor, Reply, until};

use crate::scene::{live, run_parameters};

const ROUNDS: u32 = 20;
/// Each round kills this much later than the one before, so that the kills spread over the life of a
/// request, from before its arrival to after its answer.
const LATER: Duration = Duration::from_millis(1);
/// The second client hangs up before the answer can be there.
const PATIENCE_MS: [u64; 3] = [30_000, 2, 30_000];

#[test]
fn a_token_is_one_reservation_through_lost_replies_and_kills_of_the_control_plane() {
    let mut cloud = Cloud::start(Hypervisor::Simulated, 1);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut clients = PATIENCE_MS.map(|ms| Ec2Session::start(&cloud, Duration::from_millis(ms)));
    // boto3 reads its model at the first call.
    clients.iter_mut().for_each(|client| drop(client.call("describe_regions", &json!({}))));
    let mut answered = Vec::new();
    for round in 0..ROUNDS {
        let parameters = run_parameters(&image, &format!("round-{round}"));
        let replies = all_while_killed(&cloud, &mut clients, &parameters, LATER * round);
        cloud.up();
        answered.push(replies.iter().filter(|reply| matches!(reply, Reply::Answer(_))).count());
        assert_one_reservation(&mut clients[0], &parameters, &replies);
    }
    let clients = PATIENCE_MS.len();
    eprintln!("answered before the kill, of {clients} clients in each round: {answered:?}");
    cloud.assert_healthy();
    cloud.down();
}

/// The same call from all clients at once, and a kill some time later.
fn all_while_killed(
    cloud: &Cloud,
    clients: &mut [Ec2Session],
    parameters: &Value,
    after: Duration,
) -> Vec<Reply> {
    thread::scope(|scope| {
        let calls: Vec<_> = clients
            .iter_mut()
            .map(|client| scope.spawn(move || client.call("run_instances", parameters)))
            .collect();
        thread::sleep(after);
        cloud.kill(Daemon::Api);
        let join =
            |call: ScopedJoinHandle<'_, Reply>| call.join().unwrap_or_else(|panic| resume_unwind(panic));
        calls.into_iter().map(join).collect()
    })
}

/// Whoever was answered has the reservation that a repeat names, and its instance exists and runs.
fn assert_one_reservation(client: &mut Ec2Session, parameters: &Value, replies: &[Reply]) {
    let again = client.call("run_instances", parameters).answer();
    let reservations: BTreeSet<_> = replies
        .iter()
        .filter_map(|reply| match reply {
            Reply::Answer(answer) => Some(answer["ReservationId"].to_string()),
            Reply::Refused(code) => unreachable!("refused: {code}"),
            Reply::Lost(_) => None,
        })
        .chain([again["ReservationId"].to_string()])
        .collect();
    assert_eq!(reservations.len(), 1, "{reservations:?}");
    let id = &again["Instances"][0]["InstanceId"];
    until(&format!("{id} runs, alone"), 40, || {
        let described = client.call("describe_instances", &json!({})).answer();
        assert_eq!(live(&described).iter().collect::<Vec<_>>(), [id.as_str().unwrap_or_default()]);
        described.to_string().contains("\"running\"").then_some(())
    });
    client.call("terminate_instances", &json!({ "InstanceIds": [id] })).answer();
    until(&format!("{id} is terminated"), 40, || {
        live(&client.call("describe_instances", &json!({})).answer()).is_empty().then_some(())
    });
}

//! An EC2 client that stays: a call costs milliseconds, and a lost reply is an answer too.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::boot::Boot;
use crate::cloud::text;
use crate::{Cloud, python, repository, until};

/// How a call ended, as the client sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The answer.
    Answer(Value),
    /// EC2's error code.
    Refused(String),
    /// The connection broke, or the client hung up: the call may or may not have been carried out.
    Lost(String),
}

impl Reply {
    /// The answer of a call that must have one.
    ///
    /// # Panics
    /// With the reply, when it is another.
    #[track_caller]
    pub fn answer(self) -> Value {
        match self {
            Self::Answer(value) => value,
            Self::Refused(why) | Self::Lost(why) => unreachable!("the call was not answered: {why}"),
        }
    }
}

/// A running boto3 that retries nothing.
#[derive(Debug)]
pub struct Ec2Session {
    child: Child,
    calls: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Ec2Session {
    /// Starts a client of the cloud that hangs up when a reply takes longer than `patience`.
    ///
    /// # Panics
    /// When Python cannot be started.
    #[track_caller]
    pub fn start(cloud: &Cloud, patience: Duration) -> Self {
        Self::start_as(cloud.variables(), patience)
    }

    /// As [`Self::start`], for another user of the cloud.
    ///
    /// # Panics
    /// When Python cannot be started.
    #[track_caller]
    pub fn start_as(variables: &BTreeMap<String, String>, patience: Duration) -> Self {
        let mut command = Command::new(python("python"));
        command
            .arg(repository().join("tests/clients/ec2_session.py"))
            .arg(patience.as_secs_f64().to_string());
        command.envs(variables).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => unreachable!("{command:?}: {error}"),
        };
        let (Some(calls), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both are piped")
        };
        Self { child, calls, replies: BufReader::new(replies) }
    }

    /// Makes one call, for example `run_instances`, with boto3's names of parameters.
    ///
    /// # Panics
    /// When the client itself ends; what it said is on stderr.
    #[track_caller]
    pub fn call(&mut self, call: &str, parameters: &Value) -> Reply {
        let asked = json!({ "call": call, "parameters": parameters });
        let mut line = String::new();
        let talked = writeln!(self.calls, "{asked}").and_then(|()| self.replies.read_line(&mut line));
        let said = talked.ok().and_then(|_| serde_json::from_str::<Value>(&line).ok());
        let Some(said) = said else { unreachable!("the client ended at {asked}") };
        let text = |kind: &str| said[kind].as_str().map(str::to_owned);
        match (text("refused"), text("lost")) {
            (Some(code), _) => Reply::Refused(code),
            (None, Some(why)) => Reply::Lost(why),
            (None, None) => Reply::Answer(said["answer"].clone()),
        }
    }

    /// Launches instances of the smallest type, with these parameters besides, and returns their ids.
    ///
    /// # Panics
    /// When the call is not answered.
    #[track_caller]
    pub fn launch(&mut self, image: &str, count: usize, besides: Value) -> Vec<String> {
        let mut parameters =
            json!({ "ImageId": image, "InstanceType": "t2.nano", "MinCount": count, "MaxCount": count });
        if let (Some(all), Value::Object(besides)) = (parameters.as_object_mut(), besides) {
            all.extend(besides);
        }
        let reply = self.call("run_instances", &parameters).answer();
        let instances = reply["Instances"].as_array().cloned().unwrap_or_default();
        instances.iter().map(|instance| text(&instance["InstanceId"])).collect()
    }

    /// Makes a call on instances alone, for example `stop_instances`.
    ///
    /// # Panics
    /// When it is not answered.
    #[track_caller]
    pub fn act(&mut self, call: &str, ids: &[String]) -> Value {
        self.call(call, &json!({ "InstanceIds": ids })).answer()
    }

    /// Waits until instances are in a state, and returns them as DescribeInstances shows them. A call that
    /// is lost meanwhile is made again.
    ///
    /// # Panics
    /// When they are not within `seconds`.
    #[track_caller]
    pub fn wait_state(&mut self, ids: &[String], state: &str, seconds: u64) -> Vec<Value> {
        until(&format!("{} are {state}", ids.join(" ")), seconds, || {
            let Reply::Answer(reply) = self.call("describe_instances", &json!({ "InstanceIds": ids })) else {
                return None;
            };
            let reservations = reply["Reservations"].as_array()?.iter();
            let instances: Vec<Value> = reservations
                .flat_map(|reservation| reservation["Instances"].as_array().cloned().unwrap_or_default())
                .collect();
            let are_there = instances.iter().all(|instance| instance["State"]["Name"] == state);
            are_there.then_some(instances)
        })
    }

    /// Waits until the serial console of a tiny guest holds these words, and returns it all.
    ///
    /// # Panics
    /// When it does not within `seconds`.
    #[track_caller]
    pub fn wait_console(&mut self, id: &str, words: &str, seconds: u64) -> String {
        let mut boot = Boot::that_says(words);
        until(&format!("the console of {id} says '{words}'"), seconds, || {
            let asked = json!({ "InstanceId": id, "Latest": true });
            let Reply::Answer(reply) = self.call("get_console_output", &asked) else { return None };
            let console = text(&reply["Output"]);
            if boot.hangs(id, &console) {
                self.call("reboot_instances", &json!({ "InstanceIds": [id] })).answer();
            }
            console.contains(words).then_some(console)
        })
    }
}

impl Drop for Ec2Session {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

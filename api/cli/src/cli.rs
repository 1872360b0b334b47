//! The command table: parsing, help, completions and manual pages all come from it.

use clap::{Args, Parser, Subcommand};

use crate::command::{
    access_key, api, completions, context, doctor, help, image, instance, instance_type, key_pair, login,
    man, node, placement_group, pool, project, quota, security_group, snapshot, tag, user, volume,
};

/// The two examples that each command's help begins with.
macro_rules! examples {
    ($first:literal, $second:literal) => {
        concat!("Examples:\n  ", $first, "\n  ", $second)
    };
}
pub(crate) use examples;

/// The command line of the Tepui private cloud
#[derive(Debug, Parser)]
#[command(
    name = "tepui",
    version,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(max_term_width = 100)]
#[command(before_help = examples!("tepui instance run debian-12", "tepui instance ssh debian-12-1"))]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub noun: Noun,
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Answer in JSON: all fields, or --json=id,name only those
    #[arg(long, global = true, help_heading = "Output", value_name = "FIELDS", num_args = 0..=1, require_equals = true,
          value_delimiter = ',', default_missing_value = "", hide_default_value = true,
          value_parser = clap::value_parser!(String))]
    pub json: Option<Vec<String>>,
    /// Answer in JSON, put through a filter of jq; strings come out without quotes
    #[arg(long, global = true, help_heading = "Output", value_name = "FILTER")]
    pub jq: Option<String>,
    /// Answer with ids only
    #[arg(long, short = 'q', global = true, help_heading = "Output")]
    pub quiet: bool,
    /// Print each call to the cloud on standard error
    #[arg(long, global = true, help_heading = "Output")]
    pub show_request: bool,
}

/// The nouns.
#[derive(Debug, Subcommand)]
pub enum Noun {
    /// Virtual machines
    #[command(subcommand, before_help = examples!("tepui instance run debian-12", "tepui instance list"))]
    Instance(instance::Verb),
    /// Bootable images
    #[command(subcommand, before_help = examples!("tepui image list", "tepui image import debian-12.qcow2 --name debian-12 --login-user debian"))]
    Image(image::Verb),
    /// SSH keys that guests let in
    #[command(subcommand, before_help = examples!("tepui key-pair list", "tepui key-pair create laptop"))]
    KeyPair(key_pair::Verb),
    /// What may reach instances
    #[command(subcommand, before_help = examples!("tepui security-group list", "tepui security-group allow web --tcp 443"))]
    SecurityGroup(security_group::Verb),
    /// How instances are spread over nodes
    #[command(subcommand, before_help = examples!("tepui placement-group list", "tepui placement-group create apart --strategy spread"))]
    PlacementGroup(placement_group::Verb),
    /// Disks that outlive instances
    #[command(subcommand, before_help = examples!("tepui volume create data --size 10", "tepui volume attach data web"))]
    Volume(volume::Verb),
    /// Copies of volumes as they were at a moment
    #[command(subcommand, before_help = examples!("tepui snapshot create before-upgrade --volume data", "tepui snapshot list"))]
    Snapshot(snapshot::Verb),
    /// Storage that volumes are made in
    #[command(subcommand, before_help = examples!("tepui pool list", "tepui pool create fast --backend iscsi --node node-1 --path /srv/volumes"))]
    Pool(pool::Verb),
    /// Instance types
    #[command(subcommand, before_help = examples!("tepui type list", "tepui type list --json=name,fits"))]
    Type(instance_type::Verb),
    /// Tags of instances and other objects
    #[command(subcommand, before_help = examples!("tepui tag list", "tepui tag set i-0123456789abcdef0 team=blue"))]
    Tag(tag::Verb),
    /// Hosts, for administrators
    #[command(subcommand, before_help = examples!("tepui node list", "tepui node join-token"))]
    Node(node::Verb),
    /// Projects, for administrators
    #[command(subcommand, before_help = examples!("tepui project list", "tepui project create research"))]
    Project(project::Verb),
    /// A project's limits, for administrators
    #[command(subcommand, before_help = examples!("tepui quota show default", "tepui quota set default --vcpus 64"))]
    Quota(quota::Verb),
    /// People and programs, for administrators
    #[command(subcommand, before_help = examples!("tepui user list", "tepui user create ada"))]
    User(user::Verb),
    /// Access keys
    #[command(subcommand, before_help = examples!("tepui key list", "tepui key create --user ada"))]
    Key(access_key::Verb),
    /// Log in to a cloud, and keep the credential in a context
    #[command(before_help = examples!("tepui login https://cloud.example:8773", "tepui login https://cloud.example:8773 --name lab --ca-bundle ca.pem"))]
    Login(login::Login),
    /// Clouds and projects that one has logged in to
    #[command(subcommand, before_help = examples!("tepui context list", "tepui context use lab"))]
    Context(context::Verb),
    /// Which cloud, user and project commands act on
    #[command(before_help = examples!("tepui whoami", "tepui whoami --json"))]
    Whoami,
    /// Compare what should be with what is, and name the cure
    #[command(before_help = examples!("tepui doctor", "tepui doctor --fix"))]
    Doctor(doctor::Doctor),
    /// A whole cloud on this machine, for trying and developing
    #[command(subcommand, before_help = examples!("sudo tepui dev up --dir target/demo", "sudo tepui dev down --dir target/demo"))]
    Dev(crate::dev::Verb),
    /// Call the REST surface
    #[command(before_help = examples!("tepui api GET /v1/instances", "tepui api POST /v1/projects --body '{\"name\":\"research\"}'"))]
    Api(api::Api),
    /// Explain a command or a topic
    #[command(before_help = examples!("tepui help instance run", "tepui help exit-codes"))]
    Help(help::Help),
    /// Print a shell's completions
    #[command(before_help = examples!("tepui completions bash", "tepui completions zsh"))]
    Completions(completions::Completions),
    /// Write the manual pages
    #[command(before_help = examples!("tepui man .", "tepui man /usr/local/share/man/man1"))]
    Man(man::Man),
}

impl Global {
    /// The wanted fields when JSON is wanted, as a filter does; none means all.
    pub fn json_fields(&self) -> Option<Vec<String>> {
        self.json.as_ref().map(|_| ()).or(self.jq.as_ref().map(|_| ()))?;
        let fields = self.json.iter().flatten();
        Some(fields.map(|field| field.trim().to_owned()).filter(|field| !field.is_empty()).collect())
    }
}

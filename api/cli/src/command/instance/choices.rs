//! What a launch will consist of, and where each choice came from: shown before it is done.

use tepui_types::endpoint::{
    AddSecurityGroupRule, ListInstances, ListKeyPairs, ShowCapacity, ShowImage, ShowSecurityGroup, Whoami,
};
use tepui_types::rest::{
    Capacity, Empty, Image, Instance, ListInstancesRequest, Project, RuleRequest, SecurityGroup, TypeRoom,
};

use super::run::Run;
use crate::command::image;
use crate::command::{key_pair, security_group};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::local::KeyStore;
use crate::repeat;
use crate::session::Session;
use crate::suggest::nearest;

/// Name of the key pair that is made where none is given.
const KEY_NAME: &str = "tepui-default";
/// Name of the security group that is made where none is given.
const GROUP_NAME: &str = "tepui-ssh";

/// The type where none is given, if it fits.
const USUAL_TYPE: &str = "t3.micro";

/// Everything a launch needs to know beforehand.
pub(super) struct Choices {
    pub(super) image: Image,
    pub(super) name: String,
    pub(super) instance_type: String,
    pub(super) key_name: String,
    pub(super) groups: Vec<String>,
    /// What is there under the wanted name already.
    pub(super) present: Vec<Instance>,
    rows: Vec<Row>,
}

/// What, value, and where it came from.
type Row = (&'static str, String, String);

impl Choices {
    /// Chooses what was not given, and makes key and group where there are none.
    pub(super) async fn make(run: &Run, session: &mut Session) -> Result<Self> {
        let project = session.call::<Whoami>(&[], &Empty {}).await?.project;
        let image = find_image(&run.image, session).await?;
        let present =
            session.call::<ListInstances>(&[], &ListInstancesRequest { terminated: false }).await?.items;
        let (name, name_row) = choose_name(run, &image, &present);
        let capacity = session.call::<ShowCapacity>(&[], &Empty {}).await?;
        let (instance_type, type_row) = choose_type(run, &capacity)?;
        let (key_name, key_row) = choose_key(run, &project, session).await?;
        let (groups, group_row) = choose_groups(run, session).await?;
        let cloud = ("cloud", session.url()?.to_owned(), format!("project {}", project.name));
        let image_row =
            ("image", image.name.clone(), format!("{}, {}", image.id, image::size(image.size_bytes)));
        let rows = vec![cloud, image_row, name_row, type_row, root(run, &image), key_row, group_row];
        let present = present.into_iter().filter(|i| i.name.as_ref() == Some(&name)).collect();
        Ok(Self { image, name, instance_type, key_name, groups, present, rows })
    }

    /// The table for standard error.
    pub(super) fn table(&self) -> String {
        let wide = self.rows.iter().map(|(_, value, _)| value.chars().count()).max().unwrap_or_default();
        let line = |value: &str, origin: &str| format!("{value:<wide$}  {origin}");
        let rows: Vec<_> =
            self.rows.iter().map(|(what, value, from)| ((*what).into(), line(value, from))).collect();
        crate::output::pairs(&rows)
    }

    /// Whether the instance that has the name is what was asked for.
    pub(super) fn same_as(&self, present: &Instance, run: &Run) -> Result<()> {
        let text = |value: Option<&String>| value.cloned().unwrap_or_default();
        let mut fields = vec![("image", self.image.id.to_string(), present.image_id.to_string())];
        if run.instance_type.is_some() {
            fields.push(("type", self.instance_type.clone(), present.instance_type.clone()));
        }
        if run.key_name.is_some() {
            fields.push(("key pair", self.key_name.clone(), text(present.key_name.as_ref())));
        }
        repeat::same("instance", &self.name, &fields)
    }
}

/// The image; a mistyped name gets the nearest one.
async fn find_image(word: &str, session: &mut Session) -> Result<Image> {
    let failure = match session.call::<ShowImage>(&[word], &Empty {}).await {
        Err(failure) if failure.exit == Exit::NotFound => failure,
        found => return found,
    };
    let images = session.call::<tepui_types::endpoint::ListImages>(&[], &Empty {}).await?.items;
    let failure = match nearest(images.into_iter().map(|image| image.name), word) {
        Some(name) => failure.why(format!("did you mean '{name}'?")),
        None => failure,
    };
    Err(failure.try_("tepui image list").docs("tepui help instance run"))
}

/// Without a wish: the image's name and the lowest number that is free.
fn choose_name(run: &Run, image: &Image, present: &[Instance]) -> (String, Row) {
    if let Some(name) = &run.name {
        return (name.clone(), ("name", name.clone(), "given".into()));
    }
    let taken = |name: &String| present.iter().any(|instance| instance.name.as_ref() == Some(name));
    let names = (1u64..).map(|number| format!("{}-{number}", image.name));
    let name = names.into_iter().find(|name| !taken(name)).unwrap_or_default();
    (name.clone(), ("name", name, "the first that is free".into()))
}

fn choose_type(run: &Run, capacity: &Capacity) -> Result<(String, Row)> {
    let wanted = run.instance_type.as_deref();
    let (room, origin) = match wanted {
        Some(name) => (capacity.types.iter().find(|room| room.instance_type.name == name), "given"),
        None => usual_type(&capacity.types),
    };
    let room = room.ok_or_else(|| unknown_type(wanted.unwrap_or_default(), &capacity.types))?;
    let kind = &room.instance_type;
    let value = format!("{} ({} vCPU, {} MiB)", kind.name, kind.vcpus, kind.memory_mib);
    Ok((kind.name.clone(), ("type", value, format!("{origin}; {} fit", room.fits))))
}

/// Without a wish: what EC2 clients get too, else the smallest that fits. Where nothing fits, the
/// cloud says why.
fn usual_type(types: &[TypeRoom]) -> (Option<&TypeRoom>, &'static str) {
    let usual = types.iter().find(|room| room.instance_type.name == USUAL_TYPE);
    if usual.is_some_and(|room| room.fits > 0) {
        return (usual, "the default");
    }
    let fitting = types.iter().filter(|room| room.fits > 0);
    match fitting.min_by_key(|room| (room.instance_type.memory_mib, room.instance_type.vcpus)) {
        Some(smallest) => (Some(smallest), "the smallest that fits"),
        None => (usual, "the default"),
    }
}

fn unknown_type(wanted: &str, types: &[TypeRoom]) -> Failure {
    let failure =
        Failure::new(Exit::NotFound, format!("no instance type '{wanted}'")).try_("tepui type list");
    match nearest(types.iter().map(|room| room.instance_type.name.clone()), wanted) {
        Some(name) => failure.why(format!("did you mean '{name}'?")).docs("tepui help instance run"),
        None => failure.docs("tepui help instance run"),
    }
}

fn root(run: &Run, image: &Image) -> Row {
    match run.root_size {
        Some(size) => ("root disk", format!("{size} GiB"), "given".into()),
        None => {
            let gib = image.size_bytes.div_ceil(1 << 30).max(1);
            ("root disk", format!("{gib} GiB"), "the image's size, in whole GiB".into())
        }
    }
}

/// Without a wish: a key of this machine, made at the first launch.
async fn choose_key(run: &Run, project: &Project, session: &mut Session) -> Result<(String, Row)> {
    if let Some(name) = &run.key_name {
        return Ok((name.clone(), ("key", name.clone(), "given".into())));
    }
    let store = KeyStore::new(&session.world.data_dir);
    let path = store.path(&project.id.to_string(), KEY_NAME);
    let (key, origin) = match store.get(&path)? {
        Some(key) => (key, "as before"),
        None => (new_key(&store, project, session).await?, "made now"),
    };
    key_pair::ensure(session, KEY_NAME, &key.public).await?;
    let origin = format!("{origin}, {}", key.path.display());
    Ok((KEY_NAME.into(), ("key", KEY_NAME.into(), origin)))
}

/// A new key, unless the project has one under the name whose private half is elsewhere.
async fn new_key(
    store: &KeyStore,
    project: &Project,
    session: &mut Session,
) -> Result<crate::local::StoredKey> {
    let present = session.call::<ListKeyPairs>(&[], &Empty {}).await?.items;
    let path = store.path(&project.id.to_string(), KEY_NAME);
    if present.iter().any(|key_pair| key_pair.name == KEY_NAME) {
        return Err(Failure::failed(format!("the private key of '{KEY_NAME}' is not on this machine"))
            .why(format!("project {} has the key pair, but {} is not there", project.name, path.display()))
            .try_("tepui key-pair create laptop")
            .try_("the same command with --key-name laptop")
            .docs("tepui help instance run"));
    }
    store.create(&path, &(session.world.random)(), KEY_NAME)
}

/// Without a wish: a group that lets ssh in.
async fn choose_groups(run: &Run, session: &mut Session) -> Result<(Vec<String>, Row)> {
    if !run.security_groups.is_empty() {
        let groups = run.security_groups.clone();
        let row = ("security", groups.join(", "), "given".into());
        return Ok((groups, row));
    }
    let (group, origin) = match session.call::<ShowSecurityGroup>(&[GROUP_NAME], &Empty {}).await {
        Err(failure) if failure.exit == Exit::NotFound => (make_group(session).await?, "made now"),
        found => (found?, "as before"),
    };
    let group = open_ssh(group, session).await?;
    let row = ("security", group.name.clone(), format!("{origin}, lets ssh in from everywhere"));
    Ok((vec![group.id.to_string()], row))
}

async fn make_group(session: &mut Session) -> Result<SecurityGroup> {
    security_group::ensure(session, GROUP_NAME.into(), Some("ssh from everywhere".into())).await
}

/// Adds the rule where it is missing: a launch may have died between group and rule.
async fn open_ssh(group: SecurityGroup, session: &mut Session) -> Result<SecurityGroup> {
    let wanted: RuleRequest = security_group::ssh_from_anywhere();
    let has = |rule: &tepui_types::rest::Rule| {
        (rule.direction, &rule.protocol, &rule.peer) == (wanted.direction, &wanted.protocol, &wanted.peer)
    };
    if group.rules.iter().any(has) {
        return Ok(group);
    }
    session.call::<AddSecurityGroupRule>(&[&group.id.to_string()], &wanted).await
}

#[cfg(test)]
mod tests {
    use tepui_types::rest::InstanceType;

    use super::*;

    fn chosen(rooms: &[(&str, u32, u64, u64)]) -> (String, &'static str) {
        let room = |(name, vcpus, memory_mib, fits): &(&str, u32, u64, u64)| TypeRoom {
            instance_type: InstanceType {
                name: (*name).into(),
                vcpus: *vcpus,
                memory_mib: *memory_mib,
                scratch_gib: None,
            },
            fits: *fits,
        };
        let rooms: Vec<TypeRoom> = rooms.iter().map(room).collect();
        let (room, origin) = usual_type(&rooms);
        (room.unwrap().instance_type.name.clone(), origin)
    }

    #[test]
    fn the_default_type_is_taken_if_it_fits_and_else_the_smallest_that_does() {
        let rooms = |micro, nano, small| {
            chosen(&[("t2.small", 1, 2048, small), ("t3.nano", 2, 512, nano), ("t3.micro", 2, 1024, micro)])
        };
        assert_eq!(rooms(1, 9, 9), ("t3.micro".into(), "the default"));
        assert_eq!(rooms(0, 9, 9), ("t3.nano".into(), "the smallest that fits"));
        assert_eq!(rooms(0, 0, 9), ("t2.small".into(), "the smallest that fits"));
        assert_eq!(rooms(0, 0, 0), ("t3.micro".into(), "the default"));
    }
}

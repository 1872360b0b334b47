//! Emits structures with their parser and writer.

use std::fmt::Write as _;

use anyhow::{Result, bail, ensure};

use crate::config::Config;
use crate::model::{Kind, Model, Reference};

/// Where a structure travels.
#[derive(Clone, Copy)]
pub(crate) struct Direction {
    /// It is the input of an action, so that the model's `required` holds.
    pub(crate) input: bool,
    /// Requests reach it.
    pub(crate) request: bool,
    /// Replies reach it.
    pub(crate) reply: bool,
}

/// One member of a structure.
struct Field<'a> {
    member: &'a str,
    name: String,
    reference: &'a Reference,
    list: bool,
    required: bool,
    element: String,
}

/// The Rust code of one structure.
pub(crate) fn structure(model: &Model, config: &Config, name: &str, direction: Direction) -> Result<String> {
    let fields = fields(model, config, name, direction)?;
    let mut code = format!("#[derive(Debug, Clone, Default, PartialEq)]\npub(crate) struct {name} {{\n");
    for field in &fields {
        writeln!(code, "pub(crate) {}: {},", field.name, field.rust_type())?;
    }
    code.push_str("}\n\n");
    if direction.request {
        parser(&mut code, name, &fields)?;
    }
    if direction.reply {
        writer(&mut code, model, name, &fields)?;
    }
    Ok(code)
}

fn fields<'a>(model: &'a Model, config: &'a Config, name: &str, to: Direction) -> Result<Vec<Field<'a>>> {
    let shape = model.shape(name)?;
    let members = config.members(name).into_iter().flatten();
    members
        .map(|member| {
            let reference = shape.reference(name, member)?;
            let list = model.shape(&reference.shape)?.kind == Kind::List;
            let element = if list { &model.element(&reference.shape)?.shape } else { &reference.shape };
            Ok(Field {
                member,
                name: snake_case(member),
                reference,
                list,
                required: to.input && shape.required.contains(member),
                element: scalar(model, element)?,
            })
        })
        .collect()
}

impl Field<'_> {
    fn rust_type(&self) -> String {
        match (self.list, self.required) {
            (true, _) => format!("Vec<{}>", self.element),
            (false, true) => self.element.clone(),
            (false, false) => format!("Option<{}>", self.element),
        }
    }

    fn take(&self) -> &'static str {
        match (self.list, self.required) {
            (true, true) => "required_list",
            (true, false) => "list",
            (false, true) => "required",
            (false, false) => "optional",
        }
    }
}

fn parser(code: &mut String, name: &str, fields: &[Field<'_>]) -> Result<()> {
    let from = if fields.is_empty() { "_" } else { "from" };
    writeln!(code, "impl Read for {name} {{")?;
    writeln!(code, "fn read({from}: &mut Params) -> Result<Option<Self>, ApiError> {{ Ok(Some(Self {{")?;
    for field in fields {
        let wire = field.reference.request_name(field.member);
        writeln!(code, "{}: from.{}({wire:?})?,", field.name, field.take())?;
    }
    code.push_str("})) }\n}\n\n");
    Ok(())
}

fn writer(code: &mut String, model: &Model, name: &str, fields: &[Field<'_>]) -> Result<()> {
    writeln!(code, "impl Write for {name} {{\nfn write(&self, to: &mut Xml) {{")?;
    for field in fields {
        let wire = field.reference.reply_name(field.member);
        let put = if field.list { "list" } else { "optional" };
        if field.list {
            let item = model.element(&field.reference.shape)?.reply_name("member");
            ensure!(item == "item", "the elements of {name}.{} are named {item}", field.member);
        }
        writeln!(code, "to.{put}({wire:?}, &self.{});", field.name)?;
    }
    code.push_str("}\n}\n\n");
    Ok(())
}

/// The Rust type of a shape that is no list.
fn scalar(model: &Model, shape: &str) -> Result<String> {
    Ok(match model.shape(shape)?.kind {
        Kind::String => "Text".into(),
        Kind::Boolean => "bool".into(),
        Kind::Integer | Kind::Long => "i64".into(),
        Kind::Timestamp => "Timestamp".into(),
        Kind::Blob => "Blob".into(),
        Kind::Structure => format!("super::{shape}"),
        Kind::List | Kind::Map | Kind::Double | Kind::Float => bail!("the kind of {shape} is not supported"),
    })
}

/// `EbsOptimized` as `ebs_optimized`; a run of capitals is one word, as in `EnableDnsAAAARecord`.
pub(crate) fn snake_case(member: &str) -> String {
    let letters: Vec<char> = member.chars().collect();
    let mut name = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let after_small = at > 0 && !letters[at - 1].is_uppercase();
        let before_small = at > 0 && letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && (after_small || before_small) {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    if matches!(name.as_str(), "return" | "type") { name + "_" } else { name }
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn member_names_become_field_names() {
        for (member, field) in [
            ("ImageId", "image_id"),
            ("Return", "return_"),
            ("EnableResourceNameDnsAAAARecord", "enable_resource_name_dns_aaaa_record"),
            ("Ipv6CidrBlockAssociationSet", "ipv6_cidr_block_association_set"),
            ("DefaultVCpus", "default_v_cpus"),
        ] {
            assert_eq!(snake_case(member), field);
        }
    }
}

//! What every action has in common: the rules that the model gives it and the way of one call.

use std::sync::Arc;

use tepui_core::{Caller, Cloud};

use crate::Ec2Config;
use crate::body::Body;
use crate::error::ApiError;
use crate::generated::{ACTIONS, Filter};
use crate::handlers::Fragments;
use crate::mechanism::PageRequest;
use crate::wire::{Content, Params, Read, Text, Write, Xml, list_index, printable};

/// A service of this endpoint, told apart by the scope of the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    /// `ec2`: ec2Query.
    Ec2,
    /// `sts`: awsQuery.
    Sts,
}

/// What the model says about an action.
pub(crate) struct Rules {
    /// Its name.
    pub(crate) action: &'static str,
    pub(crate) service: Service,
    /// It takes `DryRun`.
    pub(crate) dry_run: bool,
    /// It takes `MaxResults` and `NextToken`.
    pub(crate) paginated: bool,
    /// The parameter that carries its filters.
    pub(crate) filters: Option<&'static str>,
    /// The parameter that carries its idempotency token.
    pub(crate) token: Option<&'static str>,
    /// Lists of ids, which exclude `MaxResults`.
    pub(crate) ids: &'static [&'static str],
    /// Parameters that no handler reads, with the values that ask for what happens anyway.
    pub(crate) accepted: &'static [(&'static str, &'static [&'static str])],
    /// Every parameter of the model.
    pub(crate) parameters: &'static [&'static str],
}

impl Rules {
    fn only_reads(&self) -> bool {
        only_reads(self.action)
    }
}

/// Whether an action changes nothing: the model names all such actions alike.
fn only_reads(action: &str) -> bool {
    ["Describe", "Get", "List"].iter().any(|verb| action.starts_with(verb))
}

/// The implemented actions that change something.
pub fn changing_actions() -> impl Iterator<Item = &'static str> {
    ACTIONS.iter().copied().filter(|action| !only_reads(action))
}

/// A request of an action.
pub(crate) trait Operation: Read + Default + Send {
    type Reply: Content;
    const RULES: Rules;
}

/// An action with its handler.
pub(crate) trait Handle: Operation {
    fn handle(self, cx: &Context) -> impl Future<Output = Result<Self::Reply, ApiError>> + Send;
}

/// The reply of an action that returns nothing.
#[derive(Debug, Default)]
pub(crate) struct Void;

impl Write for Void {
    fn write(&self, to: &mut Xml) {
        to.field("return", "true");
    }
}

/// What a handler works with.
pub(crate) struct Context {
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) config: Arc<Ec2Config>,
    pub(crate) fragments: Arc<Fragments>,
    pub(crate) caller: Caller,
    pub(crate) filters: Vec<Filter>,
    pub(crate) page: PageRequest,
    /// The idempotency token, where the action takes one.
    pub(crate) token: Option<Text>,
}

/// The parameters of a call.
pub(crate) struct Parameters {
    /// All but the action and the version.
    pub(crate) params: Params,
    /// The API version the client asked for, echoed in the reply's namespace.
    pub(crate) version: String,
}

/// One call on its way to its handler.
pub(crate) struct Call {
    /// Or why there are none: that the call is refused for it is told in its record, as any refusal is.
    pub(crate) parameters: Result<Parameters, ApiError>,
    pub(crate) context: Context,
}

impl Call {
    /// Reads the request, applies the model's rules, runs the handler and writes the reply.
    pub(crate) async fn run<O: Handle>(mut self) -> Result<Body, ApiError> {
        let rehearsal = self.rehearsal(&O::RULES);
        self.context.caller.dry_run = matches!(rehearsal, Ok(true));
        let (cloud, caller) = (Arc::clone(&self.context.cloud), self.context.caller.clone());
        let answer = async move {
            rehearsal?;
            self.answer::<O>().await
        };
        if O::RULES.only_reads() {
            answer.await
        } else {
            cloud.audited(&caller, O::RULES.action, answer).await
        }
    }

    /// Whether the call only rehearses. It is read before all else: a rehearsal has no record.
    fn rehearsal(&mut self, rules: &Rules) -> Result<bool, ApiError> {
        match &mut self.parameters {
            Ok(parameters) if rules.dry_run => Ok(parameters.params.optional("DryRun")?.unwrap_or(false)),
            Ok(_) | Err(_) => Ok(false),
        }
    }

    async fn answer<O: Handle>(self) -> Result<Body, ApiError> {
        let (rules, mut cx) = (O::RULES, self.context);
        let Parameters { mut params, version } = self.parameters?;
        cx.apply(&rules, &mut params)?;
        let request = O::read(&mut params)?.unwrap_or_default();
        refuse_rest(&mut params, &rules)?;
        let reply = request.handle(&cx).await?;
        if cx.caller.dry_run {
            // A verb that writes has rehearsed and said so; one that only reads comes here.
            return Err(ApiError::dry_run());
        }
        Ok(document(&rules, &version, &cx.caller.request_id, reply))
    }
}

impl Context {
    fn apply(&mut self, rules: &Rules, params: &mut Params) -> Result<(), ApiError> {
        if rules.paginated {
            self.page = PageRequest::read(params, rules)?;
        }
        if let Some(name) = rules.filters {
            self.filters = params.list(name)?;
        }
        if let Some(name) = rules.token {
            self.token = params.optional(name)?;
        }
        Ok(())
    }
}

/// Refuses what no parser took, unless its value asks for what happens anyway.
fn refuse_rest(params: &mut Params, rules: &Rules) -> Result<(), ApiError> {
    params.drop_if(&|name, value| {
        let name = pattern(name);
        rules
            .accepted
            .iter()
            .any(|(known, values)| *known == name && (values.contains(&"*") || values.contains(&value)))
    });
    let Some((name, value)) = params.rest() else { return Ok(()) };
    let top = name.split('.').next().unwrap_or_default();
    let (name, value) = (printable(name), printable(value));
    if rules.parameters.contains(&top) {
        let message =
            format!("The parameter {name} with the value '{value}' is not supported by this cloud.");
        return Err(ApiError::unsupported(message));
    }
    Err(ApiError::new("UnknownParameter", format!("The parameter {name} is not recognized")))
}

/// A parameter's name with `N` for each index.
fn pattern(name: &str) -> String {
    let parts: Vec<&str> =
        name.split('.').map(|part| if list_index(part).is_some() { "N" } else { part }).collect();
    parts.join(".")
}

fn document(rules: &Rules, version: &str, request_id: &str, reply: impl Content) -> Body {
    let mut xml = Xml::document();
    let root = format!("{}Response", rules.action);
    let mut content = 0;
    match rules.service {
        Service::Ec2 => {
            // The trailing slash matters: libcloud searches by this very namespace.
            let namespace = format!("http://ec2.amazonaws.com/doc/{version}/");
            xml.root(&root, &namespace, |to| {
                to.field("requestId", request_id);
                content = to.len();
            });
        }
        Service::Sts => {
            let namespace = format!("https://sts.amazonaws.com/doc/{version}/");
            xml.root(&root, &namespace, |to| {
                to.element(&format!("{}Result", rules.action), |to| content = to.len());
                to.element("ResponseMetadata", |to| to.field("RequestId", request_id));
            });
        }
    }
    let end = xml.split_off(content);
    Body::written(xml, reply, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::{DescribeInstancesRequest, RunInstancesRequest};

    fn refusal<O: Operation>(pairs: &[(&str, &str)]) -> Option<ApiError> {
        let pairs = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        let mut params = Params::new(pairs).unwrap();
        O::read(&mut params).and_then(|_| refuse_rest(&mut params, &O::RULES)).err()
    }

    const RUN: [(&str, &str); 2] = [("MinCount", "1"), ("MaxCount", "1")];

    fn run_with(name: &str, value: &str) -> Option<ApiError> {
        refusal::<RunInstancesRequest>(&[RUN[0], RUN[1], (name, value)])
    }

    #[test]
    fn a_parameter_nobody_acts_on_is_refused_by_its_name() {
        let error = run_with("BlockDeviceMapping.2.Ebs.KmsKeyId", "key").unwrap();
        assert_eq!(error.code, "UnsupportedOperation");
        assert!(error.message.contains("BlockDeviceMapping.2.Ebs.KmsKeyId"), "{}", error.message);
        assert_eq!(run_with("Colour", "red").unwrap().code, "UnknownParameter");
        assert_eq!(run_with("EbsOptimized", "true").unwrap().code, "UnsupportedOperation");
    }

    #[test]
    fn a_value_that_asks_for_what_happens_anyway_is_let_through() {
        assert_eq!(run_with("NetworkInterface.2.InterfaceType", "interface"), None);
        assert_eq!(run_with("EbsOptimized", "false"), None);
        assert_eq!(run_with("AdditionalInfo", "anything"), None);
    }

    #[test]
    fn the_rules_come_from_the_model() {
        let rules = DescribeInstancesRequest::RULES;
        assert!(rules.dry_run && rules.paginated);
        assert_eq!((rules.filters, rules.token, rules.ids), (Some("Filter"), None, &["InstanceId"][..]));
        assert_eq!(RunInstancesRequest::RULES.token, Some("ClientToken"));
    }
}

//! Certificates for agents.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use tepui_types::NodeId;
use tepui_types::agent::{EnrolReply, EnrolRequest, RenewReply, RenewRequest};

use super::state::{answered, decoded, parsed};
use crate::app::App;
use crate::body;
use crate::failure::Failure;
use crate::pki::{NodeCertificate, PkiError, check_request};
use crate::rest::request_id;

/// Anybody may send one, and a signing request has less than 2 KiB.
const ENROL_BYTES: usize = 16 << 10;

/// The signing request is checked before the token is used up.
pub(super) async fn enrol(State(app): State<Arc<App>>, request: Request) -> Response {
    let id = request_id(&request);
    let work = async {
        let request: EnrolRequest = parsed(&body::read_up_to(request.into_body(), ENROL_BYTES).await?)?;
        check_request(&request.csr_pem).map_err(refused)?;
        let asked = id.to_string();
        let enrolled = Arc::clone(&app).changes.spawn(async move {
            let node_id = app.cloud.enrol(&request, &asked).await?;
            let certificate_pem = certify(&app, node_id, &request.csr_pem).await?;
            tracing::info!(node = %node_id, name = request.name, "host enrolled");
            Ok(EnrolReply { node_id, certificate_pem })
        });
        enrolled.await.map_err(|error| Failure::internal("enrolment", &error))?
    };
    answered(work.await, &id)
}

pub(super) async fn renew(
    State(app): State<Arc<App>>,
    Extension(node): Extension<NodeId>,
    request: Request,
) -> Response {
    let id = request_id(&request);
    let work = async {
        let request: RenewRequest = decoded(request).await?;
        let certificate_pem = certify(&app, node, &request.csr_pem).await?;
        Ok(RenewReply { certificate_pem })
    };
    answered(work.await, &id)
}

async fn certify(app: &App, node: NodeId, csr_pem: &str) -> Result<String, Failure> {
    let NodeCertificate { pem, sha256 } = app
        .authority
        .certify_node(csr_pem, node, app.clock.as_ref(), app.entropy.as_ref())
        .map_err(refused)?;
    app.cloud.bind_certificate(node, &sha256).await?;
    Ok(pem)
}

fn refused(error: PkiError) -> Failure {
    match error {
        PkiError::BadRequest(reason) => Failure::invalid("csr_pem", "…", format!("is refused: {reason}")),
        other => Failure::internal("certificate", &other),
    }
}

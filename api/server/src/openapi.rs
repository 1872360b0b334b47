//! The OpenAPI 3.1 document, from the registry of endpoints.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use tepui_types::ErrorBody;
use tepui_types::endpoint::{ALL, Carrier, DRY_RUN_HEADER, EndpointInfo, Media, Method, path_parameters};

/// The whole document. The same for the same build.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for endpoint in ALL {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.as_str().to_lowercase()] = operation(endpoint, &mut generator);
    }
    let error = generator.subschema_for::<ErrorBody>();
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tepui",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "parameters": { "DryRun": dry_run() },
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "responses": {
                "Error": { "description": "Refused or failed.", "content": content(Media::Json, error.into()) },
                "Rehearsed": { "description": "It would have been done; nothing was." },
            },
        },
    });
    document["components"]["schemas"] = generator.take_definitions(true).into();
    document
}

fn operation(endpoint: &EndpointInfo, generator: &mut SchemaGenerator) -> Value {
    let request: Value = (endpoint.request_schema)(generator).into();
    let reply: Value = (endpoint.reply_schema)(generator).into();
    let mut operation = json!({
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": path_parameters(endpoint.path).map(path_parameter).collect::<Vec<_>>(),
        "responses": {
            "200": { "description": "Done.", "content": content(endpoint.media, reply) },
            "default": { "$ref": "#/components/responses/Error" },
        },
    });
    if endpoint.method != Method::Get {
        add_dry_run(&mut operation);
    }
    match endpoint.carrier {
        Carrier::Json => {
            operation["requestBody"] = json!({ "required": true, "content": content(Media::Json, request) })
        }
        Carrier::Query => add_query(&mut operation, request),
        Carrier::RawBody => {
            add_query(&mut operation, request);
            let bytes = json!({ "application/octet-stream": {} });
            operation["requestBody"] = json!({ "required": true, "content": bytes });
        }
    }
    operation
}

fn content(media: Media, schema: Value) -> Value {
    json!({ media.name(): { "schema": schema } })
}

fn path_parameter(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
}

fn dry_run() -> Value {
    let description = "Only rehearse: authorize, check and write as always, undo it, and answer with 204.";
    json!({ "name": DRY_RUN_HEADER, "in": "header", "description": description, "schema": { "type": "boolean" } })
}

/// Every change can be rehearsed.
fn add_dry_run(operation: &mut Value) {
    operation["responses"]["204"] = json!({ "$ref": "#/components/responses/Rehearsed" });
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        parameters.push(json!({ "$ref": "#/components/parameters/DryRun" }));
    }
}

/// A query whose parameters are the fields of the request.
fn add_query(operation: &mut Value, request: Value) {
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        parameters.push(
            json!({ "name": "query", "in": "query", "style": "form", "explode": true, "schema": request }),
        );
    }
}

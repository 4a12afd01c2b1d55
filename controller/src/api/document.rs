//! The document that describes the interface (OpenAPI), made from the handlers and completed with what holds at every door.

use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{OpenApi, RefOr, Required, Schema, schema};
use utoipa::{Modify, OpenApi as _};
use utoipa_axum::router::OpenApiRouter;

use super::Doors;
use super::gate::KEY;
use crate::app::KEY_CHARS_MAX;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Writ controller",
        description = "Operators' interface. Every POST and DELETE needs an Idempotency-Key header; errors are problem documents (RFC 9457) with a stable code.",
    ),
    modifiers(&Bearer)
)]
struct Base;

/// Every door wants a bearer token.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "An API token, as `writ-controller token create` makes the first.",
            ))
            .build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(scheme));
        document.security = Some(vec![SecurityRequirement::new("bearer", Vec::<String>::new())]);
    }
}

/// Where handlers are added.
pub(super) fn router() -> OpenApiRouter<Doors> {
    OpenApiRouter::with_openapi(Base::openapi())
}

/// The document as JSON.
///
/// # Errors
/// When it cannot be written.
pub fn text() -> Result<String, serde_json::Error> {
    let (_, mut document) = super::operations().split_for_parts();
    for item in document.paths.paths.values_mut() {
        for changing in [&mut item.post, &mut item.delete].into_iter().flatten() {
            add_key(changing);
        }
    }
    // Their callers send no key.
    let (_, beside) = super::beside().split_for_parts();
    document.merge(beside);
    document.to_pretty_json().map(|text| text + "\n")
}

fn add_key(operation: &mut Operation) {
    let text = schema::ObjectBuilder::new()
        .schema_type(schema::Type::String)
        .min_length(Some(1))
        .max_length(Some(KEY_CHARS_MAX))
        .pattern(Some("^[!-~]+$"))
        .build();
    let key: Parameter = ParameterBuilder::new()
        .name(KEY)
        .parameter_in(ParameterIn::Header)
        .required(Required::True)
        .description(Some(
            "Fresh for each new request; the same key with the same request gives the first answer again.",
        ))
        .schema(Some(Schema::Object(text)))
        .build();
    operation.parameters.get_or_insert_default().push(RefOr::T(key));
}

#[cfg(test)]
mod tests {
    /// After a deliberate change: `WRIT_UPDATE=1 cargo nextest run -p writ-controller openapi`.
    #[test]
    fn the_openapi_document_is_the_one_that_was_reviewed() {
        let now = super::text().expect("written");
        let place = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        if writ_chassis::config::env_text("WRIT_UPDATE").is_some() {
            std::fs::write(place, &now).expect("kept");
        }
        let kept = std::fs::read_to_string(place).expect("docs/openapi.json");
        assert!(
            kept == now,
            "the interface changed: look at the difference, then update docs/openapi.json"
        );
    }
}

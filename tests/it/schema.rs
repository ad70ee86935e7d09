//! The schema, as a file: a change that users would notice is seen in review.

use std::path::Path;

use ocir::framework::{Attribute, Block, Kind, Schema};
use serde_json::{Value as Json, json};

use crate::support::provider::{expect_file, server};

/// The provider's schema is the golden one; `make docs` rewrites it.
#[test]
fn schema_is_golden() -> anyhow::Result<()> {
    let server = server();
    let all = |schemas: Vec<(&'static str, &Schema)>| -> Json {
        schemas
            .into_iter()
            .map(|(name, schema)| (name.to_owned(), whole(schema)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let mut golden = json!({
        "provider": whole(server.provider_schema()),
        "resources": all(server.resource_schemas()),
        "data_sources": all(server.data_source_schemas()),
    });
    for (name, schemas) in [
        ("ephemeral_resources", server.ephemeral_schemas()),
        ("identities", server.identity_schemas()),
    ] {
        if !schemas.is_empty() {
            golden[name] = all(schemas);
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/schema.json");
    expect_file(&path, &format!("{golden:#}\n"))
}

fn whole(schema: &Schema) -> Json {
    json!({ "version": schema.version, "block": block(&schema.block) })
}

fn block(block_: &Block) -> Json {
    let blocks = block_.blocks.iter().map(|nested| {
        let nesting = format!("{:?}", nested.nesting);
        (
            nested.name.clone(),
            json!({ "nesting": nesting, "block": block(&nested.block) }),
        )
    });
    json!({
        "attributes": attributes(&block_.attributes),
        "blocks": blocks.collect::<serde_json::Map<_, _>>(),
    })
}

/// What decides how an attribute behaves; its description is in `docs/`.
fn attributes(all: &[Attribute]) -> Json {
    let each = all.iter().map(|attribute| {
        let kind = match &attribute.kind {
            Kind::Plain(ty) => ty.to_json(),
            Kind::Nested(nesting, inner) => json!({ format!("{nesting:?}"): attributes(inner) }),
        };
        let flags = [
            (attribute.sensitive, "sensitive"),
            (attribute.write_only, "write-only"),
            (attribute.replace, "requires replacement"),
            (attribute.keep, "kept"),
            (attribute.default.is_some(), "default"),
            (attribute.deprecated.is_some(), "deprecated"),
        ];
        let flags: Vec<&str> = flags
            .iter()
            .filter(|(set, _)| *set)
            .map(|(_, name)| *name)
            .collect();
        let mode = format!("{:?}", attribute.mode);
        (
            attribute.name.clone(),
            json!({ "type": kind, "mode": mode, "flags": flags }),
        )
    });
    each.collect::<serde_json::Map<_, _>>().into()
}

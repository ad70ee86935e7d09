//! The tables of the provider test themselves.

use ocir::{
    cty::Type,
    framework::{Attribute, Block, Kind},
};

use crate::support::provider as support;

/// Type names are unique and carry our prefix, but for the two that were asked
/// for. An ephemeral resource may share the name of another kind of thing.
#[test]
fn names_are_ours() {
    let server = support::server();
    for (name, _) in server.ephemeral_schemas() {
        assert!(
            name.starts_with("ocir_"),
            "{name} has another provider's prefix"
        );
    }
    let mut names: Vec<&str> = server
        .resource_schemas()
        .into_iter()
        .chain(server.data_source_schemas())
        .map(|(name, _)| name)
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a name is served twice");
    for name in names {
        assert!(
            name.starts_with("ocir_") || ["oci_auth_token", "tenancy_namespace"].contains(&name),
            "{name} has another provider's prefix"
        );
    }
}

/// Every attribute and every block is described by sentences.
#[test]
fn everything_is_described() {
    let server = support::server();
    let mut blocks = vec![("provider".to_owned(), &server.provider_schema().block)];
    for (name, schema) in server
        .resource_schemas()
        .into_iter()
        .chain(server.data_source_schemas())
        .chain(server.ephemeral_schemas())
    {
        blocks.push((name.to_owned(), &schema.block));
    }
    for (name, schema) in server.identity_schemas() {
        // Hosts show the attributes of an identity, and not the whole.
        for attribute in &schema.block.attributes {
            check_attribute(&format!("{name}.identity.{}", attribute.name), attribute);
        }
    }
    for (name, block) in blocks {
        check_block(&name, block);
    }
}

/// What has an identity has it under each of its names, made of attributes that
/// its state has, so that a person finds there what an import asks for.
#[test]
fn identities_are_of_states() {
    let server = support::server();
    for (name, identity) in server.identity_schemas() {
        let schema = server.resource_schema(name);
        let known = schema.map(|schema| schema.block.ty());
        let Some(Type::Object(known)) = known else {
            panic!("{name} has an identity and no schema");
        };
        for attribute in &identity.block.attributes {
            assert_eq!(
                known.get(&attribute.name),
                Some(&attribute.ty()),
                "{name}: {} is no attribute of the resource",
                attribute.name
            );
        }
    }
    let has_one = |name| server.identity_schema(name).is_some();
    assert_eq!(has_one("ocir_auth_token"), has_one("oci_auth_token"));
}

fn check_block(path: &str, block: &Block) {
    check_sentence(path, &block.description);
    for attribute in &block.attributes {
        check_attribute(&format!("{path}.{}", attribute.name), attribute);
    }
    for inner in &block.blocks {
        check_block(&format!("{path}.{}", inner.name), &inner.block);
    }
}

fn check_attribute(path: &str, attribute: &Attribute) {
    check_sentence(path, &attribute.description);
    let name = attribute.name.as_str();
    let is_secret = [
        "password",
        "private_key",
        "private_key_password",
        "token",
        "token_exchange_client_secret",
        "docker_config_json",
    ]
    .contains(&name);
    assert_eq!(
        attribute.sensitive, is_secret,
        "{path}: sensitive, or not, by mistake"
    );
    if let Kind::Nested(_, attributes) = &attribute.kind {
        for attribute in attributes {
            check_attribute(&format!("{path}.{}", attribute.name), attribute);
        }
    }
}

fn check_sentence(path: &str, text: &str) {
    let starts = text
        .chars()
        .next()
        .is_some_and(|first| first.is_uppercase() || first == '`');
    let ends = text.ends_with('.') || text.ends_with("`.") || text.ends_with(": `sha256:…`.");
    assert!(
        starts && ends,
        "{path} is not described by a sentence: {text:?}"
    );
}

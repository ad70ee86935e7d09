//! What each version of a CLI adds is used where it is there, and absent without an
//! error where it is not. `make test-versions` runs these by every version we promise.

use serde_json::{Value as Json, json};

use super::find;
use crate::support::{self, Feature, cli::Workspace, provider::Cloud};

const PREAMBLE: &str = r#"
terraform {
  required_providers {
    ocir = { source = "motando/ocir" }
  }
}
variable "compartment_id" {}
variable "user_id" {}
"#;

const OBJECTS: &str = r#"
resource "ocir_repository" "it" {
  compartment_id = var.compartment_id
  display_name   = "team/web"
}
resource "ocir_auth_token" "it" {
  description = "Pipeline"
}
resource "oci_auth_token" "other" {
  provider    = ocir
  description = "Docker"
}
"#;

async fn workspace(cloud: &Cloud, configuration: &str) -> anyhow::Result<Option<Workspace>> {
    let Some(mut workspace) = Workspace::new(&format!("{PREAMBLE}{configuration}"))? else {
        return Ok(None);
    };
    workspace.sign_in(&cloud.emulator)?;
    workspace.init().await?;
    Ok(Some(workspace))
}

fn names(schemas: &Json) -> Vec<&str> {
    let members = schemas.as_object().into_iter().flatten();
    members.map(|(name, _)| name.as_str()).collect()
}

/// Every CLI knows every type that it can know, under both names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_is_known() -> anyhow::Result<()> {
    let Some(workspace) = Workspace::new(PREAMBLE)? else {
        return Ok(());
    };
    workspace.init().await?;
    let mut command = workspace.command(&["providers", "schema", "-json"]);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let all: Json = serde_json::from_slice(&output.stdout)?;
    let providers = all["provider_schemas"].as_object();
    let ours = providers.and_then(|providers| providers.values().next());
    let ours = ours.expect("a schema of the only provider");
    assert_eq!(
        names(&ours["resource_schemas"]),
        [
            "oci_auth_token",
            "ocir_auth_token",
            "ocir_image_push",
            "ocir_repository"
        ]
    );
    assert_eq!(
        names(&ours["data_source_schemas"]),
        ["ocir_tenancy_namespace", "tenancy_namespace"]
    );
    let ephemeral = match support::knows(Feature::EphemeralResources)? {
        true => vec!["ocir_registry_login"],
        false => vec![],
    };
    assert_eq!(names(&ours["ephemeral_resource_schemas"]), ephemeral);
    let identities = match support::knows(Feature::Identity)? {
        true => vec!["oci_auth_token", "ocir_auth_token", "ocir_repository"],
        false => vec![],
    };
    assert_eq!(names(&ours["resource_identity_schemas"]), identities);
    Ok(())
}

/// What was made by one configuration is imported by the next: by identity where the
/// CLI knows that, and by an id in all of them. A plan after it is empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn import_by_what_the_cli_knows() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let Some(workspace) = workspace(&cloud, OBJECTS).await? else {
        return Ok(());
    };
    let apply = ["apply", "-input=false", "-auto-approve"];
    workspace.run(&apply).await?.succeeded();
    let knows = support::knows(Feature::Identity)?;

    let state = workspace.state()?;
    let mut ways = vec![false];
    ways.extend(knows.then_some(true));
    for by_identity in ways {
        let mut imports = String::new();
        for (address, kind) in [
            ("ocir_repository.it", "ocir_repository"),
            ("ocir_auth_token.it", "ocir_auth_token"),
            ("oci_auth_token.other", "oci_auth_token"),
        ] {
            let object = find(&state, kind);
            let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
            let (id, identity) = match kind {
                "ocir_repository" => (text("id"), format!("id = \"{}\"", text("id"))),
                _ => (
                    format!("users/{}/authTokens/{}", text("user_id"), text("id")),
                    format!(
                        "user_id = \"{}\"\n id = \"{}\"",
                        text("user_id"),
                        text("id")
                    ),
                ),
            };
            let by = match by_identity {
                true => format!("identity = {{\n{identity}\n}}"),
                false => format!("id = \"{id}\""),
            };
            let provider = match kind {
                "oci_auth_token" => "provider = ocir\n",
                _ => "",
            };
            imports.push_str(&format!(
                "import {{\n  to = {address}\n  {provider}{by}\n}}\n"
            ));
        }
        for file in ["terraform.tfstate", "terraform.tfstate.backup"] {
            let _ = std::fs::remove_file(workspace.path().join(file));
        }
        workspace.write("import.tf", &imports)?;
        let applied = workspace.run(&apply).await?.succeeded();
        let expected = "3 imported, 0 added, 0 changed, 0 destroyed";
        assert!(applied.contains(expected), "{applied}");
        workspace
            .run(&["plan", "-input=false", "-detailed-exitcode"])
            .await?
            .ended_with(0);
        assert_eq!(cloud.emulator.auth_tokens().len(), 2);
        assert_eq!(cloud.emulator.repositories().len(), 1);
    }

    let identity = identity(&workspace.state()?, "ocir_repository");
    let id = find(&state, "ocir_repository")["id"].clone();
    match knows {
        true => assert_eq!(identity, json!({ "id": id })),
        false => assert_eq!(identity, Json::Null),
    }
    Ok(())
}

/// A state of an older CLI, which has no identities, is taken as it is, with nothing to
/// do; and an older CLI takes a state that has them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn states_go_from_one_version_to_another() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let Some(workspace) = workspace(&cloud, OBJECTS).await? else {
        return Ok(());
    };
    let apply = ["apply", "-input=false", "-auto-approve"];
    workspace.run(&apply).await?.succeeded();
    let mut state = workspace.state()?;
    let knows = support::knows(Feature::Identity)?;
    for resource in state["resources"].as_array_mut().into_iter().flatten() {
        let (id, user_id) = {
            let attributes = &resource["instances"][0]["attributes"];
            (attributes["id"].clone(), attributes["user_id"].clone())
        };
        let instance = &mut resource["instances"][0];
        match knows {
            true => {
                let members = instance.as_object_mut().expect("an object");
                assert!(members.remove("identity").is_some());
                members.remove("identity_schema_version");
            }
            false => {
                instance["identity_schema_version"] = json!(0);
                instance["identity"] = match user_id {
                    Json::Null => json!({ "id": id }),
                    user_id => json!({ "id": id, "user_id": user_id }),
                };
            }
        }
    }
    // As old, so that no CLI refuses it for being newer than itself.
    state["terraform_version"] = json!("1.9.0");
    workspace.write("terraform.tfstate", &state.to_string())?;
    workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(0);
    workspace
        .run(&["apply", "-refresh-only", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    let identity = identity(&workspace.state()?, "oci_auth_token");
    assert_eq!(identity.is_null(), !knows, "{identity}");
    workspace
        .run(&["destroy", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    assert!(cloud.emulator.auth_tokens().is_empty());
    Ok(())
}

/// `terraform query` finds nothing of ours, and says so instead of failing otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_is_refused_in_words() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let Some(workspace) = workspace(&cloud, "").await? else {
        return Ok(());
    };
    if !support::knows(Feature::Query)? {
        return Ok(());
    }
    workspace.write(
        "all.tfquery.hcl",
        "list \"ocir_repository\" \"all\" {\n  provider = ocir\n}\n",
    )?;
    let errors = workspace.run(&["query"]).await?.errors();
    assert!(errors.contains("ocir_repository"), "{errors}");
    assert!(!errors.contains("panic"), "{errors}");
    Ok(())
}

fn identity(state: &Json, kind: &str) -> Json {
    let mut resources = state["resources"].as_array().into_iter().flatten();
    let found = resources.rfind(|resource| resource["type"] == kind);
    found.map_or(Json::Null, |resource| {
        resource["instances"][0]["identity"].clone()
    })
}

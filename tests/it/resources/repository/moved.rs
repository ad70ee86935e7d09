//! From `oci_artifacts_container_repository`: the state of Oracle's provider.

use std::collections::BTreeSet;

use expect_test::expect;
use ocir::emulator::Emulator;
use serde_json::{Value as Json, json};

use super::with;
use crate::support::{core::Action, provider::Cloud};

const THEIRS: &str = "oci_artifacts_container_repository";

/// A state as Oracle's provider writes it, about a repository that exists.
fn state_of(cloud: &Cloud) -> anyhow::Result<Json> {
    let text = include_str!("../../../fixtures/oracle-provider/container_repository.json");
    let id = cloud.repository("team/web")["id"].clone();
    let text = text
        .replace("\"ID\"", &id.to_string())
        .replace("COMPARTMENT", &cloud.compartment())
        .replace("NAMESPACE", &cloud.emulator.seed().namespace);
    Ok(serde_json::from_str(&text)?)
}

fn config(cloud: &Cloud) -> Json {
    with(
        cloud.web(),
        json!({
            "readme": { "content": "# Web\n" },
            "freeform_tags": { "team": "web" },
            "defined_tags": { "Ops.Owner": "ana" },
        }),
    )
}

/// A repository as Oracle's provider left it, with the tags that Oracle adds.
async fn made() -> anyhow::Result<Cloud> {
    let cloud = Cloud::with(Emulator::builder().oracle_tags().start().await?).await?;
    let mut theirs = cloud.host.resource("ocir_repository");
    theirs.apply(config(&cloud)).await?;
    cloud.emulator.clear_requests();
    Ok(cloud)
}

/// Wherever the provider was installed from, the state is taken over and the plan is
/// empty. The move itself asks nobody.
#[tokio::test]
async fn from_oracles_provider() -> anyhow::Result<()> {
    let cloud = made().await?;
    let theirs = state_of(&cloud)?;
    let mut texts = BTreeSet::new();
    for provider in [
        "registry.terraform.io/oracle/oci",
        "registry.terraform.io/hashicorp/oci",
        "registry.opentofu.org/oracle/oci",
        "registry.opentofu.org/hashicorp/oci",
    ] {
        cloud.emulator.clear_requests();
        let mut moved = cloud.host.resource("ocir_repository");
        let state = moved.move_from(provider, THEIRS, 0, &theirs).await?;
        assert_eq!(cloud.operations(), [].into());
        texts.insert(cloud.neutral(&format!("{state:#}")));
        assert_eq!(moved.identity(), json!({ "id": state["id"] }));
        moved.expect_noop(config(&cloud)).await?;
        let read = moved.refresh().await?;
        let url = format!(
            "{}/{}/team/web",
            cloud.emulator.authority(),
            cloud.emulator.seed().namespace
        );
        assert_eq!(read["repository_url"], json!(url));
    }
    let text: String = texts.into_iter().collect();
    expect![[r##"
        {
          "adopt_existing": false,
          "compartment_id": "COMPARTMENT",
          "created_by": "ocid1.user.OCID",
          "defined_tags": {
            "Ops.Owner": "ana"
          },
          "display_name": "team/web",
          "force_delete": false,
          "freeform_tags": {
            "team": "web"
          },
          "id": "ocid1.containerrepo.OCID",
          "is_immutable": false,
          "is_public": false,
          "namespace": "NAMESPACE",
          "readme": {
            "content": "# Web\n",
            "format": "TEXT_MARKDOWN"
          },
          "repository_url": null,
          "state": "AVAILABLE",
          "time_created": "2026-01-02T03:04:05.678Z",
          "timeouts": null
        }"##]]
    .assert_eq(&text);
    Ok(())
}

/// A repository without a readme and without tags, of an older release that left
/// members out, with numbers as numbers and a list of no readme.
#[tokio::test]
async fn from_a_bare_state() -> anyhow::Result<()> {
    let cloud = Cloud::with(Emulator::builder().oracle_tags().start().await?).await?;
    let mut theirs = cloud.host.resource("ocir_repository");
    let made = theirs.apply(cloud.web()).await?;
    for more in [
        json!({ "readme": [], "freeform_tags": {}, "defined_tags": { "Oracle-Tags.CreatedBy": "ana" } }),
        json!({ "readme": null, "freeform_tags": null, "billable_size_in_gbs": 0, "image_count": "0" }),
        json!({ "readme": [{ "content": "", "format": "TEXT_PLAIN" }], "is_public": null }),
    ] {
        let state = with(
            json!({
                "id": made["id"],
                "compartment_id": cloud.compartment(),
                "display_name": "team/web",
            }),
            more,
        );
        let mut moved = cloud.host.resource("ocir_repository");
        moved
            .move_from("registry.terraform.io/oracle/oci", THEIRS, 0, &state)
            .await?;
        moved.expect_noop(cloud.web()).await?;
    }
    Ok(())
}

/// What somebody changed since shows as drift after the move, and time limits come
/// along. Arguments of our own make an update that sends nothing.
#[tokio::test]
async fn after_the_move() -> anyhow::Result<()> {
    let cloud = made().await?;
    let limits = json!({ "timeouts": { "create": "5m", "update": null, "delete": "1h" } });
    let theirs = with(state_of(&cloud)?, limits.clone());
    let mut moved = cloud.host.resource("ocir_repository");
    moved
        .move_from("registry.terraform.io/oracle/oci", THEIRS, 0, &theirs)
        .await?;
    let limited = with(config(&cloud), limits);
    moved.expect_noop(limited.clone()).await?;

    let forced = with(limited.clone(), json!({ "force_delete": true }));
    let plan = moved.plan(forced.clone()).await?;
    assert_eq!(plan.action, Action::Update);
    cloud.emulator.clear_requests();
    moved.apply_planned(&plan).await?;
    assert_eq!(cloud.operations(), [].into());

    cloud
        .emulator
        .edit_repository("team/web", json!({ "isPublic": true }));
    let plan = moved.plan(forced.clone()).await?;
    assert_eq!(plan.before["is_public"], json!(true));
    moved.apply(forced).await?;
    let tags = cloud.repository("team/web")["definedTags"].clone();
    assert!(tags["Oracle-Tags"]["CreatedBy"].is_string());
    Ok(())
}

/// Other types and other providers are refused, and so is a state without an OCID.
#[tokio::test]
async fn what_cannot_be_moved() -> anyhow::Result<()> {
    let cloud = made().await?;
    let mut moved = cloud.host.resource("ocir_repository");
    let mut texts = Vec::new();
    for (provider, kind, state) in [
        (
            "registry.terraform.io/oracle/oci",
            "oci_core_vcn",
            state_of(&cloud)?,
        ),
        ("registry.terraform.io/acme/oci", THEIRS, state_of(&cloud)?),
        (
            "registry.terraform.io/oracle/oci",
            THEIRS,
            json!({ "id": "" }),
        ),
    ] {
        let problems = moved
            .move_from(provider, kind, 0, &state)
            .await
            .unwrap_err();
        texts.push(problems.to_string());
    }
    expect![[r#"
        Error: Cannot move state

        An object of type oci_core_vcn of provider registry.terraform.io/oracle/oci cannot become one of type ocir_repository. Remove it from the state with a "removed" block, and import the object under the new name.

        Error: Cannot move state

        An object of type oci_artifacts_container_repository of provider registry.terraform.io/acme/oci cannot become one of type ocir_repository. Remove it from the state with a "removed" block, and import the object under the new name.

        Error: Cannot move state

        The state of this oci_artifacts_container_repository (version 0 of its schema) has no "id" that is an OCID, so the repository cannot be recognised. Remove it from the state with a "removed" block, and import the repository under its new name."#]].assert_eq(&texts.join("\n\n"));
    assert!(moved.state().is_null());
    Ok(())
}

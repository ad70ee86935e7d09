//! Importing by the place, and by identity.

use expect_test::expect;
use ocir::emulator::Fault;
use serde_json::json;

use super::with;
use crate::support::provider::Cloud;

/// `COMPARTMENT_OCID/NAME`, with a name that has slashes itself, finds what the OCID
/// finds; the identity does too.
#[tokio::test]
async fn by_place_and_by_identity() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let config = with(cloud.web(), json!({ "display_name": "team/web/api" }));
    let mut made = cloud.host.resource("ocir_repository");
    let state = made.apply(config.clone()).await?;
    assert_eq!(made.identity(), json!({ "id": state["id"] }));

    let mut imported = cloud.host.resource("ocir_repository");
    let place = format!(" {}/team/web/api\n", cloud.compartment());
    assert_eq!(imported.import(&place).await?, state);
    imported.expect_noop(config.clone()).await?;
    assert_eq!(imported.identity(), made.identity());

    let mut identified = cloud.host.resource("ocir_repository");
    let read = identified.import_by_identity(made.identity()).await?;
    assert_eq!(read, state);
    identified.expect_noop(config).await?;
    Ok(())
}

/// The repository is in another compartment, in none, or the compartment cannot be
/// listed: each has its own words.
#[tokio::test]
async fn it_is_not_there() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let ops = cloud.emulator.seed().ops_compartment_id.clone();
    let mut made = cloud.host.resource("ocir_repository");
    made.apply(cloud.web()).await?;

    let mut imported = cloud.host.resource("ocir_repository");
    let place = format!("{ops}/team/web");
    let problems = imported.import(&place).await.unwrap_err();
    let elsewhere = cloud.neutral(&problems.to_string().replace(&ops, "OPS"));
    expect![[r#"
        Error: Cannot import container repository

        Compartment OPS has no repository "team/web" in this region (sa-saopaulo-1). A repository of this name is in compartment COMPARTMENT: import
            COMPARTMENT/team/web"#]].assert_eq(&elsewhere);

    let place = format!("{ops}/team/ghost");
    let problems = imported.import(&place).await.unwrap_err();
    let nowhere = cloud.neutral(&problems.to_string().replace(&ops, "OPS"));
    expect![[r#"
        Error: Cannot import container repository

        Compartment OPS has no repository "team/ghost" in this region (sa-saopaulo-1). Names are compared as they are, without the namespace."#]].assert_eq(&nowhere);

    cloud
        .emulator
        .fail_next("ListContainerRepositories", super::refusal());
    let problems = imported.import(&place).await.unwrap_err();
    let hidden = cloud.neutral(&problems.to_string().replace(&ops, "OPS"));
    expect![[r#"
        Error: Cannot import container repository

        The repositories of compartment OPS could not be listed. ListContainerRepositories of service artifacts at HOST was answered 404 NotAuthorizedOrNotFound: not authorized or not found.

        Oracle answers the same whether something does not exist or may not be seen. Check the OCIDs and the region (sa-saopaulo-1), and that a policy allows it, for example:
            Allow group GROUP to inspect repos in compartment id OPS

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&hidden);
    assert!(imported.state().is_null());
    Ok(())
}

/// The spelling of a tag's key is no difference after an import.
#[tokio::test]
async fn case_of_tag_keys() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let tagged = |key: &str| with(cloud.web(), json!({ "defined_tags": { key: "42" } }));
    let mut made = cloud.host.resource("ocir_repository");
    let id = made.apply(tagged("Ops.Cost")).await?["id"].clone();

    let mut imported = cloud.host.resource("ocir_repository");
    imported.import(id.as_str().unwrap_or_default()).await?;
    imported.expect_noop(tagged("ops.COST")).await?;
    imported.expect_noop(tagged("Ops.Cost")).await?;
    Ok(())
}

/// What cannot be an import's id is refused before anybody is asked.
#[tokio::test]
async fn invalid_ids() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut imported = cloud.host.resource("ocir_repository");
    cloud.emulator.fail_always("*", Fault::status(500));
    cloud.emulator.clear_requests();
    for id in [
        "",
        "/",
        "web",
        "team/web",
        "ocid1.compartment.oc1..a",
        "ocid1.compartment.oc1..a/",
        "ocid1.containerrepo.oc1..a/web",
        "ocid1.user.oc1..a/web",
    ] {
        let problems = imported.import(id).await.unwrap_err().to_string();
        assert!(problems.contains("Invalid import identifier"), "{problems}");
    }
    assert_eq!(cloud.operations(), [].into());
    Ok(())
}

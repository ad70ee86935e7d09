//! `ocir_repository`.

use serde_json::json;

use crate::support::provider::Cloud;

/// A repository is made, shows no change, is made public behind our back, seen,
/// repaired, and destroyed.
#[tokio::test]
async fn a_public_repository_is_drift() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let state = repository.apply(cloud.web()).await?;
    assert_eq!(state["is_public"], json!(false));

    cloud
        .emulator
        .edit_repository("team/web", json!({ "isPublic": true }));
    let plan = repository.plan(cloud.web()).await?;
    assert_eq!(plan.before["is_public"], json!(true));
    assert_eq!(plan.after["is_public"], json!(false));
    repository.apply_planned(&plan).await?;
    assert_eq!(cloud.repository("team/web")["isPublic"], json!(false));

    repository.destroy().await?;
    assert!(cloud.emulator.repositories().is_empty());
    Ok(())
}

//! Two who change one repository at the same time.

use std::time::Duration;

use expect_test::expect;
use ocir::emulator::{Emulator, Fault};
use serde_json::{Value as Json, json};

use super::with;
use crate::support::provider::{Cloud, arguments};

/// Runs `other` while a request of this operation is on its way, and lets it through then.
async fn meanwhile<T>(
    cloud: &Cloud,
    operation: &str,
    ours: impl Future<Output = T>,
    other: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<T> {
    let begun = cloud.emulator.begun(operation);
    let slow = Fault::delay(Duration::from_secs(2));
    cloud.emulator.fail_next(operation, slow);
    let other = async {
        while cloud.emulator.begun(operation) == begun {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        other().await
    };
    let (ours, other) = tokio::join!(ours, other);
    other.map(|()| ours)
}

fn owner(cloud: &Cloud, owner: &str) -> Json {
    with(
        cloud.web(),
        json!({ "defined_tags": { "Ops.Owner": owner } }),
    )
}

fn count(cloud: &Cloud) -> [usize; 2] {
    ["GetContainerRepository", "UpdateContainerRepository"].map(|operation| cloud.count(operation))
}

/// A robot writes the tag that is left to it between our look and our change, which
/// replaces all tags: the service refuses ours, and what is read anew keeps the robot's.
#[tokio::test]
async fn tags_of_a_robot() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let ignored = json!({ "ignore_defined_tags": ["Robots.LastSeen"] });
    let config = with(arguments(&emulator), ignored);
    let cloud = Cloud::configured(emulator, config).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(owner(&cloud, "ana")).await?;

    let plan = repository.plan(owner(&cloud, "eva")).await?;
    cloud.emulator.clear_requests();
    let robot = async || {
        let tags = json!({ "Ops": { "Owner": "ana" }, "Robots": { "LastSeen": "monday" } });
        cloud
            .emulator
            .edit_repository("team/web", json!({ "definedTags": tags }));
        Ok(())
    };
    let ours = repository.apply_planned(&plan);
    meanwhile(&cloud, "UpdateContainerRepository", ours, robot).await??;
    assert_eq!(
        cloud.repository("team/web")["definedTags"],
        json!({ "Ops": { "Owner": "eva" }, "Robots": { "LastSeen": "monday" } })
    );
    assert_eq!(count(&cloud), [2, 2]);
    repository.expect_noop(owner(&cloud, "eva")).await?;
    Ok(())
}

/// What does not depend on what is there is sent as planned, whoever comes between: no
/// look, and no second try.
#[tokio::test]
async fn what_is_planned_wins() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    let public = with(cloud.web(), json!({ "is_public": true }));
    let plan = repository.plan(public.clone()).await?;
    cloud.emulator.clear_requests();
    let somebody = async || {
        let readme = json!({ "content": "theirs", "format": "TEXT_PLAIN" });
        cloud
            .emulator
            .edit_repository("team/web", json!({ "readme": readme }));
        Ok(())
    };
    let ours = repository.apply_planned(&plan);
    let outcome = meanwhile(&cloud, "UpdateContainerRepository", ours, somebody).await?;
    assert_eq!(count(&cloud), [0, 1]);
    assert_eq!(cloud.repository("team/web")["isPublic"], json!(true));
    // What came between is in the answer as well. A host takes no value that was not planned,
    // so that it is in the next plan only.
    outcome?;
    assert_eq!(repository.state()["readme"], Json::Null);
    let plan = repository.plan(public).await?;
    assert_eq!(plan.before["readme"]["content"], json!("theirs"));
    Ok(())
}

/// The answer to a change of tags is lost. It was done, so the second try finds another
/// repository than the first; what is read anew is sent again.
#[tokio::test]
async fn a_lost_answer() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let config = arguments(&emulator);
    let cloud = Cloud::impatient(emulator, config).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    let plan = repository.plan(owner(&cloud, "eva")).await?;
    let lost = Fault::cut_answer();
    cloud.emulator.fail_next("UpdateContainerRepository", lost);
    repository.apply_planned(&plan).await?;
    let tags = cloud.repository("team/web")["definedTags"].clone();
    assert_eq!(tags, json!({ "Ops": { "Owner": "eva" } }));
    repository.expect_noop(owner(&cloud, "eva")).await?;
    Ok(())
}

/// A service, or a gateway before it, that refuses the very tag it has just given is
/// asked without; one that refuses that as well is an error that says what it means.
#[tokio::test]
async fn a_service_that_refuses_its_own_tags() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    let stale = || Fault::error(412, "NoEtagMatch", "no match");
    let plan = repository.plan(owner(&cloud, "eva")).await?;
    cloud.emulator.clear_requests();
    cloud
        .emulator
        .fail_next("UpdateContainerRepository", stale());
    repository.apply_planned(&plan).await?;
    assert_eq!(count(&cloud), [2, 2]);

    let plan = repository.plan(owner(&cloud, "ana")).await?;
    cloud
        .emulator
        .fail_always("UpdateContainerRepository", stale());
    let problems = repository.apply_planned(&plan).await.unwrap_err();
    expect![[r#"
        Error: Cannot update container repository

        Repository "team/web" (ocid1.containerrepo.OCID) could not be changed. UpdateContainerRepository of service artifacts at HOST was answered 412 NoEtagMatch: no match.

        Something else changes the repository at the same time, again and again. This was not done; find out what it is, and apply again.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    cloud.emulator.clear_faults();

    cloud
        .emulator
        .fail_next("DeleteContainerRepository", stale());
    repository.destroy().await?;
    assert!(cloud.emulator.repositories().is_empty());
    Ok(())
}

/// Somebody pushes between the look for images and the delete. Where the service notices,
/// the repository is looked at again, and stays.
#[tokio::test]
async fn a_push_before_the_delete() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    let plan = repository.plan_destroy();
    let push = async || {
        cloud.push_small("team/web", "1.0.0").await?;
        // Whether a push by itself is a change to the live service is not known.
        cloud.emulator.edit_repository("team/web", json!({}));
        Ok(())
    };
    let ours = repository.apply_planned(&plan);
    let refused = meanwhile(&cloud, "DeleteContainerRepository", ours, push).await?;
    let problems = refused.unwrap_err().to_string();
    assert!(
        problems.contains("holds 1 image of 11 bytes (tag: 1.0.0)"),
        "{problems}"
    );
    assert_eq!(cloud.emulator.images().len(), 1);
    assert!(!repository.state().is_null());
    Ok(())
}

/// Somebody changes something else between look and delete, or deletes it: it goes.
#[tokio::test]
async fn a_change_before_the_delete() -> anyhow::Result<()> {
    for gone in [false, true] {
        let cloud = Cloud::start().await?;
        let mut repository = cloud.host.resource("ocir_repository");
        repository.apply(cloud.web()).await?;
        let plan = repository.plan_destroy();
        let change = async || {
            match gone {
                true => cloud.emulator.remove_repository("team/web"),
                false => cloud
                    .emulator
                    .edit_repository("team/web", json!({ "isPublic": true })),
            }
            Ok(())
        };
        let ours = repository.apply_planned(&plan);
        meanwhile(&cloud, "DeleteContainerRepository", ours, change).await??;
        assert!(cloud.emulator.repositories().is_empty());
        assert!(repository.state().is_null());
    }
    Ok(())
}

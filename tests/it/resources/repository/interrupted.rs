//! Creates whose answer nobody heard, and runs that were interrupted.

use std::time::{Duration, Instant};

use expect_test::expect;
use ocir::emulator::{Emulator, Fault};
use serde_json::Value as Json;

use crate::support::provider::{Cloud, arguments};

async fn impatient() -> anyhow::Result<Cloud> {
    let emulator = Emulator::builder().start().await?;
    let config = arguments(&emulator);
    Cloud::impatient(emulator, config).await
}

/// Waits until the operation was carried out so many times.
async fn until(cloud: &Cloud, operation: &str, count: usize) {
    while cloud.count(operation) < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Ctrl-C while the service works on the create: its answer is awaited, and the
/// repository is in the state, as good as any.
#[tokio::test]
async fn interrupted_while_it_is_made() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let plan = repository.plan(cloud.web()).await?;
    let slow = Fault::delay(Duration::from_millis(400));
    cloud.emulator.fail_next("CreateContainerRepository", slow);
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cloud.host.stop().await
    };
    let (made, stopped) = tokio::join!(repository.apply_planned(&plan), stop);
    stopped?;
    made?;
    assert_eq!(repository.state()["id"], cloud.repository("team/web")["id"]);
    assert!(!repository.is_tainted());
    repository.expect_noop(cloud.web()).await?;
    Ok(())
}

/// The answer is lost, and Ctrl-C ends the wait for another attempt: the repository
/// exists, so it is found and is in the state.
#[tokio::test]
async fn interrupted_after_a_lost_answer() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let plan = repository.plan(cloud.web()).await?;
    cloud
        .emulator
        .fail_next("CreateContainerRepository", Fault::cut_answer());
    let start = Instant::now();
    let stop = async {
        until(&cloud, "CreateContainerRepository", 1).await;
        cloud.host.stop().await
    };
    let (made, stopped) = tokio::join!(repository.apply_planned(&plan), stop);
    stopped?;
    made?;
    assert!(start.elapsed() < Duration::from_secs(1), "nobody waited");
    assert_eq!(repository.state()["id"], cloud.repository("team/web")["id"]);
    assert!(!repository.is_tainted());
    assert_eq!(cloud.emulator.repositories().len(), 1);
    repository.expect_noop(cloud.web()).await?;
    Ok(())
}

/// Interrupted before anything was made: nothing is, and nothing is made afterwards.
#[tokio::test]
async fn interrupted_before_it_is_made() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let plan = repository.plan(cloud.web()).await?;
    let broken = Fault::cut(0);
    cloud
        .emulator
        .fail_always("CreateContainerRepository", broken);
    let stop = async {
        // A connection that was cut leaves no line in the log.
        tokio::time::sleep(Duration::from_millis(300)).await;
        cloud.emulator.clear_faults();
        cloud.host.stop().await
    };
    let (made, stopped) = tokio::join!(repository.apply_planned(&plan), stop);
    stopped?;
    expect![[r#"
        Error: Cannot create container repository

        Repository "team/web" could not be created in compartment COMPARTMENT: the run was interrupted.

        Nothing was created: the compartment has no repository of this name."#]].assert_eq(&cloud.neutral(&made.unwrap_err().to_string()));
    assert!(cloud.emulator.repositories().is_empty());
    assert_eq!(repository.state(), Json::Null);
    repository.apply(cloud.web()).await?;
    Ok(())
}

/// No answer ever came through, and one more question shows that the repository is
/// there: it is in the state.
#[tokio::test]
async fn every_answer_is_lost() -> anyhow::Result<()> {
    let cloud = impatient().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let plan = repository.plan(cloud.web()).await?;
    for _ in 0..8 {
        cloud
            .emulator
            .fail_next("CreateContainerRepository", Fault::cut_answer());
    }
    repository.apply_planned(&plan).await?;
    assert_eq!(cloud.emulator.repositories().len(), 1);
    assert!(!repository.is_tainted());
    repository.expect_noop(cloud.web()).await?;

    // An answer that cannot be read is none either.
    repository.destroy().await?;
    let plan = repository.plan(cloud.web()).await?;
    cloud
        .emulator
        .fail_next("CreateContainerRepository", Fault::cut_answer());
    let page = Fault::body(200, "<html>Sign in</html>");
    cloud.emulator.fail_next("CreateContainerRepository", page);
    repository.apply_planned(&plan).await?;
    repository.expect_noop(cloud.web()).await?;
    assert_eq!(cloud.emulator.repositories().len(), 1);
    Ok(())
}

/// Nobody can tell what became of the create: the error says so, and the next apply
/// finds what is there and shows how to import it.
#[tokio::test]
async fn nobody_can_tell() -> anyhow::Result<()> {
    let cloud = impatient().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let plan = repository.plan(cloud.web()).await?;
    cloud
        .emulator
        .fail_always("CreateContainerRepository", Fault::cut_answer());
    cloud
        .emulator
        .fail_always("ListContainerRepositories", Fault::status(503));
    let problems = repository.apply_planned(&plan).await.unwrap_err();
    expect![[r#"
        Error: Cannot create container repository

        Repository "team/web" could not be created in compartment COMPARTMENT. CreateContainerRepository of service artifacts got no answer from HOST in the last of 8 attempts: connection closed before message completed.

        Check the network, the provider's arguments "region" and "endpoint", and whether a proxy is needed (HTTPS_PROXY).

        Whether it was created all the same could not be found out. The next apply tells: if it was, the error there shows how to import it.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    assert!(repository.state().is_null());
    assert_eq!(cloud.emulator.repositories().len(), 1);

    cloud.emulator.clear_faults();
    let plan = repository.plan(cloud.web()).await?;
    let problems = repository.apply_planned(&plan).await.unwrap_err();
    let id = cloud.repository("team/web")["id"].clone();
    let block = format!("id = {id}");
    assert!(problems.to_string().contains(&block), "{problems}");
    Ok(())
}

/// Somebody else has the name, and every answer that says so is lost: theirs is not
/// taken for ours.
#[tokio::test]
async fn theirs_is_not_taken_for_ours() -> anyhow::Result<()> {
    let cloud = impatient().await?;
    let mut theirs = cloud.host.resource("ocir_repository");
    theirs.apply(cloud.web()).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let plan = repository.plan(cloud.web()).await?;
    for _ in 0..8 {
        cloud
            .emulator
            .fail_next("CreateContainerRepository", Fault::cut_answer());
    }
    let problems = repository.apply_planned(&plan).await.unwrap_err();
    expect![[r#"
        Error: Cannot create container repository

        Repository "team/web" could not be created in compartment COMPARTMENT. CreateContainerRepository of service artifacts at HOST was answered 409 NAMESPACE_CONFLICT: Repository already exists.

        The name is taken in this tenancy and region. It is in compartment COMPARTMENT. To manage the existing repository, import it:
            import {
              to = ocir_repository.NAME
              id = "ocid1.containerrepo.OCID"
            }
        or let the resource take it over, with its images, by setting in its block:
            adopt_existing = true

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID
          with display_name"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    assert!(repository.state().is_null());
    Ok(())
}

/// The same, and Ctrl-C ends the wait: the error says that nothing was made.
#[tokio::test]
async fn interrupted_and_theirs() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut theirs = cloud.host.resource("ocir_repository");
    theirs.apply(cloud.web()).await?;
    cloud.emulator.clear_requests();
    let mut repository = cloud.host.resource("ocir_repository");
    let plan = repository.plan(cloud.web()).await?;
    cloud
        .emulator
        .fail_next("CreateContainerRepository", Fault::cut_answer());
    let stop = async {
        until(&cloud, "CreateContainerRepository", 1).await;
        cloud.host.stop().await
    };
    let (made, stopped) = tokio::join!(repository.apply_planned(&plan), stop);
    stopped?;
    expect![[r#"
        Error: Cannot create container repository

        Repository "team/web" could not be created in compartment COMPARTMENT: the run was interrupted.

        Nothing was created: another repository of the compartment has the name."#]].assert_eq(&cloud.neutral(&made.unwrap_err().to_string()));
    assert!(repository.state().is_null());
    assert_eq!(cloud.emulator.repositories().len(), 1);
    Ok(())
}

/// Ctrl-C while an update waits for another attempt, after the move: the state says
/// what was done.
#[tokio::test]
async fn interrupted_between_move_and_update() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let ops = cloud.emulator.seed().ops_compartment_id.clone();
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    let more = serde_json::json!({ "compartment_id": ops, "is_public": true });
    let config = super::with(cloud.web(), more);
    let plan = repository.plan(config.clone()).await?;
    let throttled = Fault::status(503).retry_after(60);
    cloud
        .emulator
        .fail_always("UpdateContainerRepository", throttled);
    let stop = async {
        until(&cloud, "UpdateContainerRepository", 1).await;
        cloud.host.stop().await
    };
    let (changed, stopped) = tokio::join!(repository.apply_planned(&plan), stop);
    stopped?;
    expect![[r#"
        Error: Cannot update container repository

        Repository "team/web" (ocid1.containerrepo.OCID) could not be changed: the run was interrupted."#]].assert_eq(&cloud.neutral(&changed.unwrap_err().to_string()));
    assert_eq!(repository.state()["compartment_id"], *ops);
    assert_eq!(repository.state()["is_public"], false);
    cloud.emulator.clear_faults();
    repository.apply(config).await?;
    Ok(())
}

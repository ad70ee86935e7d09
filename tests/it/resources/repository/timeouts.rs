//! Time limits, and a name whose last owner is still being deleted.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use expect_test::expect;
use ocir::emulator::{Emulator, Fault};
use serde_json::{Value as Json, json};
use tracing_subscriber::layer::SubscriberExt as _;

use super::with;
use crate::support::provider::Cloud;

/// A service that takes so long to delete a repository.
async fn slow_to_delete(delay: Duration) -> anyhow::Result<Cloud> {
    let emulator = Emulator::builder().deletion_delay(delay).start().await?;
    Cloud::with(emulator).await
}

fn limited(cloud: &Cloud, operation: &str, limit: &str) -> Json {
    with(cloud.web(), json!({ "timeouts": { operation: limit } }))
}

/// Deleted and made again: a repository that is being deleted counts as deleted, and
/// the new one waits for its name and says so in the log.
#[tokio::test]
async fn a_name_that_is_not_free_yet() -> anyhow::Result<()> {
    let cloud = slow_to_delete(Duration::from_millis(2_500)).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let before = repository.apply(cloud.web()).await?;
    repository.destroy().await?;
    assert_eq!(cloud.repository("team/web")["lifecycleState"], "DELETING");

    let log = Log::default();
    let subscriber = tracing_subscriber::registry().with(log.clone());
    let guard = tracing::subscriber::set_default(subscriber);
    let plan = repository.plan(cloud.web()).await?;
    repository.apply_planned(&plan).await?;
    drop(guard);
    assert_ne!(repository.state()["id"], before["id"]);
    repository.expect_noop(cloud.web()).await?;
    let id = before["id"].as_str().unwrap_or_default();
    let lines = log.lines().replace(id, "OCID");
    expect![[r#"
        INFO message=Waiting until the last repository of this name, which is being deleted, is gone repository="team/web" id="OCID" waited_s=0 next_s=1
        INFO message=Waiting until the last repository of this name, which is being deleted, is gone repository="team/web" id="OCID" waited_s=1 next_s=2"#]].assert_eq(&lines);
    Ok(())
}

/// Gone from the list before it gives its name back, it is waited for all the same.
/// One that is deleted for good, and still listed, is not.
#[tokio::test]
async fn a_name_without_an_owner() -> anyhow::Result<()> {
    let cloud = slow_to_delete(Duration::from_millis(1_500)).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    repository.destroy().await?;
    let plan = repository.plan(cloud.web()).await?;
    let listed = Fault::delay(Duration::ZERO);
    cloud
        .emulator
        .fail_next("ListContainerRepositories", listed);
    let empty = Fault::body(200, r#"{"items": []}"#);
    cloud.emulator.fail_next("ListContainerRepositories", empty);
    repository.apply_planned(&plan).await?;
    assert_eq!(cloud.count("CreateContainerRepository"), 4);
    repository.expect_noop(cloud.web()).await?;

    let mut other = cloud.host.resource("ocir_repository");
    let plan = other.plan(cloud.web()).await?;
    let deleted = json!({ "items": [{
        "id": "ocid1.containerrepo.oc1..a", "compartmentId": cloud.compartment(),
        "displayName": "team/web", "lifecycleState": "DELETED",
    }] });
    let deleted = Fault::body(200, &deleted.to_string());
    cloud
        .emulator
        .fail_next("ListContainerRepositories", deleted);
    let problems = other.apply_planned(&plan).await.unwrap_err().to_string();
    assert!(problems.contains("cannot be seen"), "{problems}");
    Ok(())
}

/// While it is being deleted it counts as gone: for a refresh, an import, a destroy.
#[tokio::test]
async fn being_deleted_is_gone() -> anyhow::Result<()> {
    let cloud = slow_to_delete(Duration::from_secs(60)).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let state = repository.apply(cloud.web()).await?;
    let mut other = cloud.host.resource("ocir_repository");
    other.set_state(0, &state).await?;
    let mut third = cloud.host.resource("ocir_repository");
    third.set_state(0, &state).await?;
    repository.destroy().await?;

    let destroy = other.plan_destroy();
    other.apply_planned(&destroy).await?;
    assert!(other.state().is_null());
    assert!(third.refresh().await?.is_null());
    let place = format!("{}/team/web", cloud.compartment());
    let problems = third.import(&place).await.unwrap_err().to_string();
    assert!(
        problems.contains("has no repository \"team/web\""),
        "{problems}"
    );
    Ok(())
}

/// The name does not get free in the time that a create has.
#[tokio::test]
async fn a_name_that_does_not_get_free() -> anyhow::Result<()> {
    let cloud = slow_to_delete(Duration::from_secs(60)).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    repository.destroy().await?;
    let plan = repository.plan(limited(&cloud, "create", "2s")).await?;
    let start = Instant::now();
    let problems = repository.apply_planned(&plan).await.unwrap_err();
    in_time(start, 2);
    expect![[r#"
        Error: Cannot create container repository

        Repository "team/web" could not be created. CreateContainerRepository of service artifacts at HOST was answered 409 NAMESPACE_CONFLICT: Repository already exists.

        The name is not free yet: the last repository that had it (ocid1.containerrepo.OCID) is still being deleted, which may take Oracle up to two days.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID

        It took longer than 2s, the time that a create has. To give it more, set:

            timeouts {
              create = "4s"
            }
          with display_name"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    assert!(repository.state().is_null());
    Ok(())
}

/// Ctrl-C ends the wait at once.
#[tokio::test]
async fn interrupted_while_waiting_for_the_name() -> anyhow::Result<()> {
    let cloud = slow_to_delete(Duration::from_secs(60)).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    repository.destroy().await?;
    let plan = repository.plan(cloud.web()).await?;
    cloud.emulator.clear_requests();
    let stop = async {
        while cloud.count("ListContainerRepositories") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let asked = Instant::now();
        cloud.host.stop().await?;
        anyhow::Ok(asked)
    };
    let (made, asked) = tokio::join!(repository.apply_planned(&plan), stop);
    assert!(asked?.elapsed() < Duration::from_millis(500));
    expect![[r#"
        Error: Cannot create container repository

        Repository "team/web" could not be created: the run was interrupted."#]]
    .assert_eq(&cloud.neutral(&made.unwrap_err().to_string()));
    assert!(repository.state().is_null());
    Ok(())
}

/// A service that does not answer: each operation ends when its time is over, and the
/// error names the argument.
#[tokio::test]
async fn limits_are_honoured() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let slow = || Fault::delay(Duration::from_secs(60));
    let state = repository.apply(limited(&cloud, "read", "1s")).await?;

    cloud.emulator.fail_always("GetContainerRepository", slow());
    let start = Instant::now();
    let read = repository.refresh().await.unwrap_err();
    in_time(start, 1);
    expect![[r#"
        Error: Cannot read container repository

        Repository "team/web" (ocid1.containerrepo.OCID) could not be read: there was no time left.

        It took longer than 1s, the time that a read has. To give it more, set:

            timeouts {
              read = "2s"
            }"#]]
    .assert_eq(&cloud.neutral(&read.to_string()));
    assert_eq!(repository.state(), state);
    cloud.emulator.clear_faults();

    let limit = json!({ "timeouts": { "update": "1s", "delete": "1s" } });
    repository.apply(with(cloud.web(), limit.clone())).await?;
    let public = with(with(cloud.web(), limit), json!({ "is_public": true }));
    let plan = repository.plan(public.clone()).await?;
    // It answers, and never with what is asked for.
    let busy = Fault::status(503).retry_after(30);
    cloud
        .emulator
        .fail_always("UpdateContainerRepository", busy);
    let start = Instant::now();
    let update = repository.apply_planned(&plan).await.unwrap_err();
    in_time(start, 1);
    expect![[r#"
        Error: Cannot update container repository

        Repository "team/web" (ocid1.containerrepo.OCID) could not be changed: there was no time left.

        It took longer than 1s, the time that an update has. To give it more, set:

            timeouts {
              update = "2s"
            }"#]]
    .assert_eq(&cloud.neutral(&update.to_string()));
    assert_eq!(repository.state()["is_public"], json!(false));

    // Silent for good: given up a moment later, because it may still have answered.
    cloud.emulator.clear_faults();
    cloud
        .emulator
        .fail_always("UpdateContainerRepository", slow());
    let start = Instant::now();
    let update = repository.apply_planned(&plan).await.unwrap_err();
    in_time(start, 2);
    expect![[r#"
        Error: Operation timed out

        The update did not end when its time was over, and was given up.

        It took longer than 1s, the time that an update has. To give it more, set:

            timeouts {
              update = "2s"
            }"#]]
    .assert_eq(&cloud.neutral(&update.to_string()));
    cloud.emulator.clear_faults();

    cloud.emulator.fail_always("GetContainerRepository", slow());
    let destroy = repository.plan_destroy();
    let start = Instant::now();
    let delete = repository.apply_planned(&destroy).await.unwrap_err();
    in_time(start, 1);
    expect![[r#"
        Error: Cannot delete container repository

        Whether repository "team/web" (ocid1.containerrepo.OCID) holds images could not be found out, so it was not deleted: there was no time left.

        It took longer than 1s, the time that a delete has. To give it more, set:

            timeouts {
              delete = "2s"
            }"#]].assert_eq(&cloud.neutral(&delete.to_string()));
    assert!(!repository.state().is_null());
    cloud.emulator.clear_faults();
    repository.apply(public).await?;
    Ok(())
}

/// A create is throttled for longer than it has: nothing was made, and it says so.
#[tokio::test]
async fn a_create_that_gets_no_turn() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let plan = repository.plan(limited(&cloud, "create", "1s")).await?;
    let busy = Fault::status(429).retry_after(30);
    cloud
        .emulator
        .fail_always("CreateContainerRepository", busy);
    let start = Instant::now();
    let problems = repository.apply_planned(&plan).await.unwrap_err();
    in_time(start, 1);
    expect![[r#"
        Error: Cannot create container repository

        Repository "team/web" could not be created in compartment COMPARTMENT: there was no time left.

        It took longer than 1s, the time that a create has. To give it more, set:

            timeouts {
              create = "2s"
            }"#]]
    .assert_eq(&cloud.neutral(&problems.to_string()));
    assert!(repository.state().is_null());
    Ok(())
}

/// A change of the limits alone sends nothing.
#[tokio::test]
async fn limits_are_ours() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    let plan = repository.plan(limited(&cloud, "delete", "5m")).await?;
    cloud.emulator.clear_requests();
    repository.apply_planned(&plan).await?;
    assert_eq!(cloud.operations(), [].into());
    assert_eq!(repository.state()["timeouts"]["delete"], json!("5m"));
    Ok(())
}

#[track_caller]
fn in_time(start: Instant, seconds: u64) {
    let took = start.elapsed();
    let expected = Duration::from_secs(seconds);
    assert!(
        // A machine that is busy with other tests is late by itself.
        took >= expected && took < expected + Duration::from_millis(1_500),
        "took {took:?}, not {expected:?}"
    );
}

/// What resources log, one line each.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn lines(&self) -> String {
        self.0
            .lock()
            .map(|lines| lines.join("\n"))
            .unwrap_or_default()
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Line(String);
        impl tracing::field::Visit for Line {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!(" {field}={value:?}"));
            }
        }
        if !event.metadata().target().contains("resources::repository") {
            return;
        }
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        if let Ok(mut lines) = self.0.lock() {
            lines.push(line.0);
        }
    }
}

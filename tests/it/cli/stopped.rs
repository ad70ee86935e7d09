//! Runs with repositories that end in the middle: Ctrl-C in each wait, and a provider
//! that is killed. What the state says afterwards is what the next run starts from.

use std::time::Duration;

use ocir::emulator::{Emulator, Fault};
use serde_json::{Value as Json, json};

use super::repositories::PREAMBLE;
use crate::support::{
    cli::{Run, Running, Workspace},
    provider::Cloud,
};

const APPLY: [&str; 3] = ["apply", "-input=false", "-auto-approve"];
const DESTROY: [&str; 3] = ["destroy", "-input=false", "-auto-approve"];
/// Longer than any test takes.
const FOR_EVER: Duration = Duration::from_secs(300);

/// One repository in a folder of its own.
struct Stage {
    cloud: Cloud,
    workspace: Workspace,
}

impl Stage {
    /// With these arguments beside the required ones; `None` without a CLI.
    async fn with(arguments: &str) -> anyhow::Result<Option<Self>> {
        let cloud = Cloud::with(Emulator::builder().start().await?).await?;
        let Some(mut workspace) = Workspace::new(PREAMBLE)? else {
            return Ok(None);
        };
        workspace.sign_in(&cloud.emulator)?;
        let stage = Self { cloud, workspace };
        stage.arguments(arguments)?;
        stage.workspace.init().await?;
        Ok(Some(stage))
    }

    /// The same, applied once.
    async fn applied(arguments: &str) -> anyhow::Result<Option<Self>> {
        let Some(stage) = Self::with(arguments).await? else {
            return Ok(None);
        };
        stage.apply().await?;
        stage.cloud.emulator.clear_requests();
        Ok(Some(stage))
    }

    /// Changes the arguments; `compartment_id` among them stands for the usual one.
    fn arguments(&self, arguments: &str) -> anyhow::Result<()> {
        let compartment_id = match arguments.contains("compartment_id") {
            true => String::new(),
            false => format!("compartment_id = \"{}\"", self.cloud.compartment()),
        };
        self.workspace.write(
            "repository.tf",
            &format!(
                "resource \"ocir_repository\" \"web\" {{\n{compartment_id}\ndisplay_name = \"team/web\"\n{arguments}\n}}\n"
            ),
        )
    }

    /// A repository of the name that somebody else made, elsewhere.
    async fn theirs(&self) -> anyhow::Result<()> {
        let mut theirs = self.cloud.host.resource("ocir_repository");
        let ops = &self.cloud.emulator.seed().ops_compartment_id;
        let config =
            json!({ "compartment_id": ops, "display_name": "team/web", "is_public": true });
        theirs.apply(config).await?;
        self.cloud.emulator.clear_requests();
        Ok(())
    }

    fn fail_next(&self, operation: &str, fault: Fault) {
        self.cloud.emulator.fail_next(operation, fault);
    }

    fn fail_always(&self, operation: &str, fault: Fault) {
        self.cloud.emulator.fail_always(operation, fault);
    }

    async fn apply(&self) -> anyhow::Result<()> {
        self.workspace
            .run(&["apply", "-input=false", "-auto-approve"])
            .await?
            .succeeded();
        Ok(())
    }

    /// Starts a run, and returns once the operation was asked for so often.
    async fn until(
        &self,
        arguments: &[&str],
        operation: &str,
        times: usize,
    ) -> anyhow::Result<Running> {
        let asked = || self.cloud.emulator.begun(operation) >= times;
        self.workspace.start_until(arguments, asked).await
    }

    /// The repository as the state has it.
    fn recorded(&self) -> anyhow::Result<Json> {
        let state = self.workspace.state()?;
        Ok(state["resources"][0]["instances"][0].clone())
    }

    /// One apply more makes everything as it is configured, and the plan after it is
    /// empty. Gives the line that sums it up.
    async fn recovers(&self) -> anyhow::Result<String> {
        self.cloud.emulator.clear_faults();
        let applied = self
            .workspace
            .run(&["apply", "-input=false", "-auto-approve"])
            .await?;
        let applied = applied.succeeded();
        self.workspace
            .run(&["plan", "-input=false", "-detailed-exitcode"])
            .await?
            .ended_with(0);
        assert_eq!(self.cloud.emulator.repositories().len(), 1);
        let id = &self.cloud.repository("team/web")["id"];
        assert_eq!(&self.recorded()?["attributes"]["id"], id);
        let sum = applied.lines().find(|line| line.contains(" complete! "));
        Ok(sum.unwrap_or_default().to_owned())
    }
}

#[track_caller]
fn says(run: &Run, expected: &str) {
    assert!(run.flat().contains(expected), "{}", run.text);
}

/// A wait that changes nothing ends within a second, and what a busy machine needs to end
/// two programs.
#[track_caller]
fn at_once(took: Duration) {
    assert!(took < Duration::from_millis(1_500), "it took {took:?}");
}

fn busy() -> Fault {
    Fault::status(429).retry_after(100)
}

const INTERRUPTED: &str = "the run was interrupted";

/// A create waits for its turn, or for a name that is not free yet: nothing was made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_before_a_create() -> anyhow::Result<()> {
    let Some(stage) = Stage::with("").await? else {
        return Ok(());
    };
    let create = "CreateContainerRepository";
    stage.fail_always(create, busy());
    let (run, took) = stage.until(&APPLY, create, 1).await?.interrupted().await?;
    at_once(took);
    says(&run, INTERRUPTED);
    assert!(stage.cloud.emulator.repositories().is_empty());
    stage.cloud.emulator.clear_faults();

    stage.theirs().await?;
    let leaving = json!({ "lifecycleState": "DELETING" });
    stage.cloud.emulator.edit_repository("team/web", leaving);
    let (run, took) = stage.until(&APPLY, create, 2).await?.interrupted().await?;
    at_once(took);
    says(&run, INTERRUPTED);
    stage.cloud.emulator.remove_repository("team/web");
    let sum = stage.recovers().await?;
    assert!(sum.contains("1 added, 0 changed, 0 destroyed"), "{sum}");
    Ok(())
}

/// Looking for the one to take over, and at it: nothing is in the state, and nothing was
/// changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_before_taking_over() -> anyhow::Result<()> {
    let Some(stage) = Stage::with("adopt_existing = true").await? else {
        return Ok(());
    };
    stage.theirs().await?;
    let theirs = stage.cloud.repository("team/web");
    for operation in ["ListContainerRepositories", "GetContainerRepository"] {
        for fault in [Fault::delay(FOR_EVER), busy()] {
            stage.fail_always(operation, fault);
            let run = stage.until(&APPLY, operation, 1).await?;
            let (run, took) = run.interrupted().await?;
            at_once(took);
            says(&run, INTERRUPTED);
            assert_eq!(stage.cloud.repository("team/web"), theirs);
            stage.cloud.emulator.clear_faults();
            stage.cloud.emulator.clear_requests();
        }
    }
    let sum = stage.recovers().await?;
    assert!(sum.contains("1 added, 0 changed, 0 destroyed"), "{sum}");
    assert_eq!(stage.cloud.repository("team/web")["id"], theirs["id"]);
    Ok(())
}

/// A refresh, an update after its move, and the looks before a delete.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_at_one_that_exists() -> anyhow::Result<()> {
    let Some(stage) = Stage::applied("").await? else {
        return Ok(());
    };
    let recorded = stage.recorded()?["attributes"].clone();
    let looks = [
        (&APPLY, "GetContainerRepository", 1),
        (&DESTROY, "ListContainerImages", 1),
        (&DESTROY, "DeleteContainerRepository", 1),
    ];
    for (command, operation, times) in looks {
        let fault = match operation {
            "GetContainerRepository" => Fault::delay(FOR_EVER),
            _ => busy(),
        };
        stage.fail_always(operation, fault);
        let run = stage.until(command, operation, times).await?;
        let (run, took) = run.interrupted().await?;
        at_once(took);
        says(&run, INTERRUPTED);
        assert_eq!(stage.recorded()?["attributes"], recorded, "{operation}");
        stage.cloud.emulator.clear_faults();
        stage.cloud.emulator.clear_requests();
    }

    let ops = stage.cloud.emulator.seed().ops_compartment_id.clone();
    stage.arguments(&format!("compartment_id = \"{ops}\"\nis_public = true"))?;
    let update = "UpdateContainerRepository";
    stage.fail_always(update, Fault::status(503).retry_after(100));
    let (run, took) = stage.until(&APPLY, update, 1).await?.interrupted().await?;
    at_once(took);
    says(&run, INTERRUPTED);
    let half = stage.recorded()?;
    assert_eq!(half["attributes"]["compartment_id"], json!(ops));
    assert_eq!(half["attributes"]["is_public"], json!(false));
    assert_eq!(half["status"], Json::Null, "it is not tainted");
    stage.cloud.emulator.clear_requests();
    let sum = stage.recovers().await?;
    assert!(sum.contains("0 added, 1 changed, 0 destroyed"), "{sum}");
    assert_eq!(stage.cloud.count("ChangeContainerRepositoryCompartment"), 0);
    Ok(())
}

/// A create that the service does not answer, Ctrl-C, and ten seconds for a last word. The
/// first one never arrived, and the error says that nothing was made. The second one was
/// carried out, and is in the state. The third one was, and nobody can tell: the next
/// apply shows how to import it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_at_a_create_without_an_answer() -> anyhow::Result<()> {
    let create = "CreateContainerRepository";
    let (Some(lost), Some(made), Some(unknown)) = (
        Stage::with("").await?,
        Stage::with("").await?,
        Stage::with("").await?,
    ) else {
        return Ok(());
    };
    let last_word = |took: Duration, most: u64| {
        assert!(took < Duration::from_secs(most), "it took {took:?}");
    };
    let first = async {
        lost.fail_always(create, Fault::delay(FOR_EVER));
        let (run, took) = lost.until(&APPLY, create, 1).await?.interrupted().await?;
        last_word(took, 18);
        says(
            &run,
            "Nothing was created: the compartment has no repository of this name.",
        );
        lost.recovers().await
    };
    let second = async {
        made.fail_next(create, Fault::cut_answer());
        made.fail_next(create, Fault::delay(FOR_EVER));
        let (_, took) = made.until(&APPLY, create, 2).await?.interrupted().await?;
        last_word(took, 18);
        let recorded = made.recorded()?;
        let id = made.cloud.repository("team/web")["id"].clone();
        assert_eq!(recorded["attributes"]["id"], id);
        assert_eq!(recorded["status"], Json::Null, "it is not tainted");
        made.recovers().await
    };
    let third = async {
        unknown.fail_next(create, Fault::cut_answer());
        unknown.fail_always(create, Fault::delay(FOR_EVER));
        let run = unknown.until(&APPLY, create, 2).await?;
        let (run, took) = run.interrupted().await?;
        last_word(took, 23);
        says(
            &run,
            "Whether it was created all the same could not be found out.",
        );
        unknown.cloud.emulator.clear_faults();
        let errors = unknown
            .workspace
            .run(&["apply", "-input=false", "-auto-approve"])
            .await?
            .errors();
        let id = unknown.cloud.repository("team/web")["id"].clone();
        assert!(errors.contains(&format!("id = {id}")), "{errors}");
        anyhow::Ok(())
    };
    let (first, second, third) = tokio::join!(first, second, third);
    assert!(first?.contains("1 added"));
    assert!(second?.contains("0 added, 0 changed, 0 destroyed"));
    third
}

/// A move, an update, the move of one that is taken over, and a delete with all images,
/// which the service does not answer, and Ctrl-C: after a last word the state has what is
/// known, and the next run does the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_at_a_change_without_an_answer() -> anyhow::Result<()> {
    let (Some(moved), Some(changed), Some(adopted), Some(deleted)) = (
        Stage::applied("").await?,
        Stage::applied("").await?,
        Stage::with("adopt_existing = true").await?,
        Stage::applied("force_delete = true").await?,
    ) else {
        return Ok(());
    };
    let last_word = |took: Duration| assert!(took < Duration::from_secs(18), "it took {took:?}");
    let silence = || Fault::delay(FOR_EVER);
    let r#move = "ChangeContainerRepositoryCompartment";
    let update = "UpdateContainerRepository";
    let delete = "DeleteContainerRepository";

    let first = async {
        let ops = &moved.cloud.emulator.seed().ops_compartment_id;
        moved.arguments(&format!("compartment_id = \"{ops}\"\nis_public = true"))?;
        moved.fail_next(r#move, Fault::cut_answer());
        moved.fail_always(r#move, silence());
        let (_, took) = moved.until(&APPLY, r#move, 2).await?.interrupted().await?;
        last_word(took);
        assert!(!moved.recorded()?["attributes"]["id"].is_null());
        moved.cloud.emulator.clear_requests();
        let sum = moved.recovers().await?;
        assert!(sum.contains("0 added, 1 changed, 0 destroyed"), "{sum}");
        // The refresh saw that it was moved.
        assert_eq!(moved.cloud.count(r#move), 0);
        anyhow::Ok(())
    };
    let second = async {
        changed.arguments("is_public = true")?;
        changed.fail_always(update, silence());
        let (_, took) = changed
            .until(&APPLY, update, 1)
            .await?
            .interrupted()
            .await?;
        last_word(took);
        assert_eq!(changed.recorded()?["attributes"]["is_public"], json!(false));
        let sum = changed.recovers().await?;
        assert!(sum.contains("0 added, 1 changed, 0 destroyed"), "{sum}");
        anyhow::Ok(())
    };
    let third = async {
        adopted.theirs().await?;
        adopted.fail_always(r#move, silence());
        let run = adopted.until(&APPLY, r#move, 1).await?;
        let (run, took) = run.interrupted().await?;
        last_word(took);
        let recorded = adopted.recorded()?;
        let there = adopted.cloud.repository("team/web");
        assert_eq!(recorded["attributes"]["id"], there["id"], "{}", run.text);
        assert_eq!(recorded["status"], Json::Null, "it is not tainted");
        let sum = adopted.recovers().await?;
        assert!(sum.contains("0 added, 1 changed, 0 destroyed"), "{sum}");
        anyhow::Ok(())
    };
    let fourth = async {
        deleted.cloud.push_small("team/web", "1.0.0").await?;
        deleted.fail_next(delete, Fault::cut_answer());
        deleted.fail_always(delete, silence());
        let (_, took) = deleted
            .until(&DESTROY, delete, 2)
            .await?
            .interrupted()
            .await?;
        last_word(took);
        // What nobody heard of stays in the state until somebody looks.
        assert!(!deleted.recorded()?["attributes"]["id"].is_null());
        deleted.cloud.emulator.clear_faults();
        deleted
            .workspace
            .run(&["destroy", "-input=false", "-auto-approve"])
            .await?
            .succeeded();
        assert!(deleted.recorded()?.is_null());
        assert!(deleted.cloud.emulator.repositories().is_empty());
        anyhow::Ok(())
    };
    let (first, second, third, fourth) = tokio::join!(first, second, third, fourth);
    first.and(second).and(third).and(fourth)
}

/// The provider is killed while a create that never arrived is waited for, and while one
/// that was to be taken over is changed: neither is in the state, and the next apply does
/// all of it.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_a_create() -> anyhow::Result<()> {
    let Some(stage) = Stage::with("").await? else {
        return Ok(());
    };
    let silence = || Fault::delay(FOR_EVER);
    let create = "CreateContainerRepository";
    stage.fail_always(create, silence());
    let run = stage.until(&APPLY, create, 1).await?;
    run.without_provider().await?;
    assert!(stage.cloud.emulator.repositories().is_empty());
    let sum = stage.recovers().await?;
    assert!(sum.contains("1 added, 0 changed, 0 destroyed"), "{sum}");

    let Some(stage) = Stage::with("adopt_existing = true").await? else {
        return Ok(());
    };
    stage.theirs().await?;
    let id = stage.cloud.repository("team/web")["id"].clone();
    stage.fail_always("UpdateContainerRepository", silence());
    let run = stage.until(&APPLY, "UpdateContainerRepository", 1).await?;
    run.without_provider().await?;
    let sum = stage.recovers().await?;
    assert!(sum.contains("1 added, 0 changed, 0 destroyed"), "{sum}");
    assert_eq!(stage.cloud.repository("team/web")["id"], id);
    Ok(())
}

/// The provider is killed in a change: before the service carried it out, after it did,
/// and between a move and the update that follows it. The refresh of the next run sees what
/// there is, and only the rest is done.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_a_change() -> anyhow::Result<()> {
    let Some(stage) = Stage::applied("").await? else {
        return Ok(());
    };
    let silence = || Fault::delay(FOR_EVER);
    let (r#move, update) = (
        "ChangeContainerRepositoryCompartment",
        "UpdateContainerRepository",
    );
    let id = stage.cloud.repository("team/web")["id"].clone();
    let ops = stage.cloud.emulator.seed().ops_compartment_id.clone();
    let there = format!("compartment_id = \"{ops}\"");
    let cases = [
        ("is_public = true".to_owned(), update, false, 1),
        ("is_public = false".to_owned(), update, true, 0),
        (there.clone(), r#move, false, 1),
        (String::new(), r#move, true, 0),
        (format!("{there}\nis_public = true"), update, false, 1),
    ];
    for (arguments, operation, done, changes) in cases {
        stage.arguments(&arguments)?;
        stage.cloud.emulator.clear_requests();
        if done {
            stage.fail_next(operation, Fault::cut_answer());
        }
        stage.fail_always(operation, silence());
        let run = stage
            .until(&APPLY, operation, 1 + usize::from(done))
            .await?;
        run.without_provider().await?;
        stage.cloud.emulator.clear_requests();
        let sum = stage.recovers().await?;
        let expected = format!("0 added, {changes} changed, 0 destroyed");
        assert!(sum.contains(&expected), "{operation}, done: {done}: {sum}");
        for (other, calls) in [(operation, changes), (r#move, changes), (update, changes)] {
            let expected = if other == operation { calls } else { 0 };
            assert_eq!(stage.cloud.count(other), expected, "{other} of {arguments}");
        }
        assert_eq!(stage.cloud.repository("team/web")["id"], id);
    }
    Ok(())
}

/// The provider is killed in a delete: before the service carried it out the repository is
/// still there and in the state; after it did, the next destroy has nothing left to do.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_a_delete() -> anyhow::Result<()> {
    let delete = "DeleteContainerRepository";
    for (done, destroyed) in [(false, 1), (true, 0)] {
        let Some(stage) = Stage::applied("").await? else {
            return Ok(());
        };
        if done {
            stage.fail_next(delete, Fault::cut_answer());
        }
        stage.fail_always(delete, Fault::delay(FOR_EVER));
        let run = stage.until(&DESTROY, delete, 1 + usize::from(done)).await?;
        run.without_provider().await?;
        assert_eq!(stage.cloud.emulator.repositories().is_empty(), done);
        assert!(!stage.recorded()?["attributes"]["id"].is_null());
        stage.cloud.emulator.clear_faults();
        let text = stage
            .workspace
            .run(&["destroy", "-input=false", "-auto-approve"])
            .await?
            .succeeded();
        let expected = format!("Resources: {destroyed} destroyed.");
        assert!(text.contains(&expected), "{text}");
        assert!(stage.cloud.emulator.repositories().is_empty());
        assert!(stage.recorded()?.is_null());
    }
    Ok(())
}

//! Runs with a token that end in the middle: Ctrl-C in each wait, and a provider that is
//! killed.

use std::time::Duration;

use ocir::emulator::{Emulator, Fault};
use serde_json::{Value as Json, json};

use super::{super::find, ago, is_accepted, scenario};
use crate::support::cli::{Run, flat};

/// Ctrl-C while a new token is waited for: the CLI ends soon, and the token is in the
/// state as one that needs nothing done to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_while_waiting() -> anyhow::Result<()> {
    let delay = Duration::from_secs(24 * 3600);
    let emulator = Emulator::builder().token_delay(delay).start().await?;
    let Some(workspace) = scenario("rotating-by-age", &emulator).await? else {
        return Ok(());
    };
    let apply = ["apply", "-input=false", "-auto-approve"];
    let heard = || {
        emulator
            .requests()
            .iter()
            .any(|request| request.operation == "GetRegistryToken")
    };
    let run = workspace.start_until(&apply, heard).await?;
    let (Run { text, .. }, took) = run.interrupted().await?;
    assert!(took < SOON, "{took:?}");
    assert!(text.contains("Auth token may not be usable yet"), "{text}");
    let state = workspace.state()?;
    let token = find(&state, "ocir_auth_token");
    assert_eq!(token["id"], emulator.auth_tokens()[0]["id"]);
    assert!(token["token"].is_string());
    // What depended on it was left out; the token is as it should be.
    let plan = workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(2);
    assert!(
        plan.contains("without changing any real infrastructure"),
        "{plan}"
    );
    Ok(())
}

/// A second, and what a busy machine needs to end two programs.
const SOON: Duration = Duration::from_secs(5);

/// Ctrl-C while the create waits to be let through, while its answer was lost, while it
/// hangs, and while the delete hangs. Each time the token either does not exist, or is in
/// the state with its value and without a taint; the next run finishes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_in_each_wait() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let Some(workspace) = scenario("rotating-by-age", &emulator).await? else {
        return Ok(());
    };
    let apply = ["apply", "-input=false", "-auto-approve"];
    let plan = ["plan", "-input=false", "-detailed-exitcode"];
    let destroy = ["destroy", "-input=false", "-auto-approve"];
    let never = || Fault::delay(Duration::from_secs(300));
    let throttled = || Fault::status(429).retry_after(300);
    let busy = || Fault::status(503).retry_after(300);
    // A change that hangs has ten seconds to say what it did.
    let patient = SOON + Duration::from_secs(11);
    for (faults, asked, is_made, soon) in [
        (vec![throttled()], 1, false, SOON),
        (vec![Fault::cut_answer(), busy()], 2, true, SOON),
        (
            vec![Fault::cut(0), busy()],
            2,
            false,
            SOON + Duration::from_secs(1),
        ),
        (vec![never()], 1, false, patient),
    ] {
        let case = format!("{faults:?}");
        emulator.clear_requests();
        for fault in faults {
            emulator.fail_next("CreateAuthToken", fault);
        }
        let happened = || emulator.begun("CreateAuthToken") == asked;
        let run = workspace.start_until(&apply, happened).await?;
        let (Run { text, .. }, took) = run.interrupted().await?;
        assert!(took < soon, "{case}: {took:?}");
        let tokens = emulator.auth_tokens();
        assert_eq!(tokens.len(), usize::from(is_made), "{case}: {text}");
        emulator.clear_faults();
        match tokens.first() {
            Some(made) => {
                let state = workspace.state()?;
                let token = find(&state, "ocir_auth_token");
                assert_eq!(token["id"], made["id"], "{case}");
                let login = is_accepted(&emulator, &token["username"], &token["token"]).await?;
                assert!(login, "{case}");
                assert!(!state.to_string().contains("tainted"), "{case}");
            }
            None => assert!(
                text.contains("Error: Cannot create auth token"),
                "{case}: {text}"
            ),
        }
        let applied = workspace
            .run(&["apply", "-input=false", "-auto-approve"])
            .await?
            .succeeded();
        assert!(!applied.contains("Warning"), "{case}: {applied}");
        assert_eq!(emulator.auth_tokens().len(), 1, "{case}");
        workspace.run(&plan).await?.ended_with(0);
        workspace
            .run(&["destroy", "-auto-approve"])
            .await?
            .succeeded();
    }

    workspace
        .run(&["apply", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    for (fault, is_gone) in [
        (never(), false),
        (throttled(), false),
        (Fault::cut_answer(), true),
    ] {
        let case = format!("{fault:?}");
        emulator.clear_requests();
        emulator.fail_next("DeleteAuthToken", fault);
        emulator.fail_always("DeleteAuthToken", busy());
        let asked = 1 + usize::from(is_gone);
        let happened = || emulator.begun("DeleteAuthToken") == asked;
        let run = workspace.start_until(&destroy, happened).await?;
        let (Run { text, .. }, took) = run.interrupted().await?;
        assert!(took < SOON, "{case}: {took:?}");
        assert!(text.contains("could not be deleted"), "{case}: {text}");
        assert_eq!(emulator.auth_tokens().is_empty(), is_gone, "{case}");
        // What may be gone stays in the state, and the next run looks.
        let state = workspace.state()?;
        assert!(
            find(&state, "ocir_auth_token")["token"].is_string(),
            "{case}"
        );
        emulator.clear_faults();
        // The outputs went first.
        let planned = workspace.run(&plan).await?.ended_with(2);
        let expected = match is_gone {
            true => "Plan: 1 to add, 0 to change, 0 to destroy",
            false => "without changing any real infrastructure",
        };
        assert!(planned.contains(expected), "{case}: {planned}");
    }
    Ok(())
}

/// The provider is killed while it waits until a new token can be used. Nobody can tell
/// that token from one that somebody uses, so it is left alone: the next plan names it
/// and the command that deletes it. Left where it is, it takes the place that a rotation
/// needs, and the error there names it again; deleted, everything goes on.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_waiting() -> anyhow::Result<()> {
    let delay = Duration::from_secs(4);
    let emulator = Emulator::builder().token_delay(delay).start().await?;
    let Some(workspace) = scenario("rotating-by-age", &emulator).await? else {
        return Ok(());
    };
    let apply = ["apply", "-input=false", "-auto-approve"];
    let asked = || emulator.begun("GetRegistryToken") > 0;
    let run = workspace.start_until(&apply, asked).await?;
    run.without_provider().await?.errors();
    let id = |at: usize| {
        emulator.auth_tokens()[at]["id"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let (left, user) = (id(0), emulator.seed().user_id.clone());
    let names_it = |text: &str| {
        let text = flat(text);
        let age = format!("{left} \"Pipeline\", ");
        let command = format!("oci iam auth-token delete --user-id {user} --auth-token-id {left}");
        assert!(
            text.contains(&age) && text.contains(" old (created "),
            "{text}"
        );
        assert!(text.contains(&command), "{text}");
    };
    let plan = ["plan", "-input=false", "-detailed-exitcode"];
    let planned = workspace.run(&plan).await?.ended_with(2);
    assert!(
        planned.contains("Warning: Auth token may be left over"),
        "{planned}"
    );
    names_it(&planned);

    workspace.run(&apply).await?.succeeded();
    let made = id(1);
    let long_ago = ago(Duration::from_secs(91 * 24 * 3600))?;
    emulator.edit_auth_token(&made, json!({ "timeCreated": long_ago }));
    let planned = workspace.run(&plan).await?.ended_with(2);
    assert!(
        planned.contains("Warning: Auth token may be left over"),
        "{planned}"
    );
    names_it(&planned);
    let errors = workspace.run(&apply).await?.errors();
    assert!(errors.contains("Error: No free auth token"), "{errors}");
    names_it(&errors);
    assert!(!errors.contains(&format!("Token {made}")), "{errors}");
    assert_eq!(
        emulator.auth_tokens().len(),
        2,
        "a token was deleted that may be used"
    );

    emulator.remove_auth_token(&left);
    let applied = workspace.run(&apply).await?.succeeded();
    assert!(!applied.contains("left over"), "{applied}");
    assert_eq!(emulator.auth_tokens().len(), 1);
    workspace.run(&plan).await?.ended_with(0);
    Ok(())
}

/// The provider is killed while a create is on its way. Nothing was made that nobody
/// knows of, and the next apply makes the token.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_creating() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let Some(workspace) = scenario("rotating-by-age", &emulator).await? else {
        return Ok(());
    };
    let slow = Fault::delay(Duration::from_secs(30));
    emulator.fail_next("CreateAuthToken", slow);
    let apply = ["apply", "-input=false", "-auto-approve"];
    let asked = || emulator.begun("CreateAuthToken") > 0;
    let run = workspace.start_until(&apply, asked).await?;
    let errors = run.without_provider().await?.errors();
    // "Plugin did not respond" or "Request cancelled": the host has two ways to say it.
    assert!(errors.contains("ApplyResourceChange"), "{errors}");
    assert_eq!(emulator.auth_tokens(), [Json::Null; 0]);

    workspace.run(&apply).await?.succeeded();
    let tokens = emulator.auth_tokens();
    assert_eq!(tokens.len(), 1);
    let state = workspace.state()?;
    let known = &find(&state, "ocir_auth_token")["id"];
    assert_eq!(known, &tokens[0]["id"]);
    Ok(())
}

//! The scenarios of tokens and logins, by a real CLI.

mod stopped;

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    time::{Duration, SystemTime},
};

use flate2::read::DeflateDecoder;
use ocir::emulator::{Emulator, Fault};
use serde_json::{Value as Json, json};

use super::{make_images, root};
use crate::support::{
    self, Feature,
    cli::{Workspace, copy_files, flat},
};

/// A scenario in a folder of its own, signed in. `None` without a CLI.
async fn scenario(name: &str, emulator: &Emulator) -> anyhow::Result<Option<Workspace>> {
    let Some(mut workspace) = Workspace::new("")? else {
        return Ok(None);
    };
    fs::remove_file(workspace.path().join("main.tf"))?;
    copy_files(
        &root().join("examples/scenarios").join(name),
        &workspace.path(),
    )?;
    workspace.sign_in(emulator)?;
    workspace.init().await?;
    Ok(Some(workspace))
}

async fn outputs(workspace: &Workspace) -> anyhow::Result<Json> {
    let text = workspace.run(&["output", "-json"]).await?.succeeded();
    let outputs: BTreeMap<String, Json> = serde_json::from_str(&text)?;
    let values = outputs
        .into_iter()
        .map(|(name, output)| (name, output["value"].clone()));
    Ok(Json::Object(values.collect()))
}

/// Whether the registry accepts a login.
async fn is_accepted(
    emulator: &Emulator,
    username: &Json,
    password: &Json,
) -> anyhow::Result<bool> {
    let answer = reqwest::Client::new()
        .get(format!("{}/20180419/docker/token", emulator.url()))
        .basic_auth(username.as_str().unwrap_or_default(), password.as_str())
        .send()
        .await?;
    Ok(answer.status().is_success())
}

/// A time as the service writes it.
fn ago(age: Duration) -> anyhow::Result<String> {
    let time = time::OffsetDateTime::from(SystemTime::now() - age);
    Ok(time.format(&time::format_description::well_known::Rfc3339)?)
}

/// Two tokens are replaced in turn: what was handed out last goes on working while
/// the next one is, and the user never has a third.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotating_tokens() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let Some(workspace) = scenario("rotating-tokens", &emulator).await? else {
        return Ok(());
    };
    let mut handed_out: Option<Json> = None;
    for rotation in 0..4 {
        let variable = format!("-var=rotation={rotation}");
        let apply = workspace
            .run(&["apply", "-input=false", "-auto-approve", &variable])
            .await?
            .succeeded();
        assert!(!apply.contains("Warning"), "{apply}");
        let expected = match rotation {
            0 => "Resources: 2 added, 0 changed, 0 destroyed",
            _ => "Resources: 1 added, 0 changed, 1 destroyed",
        };
        assert!(apply.contains(expected), "{apply}");
        assert_eq!(emulator.auth_tokens().len(), 2);
        let current = outputs(&workspace).await?;
        assert!(is_accepted(&emulator, &current["username"], &current["password"]).await?);
        if let Some(before) = &handed_out {
            assert_ne!(before["password"], current["password"]);
            assert!(is_accepted(&emulator, &before["username"], &before["password"]).await?);
        }
        handed_out = Some(current);
        workspace
            .run(&["plan", "-input=false", "-detailed-exitcode", &variable])
            .await?
            .ended_with(0);
    }
    Ok(())
}

/// A token that got too old is replaced, the new one before the old one; another
/// token beside it leaves no room for that, and the apply says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotating_by_age() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let Some(workspace) = scenario("rotating-by-age", &emulator).await? else {
        return Ok(());
    };
    let apply = ["apply", "-input=false", "-auto-approve"];
    workspace.run(&apply).await?.succeeded();
    let before = outputs(&workspace).await?;
    let make_old = || -> anyhow::Result<()> {
        let tokens = emulator.auth_tokens();
        let id = tokens[0]["id"].as_str().unwrap_or_default();
        let long_ago = ago(Duration::from_secs(91 * 24 * 3600))?;
        emulator.edit_auth_token(id, json!({ "timeCreated": long_ago }));
        Ok(())
    };
    make_old()?;
    let plan = workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(2);
    assert!(
        plan.contains("Warning: Auth token is due for rotation"),
        "{plan}"
    );
    assert!(
        plan.contains("+/- create replacement and then destroy"),
        "{plan}"
    );
    assert!(plan.contains("# forces replacement"), "{plan}");
    assert!(!plan.contains("No free auth token"), "{plan}");
    emulator.clear_requests();
    workspace.run(&apply).await?.succeeded();
    let changes: Vec<_> = emulator
        .requests()
        .into_iter()
        .map(|request| request.operation.to_string())
        .filter(|operation| operation.contains("AuthToken") && !operation.starts_with("List"))
        .collect();
    assert_eq!(changes, ["CreateAuthToken", "DeleteAuthToken"]);
    let after = outputs(&workspace).await?;
    assert_ne!(before["password"], after["password"]);
    assert!(is_accepted(&emulator, &after["username"], &after["password"]).await?);
    assert!(!is_accepted(&emulator, &before["username"], &before["password"]).await?);

    // A young one, on demand. While it is replaced, it looks like one that was left over:
    // nobody tells the provider that it is in a state.
    let on_demand = [&apply[..], &["-replace=ocir_auth_token.pipeline"]].concat();
    let applied = workspace.run(&on_demand).await?.succeeded();
    let words = flat(&applied);
    assert!(
        !words.contains("may be left over")
            || words.contains("it is deleted at the end of the run"),
        "{applied}"
    );
    assert_eq!(emulator.auth_tokens().len(), 1);
    let after = outputs(&workspace).await?;

    // A second token of the user, which this configuration knows nothing of.
    make_old()?;
    workspace.write(
        "other.tf",
        "resource \"ocir_auth_token\" \"other\" {\n  description = \"another one\"\n}\n",
    )?;
    let other = [
        "apply",
        "-input=false",
        "-auto-approve",
        "-target=ocir_auth_token.other",
    ];
    workspace.run(&other).await?.succeeded();
    let errors = workspace.run(&apply).await?.errors();
    assert!(errors.contains("No free auth token"), "{errors}");
    assert!(errors.contains("\"another one\""), "{errors}");
    assert_eq!(emulator.auth_tokens().len(), 2);
    assert_eq!(outputs(&workspace).await?["password"], after["password"]);
    Ok(())
}

/// A token gets too old between a plan and its apply. The apply does what was planned,
/// and does not trip over another judgement; the next plan replaces the token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_old_between_plan_and_apply() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let Some(workspace) = scenario("rotating-by-age", &emulator).await? else {
        return Ok(());
    };
    workspace
        .run(&["apply", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    let tokens = emulator.auth_tokens();
    let id = tokens[0]["id"].as_str().unwrap_or_default();
    let nearly = Duration::from_secs(90 * 24 * 3600) - Duration::from_secs(6);
    emulator.edit_auth_token(id, json!({ "timeCreated": ago(nearly)? }));
    let too_old = SystemTime::now() + Duration::from_secs(6);
    let text = fs::read_to_string(workspace.path().join("main.tf"))?;
    workspace.write("main.tf", &text.replace("\"Pipeline\"", "\"Pipelines\""))?;
    let plan = workspace
        .run(&["plan", "-input=false", "-out=saved"])
        .await?
        .succeeded();
    assert!(
        plan.contains("0 to add, 1 to change, 0 to destroy"),
        "{plan}"
    );
    if let Ok(left) = too_old.duration_since(SystemTime::now()) {
        tokio::time::sleep(left + Duration::from_millis(200)).await;
    }
    let apply = workspace
        .run(&["apply", "-input=false", "saved"])
        .await?
        .succeeded();
    assert!(apply.contains("0 added, 1 changed, 0 destroyed"), "{apply}");
    let plan = workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(2);
    assert!(plan.contains("Auth token is due for rotation"), "{plan}");
    Ok(())
}

/// A login that a second configuration of the provider pushes with, and a program
/// too. Neither the saved plan, nor the state, nor any log holds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_lived_login() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    if support::terraform().is_none() || !support::knows(Feature::EphemeralResources)? {
        return Ok(());
    }
    let Some(mut workspace) = scenario("short-lived-login", &emulator).await? else {
        return Ok(());
    };
    make_images(&workspace.path())?;
    let log = workspace.path().join("trace.log");
    let (images, copy) = (workspace.path(), workspace.path().join("login.json"));
    // What the program gets; docker need not be here.
    let check = format!(
        "printf %s \"$DOCKER_CONFIG_JSON\" > '{}'; echo \"checked $REFERENCE\"",
        copy.display()
    );
    workspace
        .set("TF_VAR_image_directory", images.display().to_string())
        .set("TF_VAR_check_command", check)
        .set("TF_LOG", "TRACE")
        .set("TF_LOG_PATH", log.display().to_string());
    let plan = workspace
        .run(&["plan", "-input=false", "-out=saved"])
        .await?
        .succeeded();
    let apply = workspace
        .run(&["apply", "-input=false", "saved"])
        .await?
        .succeeded();
    assert!(
        apply.contains("Apply complete! Resources: 3 added"),
        "{apply}"
    );
    assert!(!emulator.tags("motando-webapp").is_empty());
    workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(0);

    // The push was made with the login, and with nothing else.
    let push = emulator
        .requests()
        .into_iter()
        .filter(|request| ["PutManifest", "PostBlobUpload"].contains(&&*request.operation));
    assert!(push.count() >= 2);
    // The program got one that the registry accepts.
    let file: Json = serde_json::from_str(&fs::read_to_string(&copy)?)?;
    let auth = &file["auths"][emulator.authority()]["auth"];
    let login = {
        use base64::{Engine, engine::general_purpose::STANDARD};
        String::from_utf8(STANDARD.decode(auth.as_str().unwrap_or_default())?)?
    };
    let password = login.strip_prefix("BEARER_TOKEN:").unwrap_or_default();
    assert!(password.starts_with("eyJ"), "no login came to the program");
    assert!(is_accepted(&emulator, &json!("BEARER_TOKEN"), &json!(password)).await?);

    let planned = fs::read(workspace.path().join("saved"))?;
    let planned = unzipped(&planned)?;
    assert!(
        planned.contains("motando-webapp"),
        "the plan cannot be read"
    );
    let state = fs::read_to_string(workspace.path().join("terraform.tfstate"))?;
    assert!(state.contains("motando-webapp"));
    let log = fs::read_to_string(&log)?;
    assert!(log.contains("ocir_registry_login"));
    // Any token of the registry's begins as this one does, and any login as docker
    // writes it as well.
    let beginning = password.split('.').next().unwrap_or_default();
    assert!(beginning.len() > 16);
    for secret in [beginning, "QkVBUkVSX1RPS0VOO"] {
        for (place, text) in [
            ("plan", &planned),
            ("state", &state),
            ("log", &log),
            ("output of the plan", &plan),
            ("output of the apply", &apply),
        ] {
            let at = text.find(secret);
            let around = at.map(|at| {
                let from = text.floor_char_boundary(at.saturating_sub(200));
                &text[from..at]
            });
            assert!(at.is_none(), "the login is in the {place} after {around:?}");
        }
    }
    Ok(())
}

/// All that is in a ZIP archive, as text: its entries follow one another.
fn unzipped(archive: &[u8]) -> anyhow::Result<String> {
    let mut all = String::new();
    let mut at = 0;
    while let Some(offset) = archive[at..]
        .windows(4)
        .position(|bytes| bytes == b"PK\x03\x04")
    {
        let header = &archive[at + offset..];
        let length = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
        let method = length(8);
        let data = &header[30 + length(26) + length(28)..];
        let mut content = Vec::new();
        match method {
            8 => drop(DeflateDecoder::new(data).read_to_end(&mut content)?),
            _ => content.extend_from_slice(data),
        }
        all.push_str(&String::from_utf8_lossy(&content));
        at += offset + 4;
    }
    Ok(all)
}

/// While a new token is waited for, the log tells so, without the token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_is_logged() -> anyhow::Result<()> {
    let delay = Duration::from_secs(2);
    let emulator = Emulator::builder().token_delay(delay).start().await?;
    let Some(mut workspace) = scenario("rotating-by-age", &emulator).await? else {
        return Ok(());
    };
    let log = workspace.path().join("trace.log");
    workspace
        .set("TF_LOG", "TRACE")
        .set("TF_LOG_PATH", log.display().to_string());
    workspace
        .run(&["apply", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    let log = fs::read_to_string(&log)?;
    let count = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert!(count("The registry does not accept the new auth token yet") >= 1);
    assert_eq!(count("The registry accepts the auth token"), 1);
    let state = workspace.state()?;
    let token = super::find(&state, "ocir_auth_token")["token"].clone();
    let token = token.as_str().unwrap_or_default();
    assert_eq!(token.len(), 20);
    assert!(!log.contains(token), "the token is in the log");
    Ok(())
}

/// A user who holds two tokens, and one of them is replaced: by the CLI's -replace, or
/// because of its age, without create_before_destroy. Its place is free by then, so that
/// there is nothing to warn of; the other one is left alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_one_of_two() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let Some(workspace) = scenario("rotating-tokens", &emulator).await? else {
        return Ok(());
    };
    let text = fs::read_to_string(workspace.path().join("main.tf"))?;
    let aged = text.replace(
        "  rotation_triggers",
        "  rotate_after_days = 90\n\n  rotation_triggers",
    );
    workspace.write("main.tf", &aged)?;
    let apply = ["apply", "-input=false", "-auto-approve", "-var=rotation=0"];
    workspace.run(&apply).await?.succeeded();
    let ids = || {
        let tokens = emulator.auth_tokens();
        let texts = tokens
            .iter()
            .map(|token| (token["description"].to_string(), token["id"].to_string()));
        texts.collect::<BTreeMap<_, _>>()
    };
    let (blue, green) = ("\"Pipelines (blue)\"", "\"Pipelines (green)\"");
    let before = ids();
    let replace = [&apply[..], &["-replace=ocir_auth_token.this[\"blue\"]"]].concat();
    emulator.clear_requests();
    let applied = workspace.run(&replace).await?.succeeded();
    assert!(
        applied.contains("1 added, 0 changed, 1 destroyed"),
        "{applied}"
    );
    assert!(!applied.contains("Warning"), "{applied}");
    let after = ids();
    assert_ne!(before[blue], after[blue]);
    assert_eq!(before[green], after[green]);

    let long_ago = ago(Duration::from_secs(91 * 24 * 3600))?;
    let id = after[green].trim_matches('"').to_owned();
    emulator.edit_auth_token(&id, json!({ "timeCreated": long_ago }));
    let applied = workspace.run(&apply).await?.succeeded();
    assert!(
        applied.contains("1 added, 0 changed, 1 destroyed"),
        "{applied}"
    );
    assert!(
        applied.contains("Auth token is due for rotation"),
        "{applied}"
    );
    assert!(!applied.contains("No free auth token"), "{applied}");
    assert_eq!(ids()[blue], after[blue]);
    assert_ne!(ids()[green], after[green]);
    let changes: Vec<_> = emulator
        .requests()
        .into_iter()
        .map(|request| request.operation.to_string())
        .filter(|operation| operation.contains("AuthToken") && !operation.starts_with("List"))
        .collect();
    let each = ["DeleteAuthToken", "CreateAuthToken"];
    assert_eq!(changes, [each, each].concat());
    workspace
        .run(&[
            "plan",
            "-input=false",
            "-detailed-exitcode",
            "-var=rotation=0",
        ])
        .await?
        .ended_with(0);
    Ok(())
}

/// The token is shown nowhere: by no plan, apply, show, output or console, in no error
/// about it, in no trace; and not when it is changed, replaced or destroyed either. It
/// is in the state, as documented.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_shown() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let Some(mut workspace) = scenario("rotating-by-age", &emulator).await? else {
        return Ok(());
    };
    let log = workspace.path().join("trace.log");
    workspace
        .set("TF_LOG", "TRACE")
        .set("TF_LOG_PATH", log.display().to_string());
    let mut said = Vec::new();
    let mut secrets = Vec::new();
    let apply = ["apply", "-input=false", "-auto-approve"];
    for configuration in ["\"Pipeline\"", "\"Pipelines\""] {
        let text = fs::read_to_string(workspace.path().join("main.tf"))?;
        workspace.write("main.tf", &text.replace("\"Pipeline\"", configuration))?;
        said.push(workspace.run(&apply).await?.succeeded());
    }
    let mut note = |workspace: &Workspace| -> anyhow::Result<()> {
        let state = workspace.state()?;
        let token = super::find(&state, "ocir_auth_token")["token"].clone();
        secrets.push(token.as_str().unwrap_or_default().to_owned());
        Ok(())
    };
    note(&workspace)?;
    for arguments in [
        &["plan", "-input=false"][..],
        &["plan", "-input=false", "-replace=ocir_auth_token.pipeline"],
        &["plan", "-input=false", "-destroy"],
        &["show"],
        &["output"],
    ] {
        said.push(workspace.run(arguments).await?.succeeded());
    }
    let shown = ["state", "show", "-no-color", "ocir_auth_token.pipeline"];
    said.push(workspace.type_in(&shown, "").await?.succeeded());
    let hidden = said
        .iter()
        .filter(|text| text.contains("(sensitive value)"));
    assert!(hidden.count() >= 4, "{said:?}");
    for (typed, expected) in [
        ("ocir_auth_token.pipeline.token\n", "(sensitive value)"),
        ("ocir_auth_token.pipeline.id\n", "ocid1.credential."),
        ("ocir_auth_token.pipeline\n", "(sensitive value)"),
    ] {
        let console = workspace.type_in(&["console"], typed).await?.succeeded();
        assert!(console.contains(expected), "{console}");
        said.push(console);
    }
    workspace.write(
        "plain.tf",
        "output \"plain\" {\n  value = ocir_auth_token.pipeline.token\n}\n",
    )?;
    let refused = workspace.run(&["plan", "-input=false"]).await?.errors();
    assert!(
        refused.contains("Output refers to sensitive values"),
        "{refused}"
    );
    said.push(refused);
    fs::remove_file(workspace.path().join("plain.tf"))?;

    // The old one stays behind, and goes later.
    let refusal = Fault::error(400, "InvalidParameter", "Not now.");
    emulator.fail_always("DeleteAuthToken", refusal);
    said.push(
        workspace
            .run(&[
                "apply",
                "-input=false",
                "-auto-approve",
                "-replace=ocir_auth_token.pipeline",
            ])
            .await?
            .errors(),
    );
    note(&workspace)?;
    emulator.clear_faults();
    said.push(workspace.run(&apply).await?.succeeded());
    note(&workspace)?;
    said.push(
        workspace
            .run(&["destroy", "-auto-approve"])
            .await?
            .succeeded(),
    );

    said.push(fs::read_to_string(&log)?);
    assert!(
        secrets.iter().all(|secret| secret.len() == 20),
        "there is no token"
    );
    for secret in &secrets {
        for text in &said {
            let at = text.find(secret.as_str());
            let around = at.map(|at| &text[text.floor_char_boundary(at.saturating_sub(300))..at]);
            assert!(at.is_none(), "the token is shown after {around:?}");
        }
    }
    Ok(())
}

/// A state that Oracle's provider wrote, and a `moved` block: the token comes over with
/// its value, and there is nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moved_from_oracle() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let Some(workspace) = scenario("rotating-by-age", &emulator).await? else {
        return Ok(());
    };
    let text = fs::read_to_string(workspace.path().join("main.tf"))?;
    let plain = text
        .lines()
        .filter(|line| !line.contains("rotate_after_days"));
    workspace.write("main.tf", &plain.collect::<Vec<_>>().join("\n"))?;
    workspace
        .run(&["apply", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    let mut state = workspace.state()?;
    let token = super::find(&state, "ocir_auth_token").clone();
    let created = token["time_created"].as_str().unwrap_or_default();
    let created = created.replacen('T', " ", 1).replacen('Z', " +0000 UTC", 1);
    for address in [
        "registry.terraform.io/oracle/oci",
        "registry.terraform.io/hashicorp/oci",
    ] {
        state["serial"] = json!(100);
        state["outputs"] = json!({});
        state["resources"] = json!([{
            "mode": "managed",
            "type": "oci_identity_auth_token",
            "name": "former",
            "provider": format!("provider[\"{address}\"]"),
            "instances": [{
                "schema_version": 0,
                "attributes": {
                    "description": token["description"],
                    "id": token["id"],
                    "inactive_state": null,
                    "state": "ACTIVE",
                    "time_created": created,
                    "time_expires": null,
                    "timeouts": null,
                    "token": token["token"],
                    "user_id": token["user_id"],
                },
                "sensitive_attributes": [],
                "private": "eyJzY2hlbWFfdmVyc2lvbiI6IjAifQ==",
            }],
        }]);
        let _ = fs::remove_file(workspace.path().join("terraform.tfstate.backup"));
        workspace.write("terraform.tfstate", &state.to_string())?;
        workspace.write(
            "moved.tf",
            "moved {\n  from = oci_identity_auth_token.former\n  to   = ocir_auth_token.pipeline\n}\n",
        )?;
        workspace.lend(address)?;
        workspace.init().await?;
        let apply = workspace
            .run(&["apply", "-input=false", "-auto-approve"])
            .await?
            .succeeded();
        assert!(
            apply.contains("Resources: 0 added, 0 changed, 0 destroyed"),
            "{apply}"
        );
        let after = workspace.state()?;
        assert_eq!(super::find(&after, "ocir_auth_token"), &token, "{apply}");
        assert_eq!(emulator.auth_tokens().len(), 1);
    }
    Ok(())
}

/// A token takes the other of its two names, and the first one again, with a `moved`
/// block: its value comes along, and nothing is asked of Oracle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moved_between_the_names() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let Some(workspace) = scenario("rotating-by-age", &emulator).await? else {
        return Ok(());
    };
    let apply = ["apply", "-input=false", "-auto-approve"];
    workspace.run(&apply).await?.succeeded();
    let state = workspace.state()?;
    let token = super::find(&state, "ocir_auth_token").clone();
    let texts = ["main.tf", "outputs.tf"].map(|name| {
        let text = fs::read_to_string(workspace.path().join(name));
        text.map(|text| (name, text))
    });
    for (from, to) in [
        ("ocir_auth_token", "oci_auth_token"),
        ("oci_auth_token", "ocir_auth_token"),
    ] {
        for text in &texts {
            let (name, text) = text.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
            let block = format!("\"{to}\" \"pipeline\" {{\n  provider = ocir\n");
            let text = text
                .replace("\"ocir_auth_token\" \"pipeline\" {\n", &block)
                .replace("ocir_auth_token.", &format!("{to}."));
            workspace.write(name, &text)?;
        }
        workspace.write(
            "moved.tf",
            &format!("moved {{\n  from = {from}.pipeline\n  to   = {to}.pipeline\n}}\n"),
        )?;
        emulator.clear_requests();
        let applied = workspace.run(&apply).await?.succeeded();
        let expected = "Resources: 0 added, 0 changed, 0 destroyed";
        assert!(applied.contains(expected), "{applied}");
        assert_eq!(super::find(&workspace.state()?, to), &token, "{applied}");
        let asked = emulator.requests().into_iter();
        let changes = asked.filter(|request| request.method != "GET");
        assert_eq!(changes.count(), 0);
    }
    Ok(())
}

/// A token that exists is imported into a configuration that the CLI writes itself, and
/// that is what is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_configuration() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let Some(workspace) = scenario("rotating-by-age", &emulator).await? else {
        return Ok(());
    };
    let apply = ["apply", "-input=false", "-auto-approve"];
    workspace.run(&apply).await?.succeeded();
    let state = workspace.state()?;
    let token = super::find(&state, "ocir_auth_token").clone();
    for file in ["main.tf", "outputs.tf", "terraform.tfstate"] {
        fs::remove_file(workspace.path().join(file))?;
    }
    let text = |name: &str| token[name].as_str().unwrap_or_default().to_owned();
    workspace.write(
        "import.tf",
        &format!(
            "import {{\n  to = ocir_auth_token.it\n  id = \"users/{}/authTokens/{}\"\n}}\n",
            text("user_id"),
            text("id")
        ),
    )?;
    workspace
        .run(&["plan", "-input=false", "-generate-config-out=generated.tf"])
        .await?
        .succeeded();
    let applied = workspace.run(&apply).await?.succeeded();
    assert!(
        applied.contains("1 imported, 0 added, 0 changed, 0 destroyed"),
        "{applied}"
    );
    workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(0);
    assert_eq!(emulator.auth_tokens().len(), 1);
    Ok(())
}

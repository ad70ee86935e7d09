//! What a CLI does with records and logins: from open to close, from import to
//! destroy, and what is left when something goes wrong in between.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value as Json, json};

use super::{Run, Workspace, signal};
use crate::support::{Feature, knows};

/// What the probe's login gives.
const PASSWORD: &str = "correct horse battery staple";

const PROVIDER: &str = "provider \"probe\" {\n  directory = abspath(path.module)\n}\n\n";

/// A login is opened for the plan and for the apply, is renewed while an object
/// is made that takes long, and is closed; a second configuration of the
/// provider uses it, and it is in no state, in no plan and in none of our logs.
#[test]
fn a_login_is_opened_used_and_closed() -> Result<()> {
    let Some(workspace) = Workspace::of(&format!(
        r#"{PROVIDER}
        provider "probe" {{
          alias     = "signed_in"
          directory = abspath(path.module)
          password  = ephemeral.probe_login.it.password
        }}
        ephemeral "probe_login" "it" {{
          audience = "us"
          renew_ms = 150
        }}
        resource "probe_thing" "slow" {{
          provider = probe.signed_in
          delay_ms = 2000
        }}
        "#
    ))?
    else {
        return Ok(());
    };
    if !knows(Feature::EphemeralResources)? {
        return Ok(());
    }
    let plan = workspace.run(&["plan", "-out=plan"], &[("TF_LOG_PROVIDER", "TRACE")])?;
    assert_eq!(plan.status, Some(0), "{}", plan.text);
    assert_eq!(
        workspace.events()?,
        ["open", "configured with 28 letters", "close"]
    );
    let apply = workspace.run(&["apply", "plan"], &[("TF_LOG_PROVIDER", "TRACE")])?;
    assert_eq!(apply.status, Some(0), "{}", apply.text);
    let events = workspace.events()?;
    assert_eq!(events[..2], ["open", "configured with 28 letters"]);
    let renewals = events.iter().filter(|event| *event == "renew").count();
    assert!(renewals >= 2, "{events:?}");
    assert_eq!(events.last().map(String::as_str), Some("close"));
    for text in [plan.text, apply.text] {
        assert!(text.contains("tf_rpc=OpenEphemeralResource"), "{text}");
        assert!(!text.contains(PASSWORD), "{text}");
    }
    for file in ["plan", "terraform.tfstate"] {
        let bytes = std::fs::read(workspace.path(file))?;
        assert!(
            !String::from_utf8_lossy(&bytes).contains(PASSWORD),
            "{file}"
        );
    }
    Ok(())
}

/// Arguments that are unknown while planning, its own or the provider's, put
/// the opening off until the apply.
#[test]
fn a_login_waits_for_what_is_unknown() -> Result<()> {
    for (login, provider) in [
        ("audience = probe_thing.first.id", "abspath(path.module)"),
        (
            r#"audience = "us""#,
            r#"dirname("${abspath(path.module)}/${probe_thing.first.id}")"#,
        ),
    ] {
        let Some(workspace) = Workspace::of(&format!(
            r#"{PROVIDER}
            resource "probe_thing" "first" {{}}
            provider "probe" {{
              alias     = "later"
              directory = {provider}
            }}
            ephemeral "probe_login" "it" {{
              provider = probe.later
              {login}
            }}
            provider "probe" {{
              alias     = "signed_in"
              directory = abspath(path.module)
              password  = ephemeral.probe_login.it.password
            }}
            resource "probe_record" "it" {{
              provider = probe.signed_in
              name     = "a"
            }}
            "#
        ))?
        else {
            return Ok(());
        };
        if !knows(Feature::EphemeralResources)? {
            return Ok(());
        }
        workspace.run(&["plan", "-out=plan"], &[])?.success()?;
        assert_eq!(workspace.events()?, [""; 0], "{login}");
        workspace.run(&["apply", "plan"], &[])?.success()?;
        let events = workspace.events()?;
        let order = ["open", "configured with 28 letters", "create", "close"];
        assert_eq!(events, order, "{login}");
    }
    Ok(())
}

/// A login that cannot be had is an error with our words, and so is a panic.
#[test]
fn a_login_that_fails_is_explained() -> Result<()> {
    for (audience, expected) in [
        ("nobody", "Error: Cannot log in"),
        ("panic", "asked to panic in open"),
    ] {
        let Some(workspace) = Workspace::of(&format!(
            "{PROVIDER}ephemeral \"probe_login\" \"it\" {{\n  audience = {audience:?}\n}}\n"
        ))?
        else {
            return Ok(());
        };
        if !knows(Feature::EphemeralResources)? {
            return Ok(());
        }
        let run = workspace.run(&["plan"], &[])?;
        assert_eq!(run.status, Some(1));
        assert!(run.words().contains(expected), "{}", run.text);
        assert!(!run.text.contains("Plugin did not respond"), "{}", run.text);
    }
    Ok(())
}

/// An identity is in the state after an apply, and is filled in where an older
/// CLI left none; by it an object is imported, and the plan is empty.
#[test]
fn identities_are_kept_and_lead_to_objects() -> Result<()> {
    let Some(workspace) = Workspace::of(&format!(
        "{PROVIDER}resource \"probe_record\" \"it\" {{\n  name = \"a\"\n}}\n"
    ))?
    else {
        return Ok(());
    };
    let plan = workspace.run(&["plan"], &[])?;
    assert!(plan.text.contains("Plan: 1 to add"), "{}", plan.text);
    assert!(!plan.text.contains("Failed"), "{}", plan.text);
    workspace.apply()?.success()?;
    if !knows(Feature::Identity)? {
        // It is absent, without an error.
        assert_eq!(workspace.object()?["identity"], Json::Null);
        return Ok(());
    }
    assert_eq!(workspace.object()?["identity"], json!({ "id": "record-a" }));

    workspace.edit_state(|object| {
        for member in ["identity", "identity_schema_version"] {
            object.as_object_mut()?.remove(member)?;
        }
        Some(())
    })?;
    workspace
        .run(&["apply", "-refresh-only", "-auto-approve"], &[])?
        .success()?;
    assert_eq!(workspace.object()?["identity"], json!({ "id": "record-a" }));

    workspace.write(&format!(
        r#"{PROVIDER}
        resource "probe_record" "it" {{
          name  = "a"
          title = "A"
        }}
        "#
    ))?;
    workspace.apply()?.success()?;
    assert_eq!(workspace.object()?["identity"], json!({ "id": "record-a" }));

    std::fs::remove_file(workspace.path("terraform.tfstate"))?;
    workspace.write(&format!(
        r#"{PROVIDER}
        resource "probe_record" "it" {{
          name  = "a"
          title = "A"
        }}
        import {{
          to       = probe_record.it
          identity = {{ id = "record-a" }}
        }}
        "#
    ))?;
    let run = workspace.apply()?;
    let imported = "1 imported, 0 added, 0 changed, 0 destroyed";
    assert!(run.text.contains(imported), "{}", run.text);
    assert!(!run.text.contains("Failed"), "{}", run.text);
    workspace.expect_noop()?;
    assert_eq!(workspace.object()?["identity"], json!({ "id": "record-a" }));

    // A replacement is another object.
    workspace.write(&format!(
        "{PROVIDER}resource \"probe_record\" \"it\" {{\n  name = \"b\"\n}}\n"
    ))?;
    workspace.apply()?.success()?;
    assert_eq!(workspace.object()?["identity"], json!({ "id": "record-b" }));
    Ok(())
}

/// What a CLI writes for an imported object plans empty: no computed
/// attributes, no blocks that are not there, our own arguments with their
/// defaults.
#[test]
fn generated_configuration_plans_empty() -> Result<()> {
    let Some(workspace) = Workspace::of(&format!(
        r#"{PROVIDER}
        resource "probe_record" "plain" {{
          name = "plain"
        }}
        resource "probe_record" "rich" {{
          name   = "rich"
          title  = "Rich"
          public = true
          labels = {{ colour = "red" }}
          note {{
            text = "x"
          }}
        }}
        "#
    ))?
    else {
        return Ok(());
    };
    workspace.apply()?.success()?;
    std::fs::remove_file(workspace.path("terraform.tfstate"))?;
    let by = match knows(Feature::Identity)? {
        true => r#"identity = { id = "record-plain" }"#,
        false => r#"id = "record-plain""#,
    };
    workspace.write(&format!(
        r#"{PROVIDER}
        import {{
          to = probe_record.plain
          {by}
        }}
        import {{
          to = probe_record.rich
          id = "record-rich"
        }}
        "#
    ))?;
    let run = workspace.run(&["plan", "-generate-config-out=generated.tf"], &[])?;
    let imported = "2 to import, 0 to add, 0 to change, 0 to destroy";
    assert!(run.text.contains(imported), "{}", run.text);
    let generated = std::fs::read_to_string(workspace.path("generated.tf"))?;
    for absent in ["id ", "revision", "note {\n  }", "timeouts"] {
        assert!(!generated.contains(absent), "{absent:?} is in {generated}");
    }
    assert!(generated.contains("force_delete = false"), "{generated}");
    workspace.apply()?.success()?;
    workspace.expect_noop()
}

/// A block of another provider moves here: from either registry, with its time
/// limits, without what its provider remembered, and the plan is empty.
#[test]
fn objects_of_another_provider_move_here() -> Result<()> {
    for registry in ["registry.terraform.io", "registry.opentofu.org"] {
        let Some(workspace) = Workspace::of(&format!(
            "{PROVIDER}resource \"probe_record\" \"it\" {{\n  name = \"a\"\n}}\n"
        ))?
        else {
            return Ok(());
        };
        if !knows(Feature::Moves)? {
            return Ok(());
        }
        workspace.apply()?.success()?;
        workspace.write(&format!(
            r#"{PROVIDER}
            resource "probe_record" "it" {{
              name = "a"
              timeouts {{
                create = "1h30m"
              }}
            }}
            moved {{
              from = oci_record.it
              to   = probe_record.it
            }}
            "#
        ))?;
        workspace.edit(|state| {
            let resource = state.pointer_mut("/resources/0")?;
            resource["type"] = "oci_record".into();
            resource["provider"] = format!("provider[\"{registry}/oracle/oci\"]").into();
            let object = resource.pointer_mut("/instances/0")?.as_object_mut()?;
            object.remove("identity");
            object.remove("identity_schema_version");
            object.insert("private".to_owned(), STANDARD.encode("theirs").into());
            let attributes = json!({
                "id": "record-a",
                "display_name": "a",
                "defined_tags": { "Oracle-Tags.CreatedBy": "somebody" },
                "timeouts": { "create": "1h30m", "delete": null },
            });
            object.insert("attributes".to_owned(), attributes);
            Some(())
        })?;
        let run = workspace.apply()?;
        let nothing = "0 added, 0 changed, 0 destroyed";
        assert!(run.text.contains(nothing), "{}", run.text);
        let object = workspace.object()?;
        assert_eq!(object["attributes"]["timeouts"]["create"], "1h30m");
        assert_eq!(object["private"], Json::Null);
        if knows(Feature::Identity)? {
            assert_eq!(object["identity"], json!({ "id": "record-a" }));
        }
        workspace.expect_noop()?;
    }
    Ok(())
}

/// Something goes wrong once the object exists: the object is in the state with
/// what was remembered of it. It is tainted only when it is of no use.
#[test]
fn an_object_that_exists_is_in_the_state() -> Result<()> {
    for (fault, exit, status, step) in [
        ("kept fail", 1, json!("tainted"), "later"),
        ("kept panic", 1, json!("tainted"), "made"),
        ("usable fail", 0, Json::Null, "later"),
        ("usable panic", 0, Json::Null, "made"),
    ] {
        let Some(workspace) = Workspace::of(&format!(
            "{PROVIDER}resource \"probe_record\" \"it\" {{\n  name  = \"a\"\n  fault = {fault:?}\n}}\n"
        ))?
        else {
            return Ok(());
        };
        let run = workspace.apply()?;
        assert_eq!(run.status, Some(exit), "{fault}: {}", run.text);
        let kind = if exit == 0 { "Warning" } else { "Error" };
        let summary = match fault.ends_with("panic") {
            true => format!("{kind}: The provider panicked"),
            false => format!("{kind}: Cannot label"),
        };
        assert!(run.text.contains(&summary), "{fault}: {}", run.text);
        let lost = "may exist without being in the state";
        assert!(!run.words().contains(lost), "{fault}: {}", run.text);

        let object = workspace.object()?;
        assert_eq!(object["attributes"]["id"], "record-a", "{fault}");
        assert_eq!(object["status"], status, "{fault}");
        let private = STANDARD.decode(object["private"].as_str().context("private")?)?;
        let private: Json = serde_json::from_slice(&private)?;
        assert_eq!(private["values"]["step"], STANDARD.encode(step), "{fault}");
        if exit == 0 {
            workspace.expect_noop()?;
        }
    }
    Ok(())
}

/// A create that has had its time is told so, and says which argument gives it
/// more; the object is in the state.
#[test]
fn a_timeout_names_the_argument() -> Result<()> {
    for (fault, expected) in [
        (
            "kept wait",
            "Error: Record is not ready with probe_record.it, on main.tf line 11, in resource \
             \"probe_record\" \"it\": 11: resource \"probe_record\" \"it\" { It was not ready. It \
             took longer than 1s, the time that a create has. To give it more, set: timeouts { \
             create = \"2s\" }",
        ),
        (
            "kept sleep",
            "The create did not end when its time was over, and was given up. It took longer \
             than 1s, the time that a create has.",
        ),
    ] {
        let Some(workspace) = Workspace::of(&format!(
            "{PROVIDER}resource \"probe_record\" \"it\" {{\n  name  = \"a\"\n  fault = {fault:?}\n  timeouts {{\n    create = \"1s\"\n  }}\n}}\n"
        ))?
        else {
            return Ok(());
        };
        let run = workspace.apply()?;
        assert_eq!(run.status, Some(1));
        let text = run.words();
        assert!(text.contains(expected), "{fault}: {text}");
        let object = workspace.object()?;
        assert_eq!(object["status"], "tainted");
        assert_eq!(object["attributes"]["timeouts"]["create"], "1s");
    }
    Ok(())
}

/// A change of nothing but time limits is an update of the state: nothing is
/// recomputed, and no request is sent. A delete goes by what the state holds.
#[test]
fn time_limits_change_nothing_else() -> Result<()> {
    let configuration = |timeouts: &str| {
        format!(
            "{PROVIDER}resource \"probe_record\" \"it\" {{\n  name  = \"a\"\n  fault = \"delete never ends\"\n{timeouts}}}\n"
        )
    };
    let Some(workspace) =
        Workspace::of(&configuration("  timeouts {\n    create = \"5m\"\n  }\n"))?
    else {
        return Ok(());
    };
    workspace.apply()?.success()?;
    workspace.expect_noop()?;
    workspace.events()?;

    workspace.write(&configuration("  timeouts {\n    delete = \"1s\"\n  }\n"))?;
    let plan = workspace.run(&["plan"], &[])?;
    assert!(!plan.text.contains("known after apply"), "{}", plan.text);
    let run = workspace.apply()?;
    assert!(
        run.text.contains("0 added, 1 changed, 0 destroyed"),
        "{}",
        run.text
    );
    assert!(!workspace.events()?.contains(&"update".to_owned()));
    assert_eq!(workspace.object()?["attributes"]["revision"], 1);
    workspace.expect_noop()?;

    let run = workspace.run(&["destroy", "-auto-approve"], &[])?;
    assert_eq!(run.status, Some(1));
    let advice = "The record is still there. It took longer than 1s, the time that a delete has.";
    assert!(run.words().contains(advice), "{}", run.text);
    assert_eq!(workspace.object()?["attributes"]["id"], "record-a");

    workspace.write(&configuration(
        "  timeouts {\n    delete = \"5 minutes\"\n  }\n",
    ))?;
    let run = workspace.run(&["validate"], &[])?;
    let problem = r#"Argument "timeouts.delete" must be a duration such as "90s", "20m" or "1h30m", not "5 minutes"."#;
    assert!(run.words().contains(problem), "{}", run.text);
    Ok(())
}

/// Ctrl-C is no time-out, and is not taken for one.
#[test]
fn an_interrupt_is_no_timeout() -> Result<()> {
    let Some(workspace) = Workspace::of(&format!(
        "{PROVIDER}resource \"probe_record\" \"it\" {{\n  name  = \"a\"\n  fault = \"kept wait\"\n}}\n"
    ))?
    else {
        return Ok(());
    };
    let (status, text) = workspace.interrupted_when("record-a.json")?;
    assert_eq!(status, Some(1));
    assert!(text.contains("The run was interrupted."), "{text}");
    assert!(!text.contains("It took longer"), "{text}");
    assert_eq!(workspace.object()?["status"], "tainted");
    Ok(())
}

/// The CLI is killed while an object is made: the provider ends by itself, and
/// the next run is none the worse. Nobody could have been told of the object.
#[test]
fn a_killed_host_leaves_no_provider() -> Result<()> {
    let Some(workspace) = Workspace::of(&format!(
        "{PROVIDER}resource \"probe_record\" \"it\" {{\n  name  = \"a\"\n  fault = \"kept sleep\"\n}}\n"
    ))?
    else {
        return Ok(());
    };
    let mut host = workspace.command(&["apply", "-auto-approve"]).spawn()?;
    let waited = workspace.wait_for("record-a.json");
    let providers = children(host.id())?;
    host.kill()?;
    host.wait()?;
    waited?;
    ensure!(!providers.is_empty(), "the provider was not running");
    let started = std::time::Instant::now();
    while providers.iter().any(|pid| alive(*pid)) {
        ensure!(started.elapsed() < Duration::from_secs(5), "it still runs");
        std::thread::sleep(Duration::from_millis(50));
    }
    // The file is there, because it is what a CLI locks.
    let state = std::fs::read_to_string(workspace.path("terraform.tfstate")).unwrap_or_default();
    assert!(!state.contains("probe_record"), "{state}");

    workspace.write(&format!(
        "{PROVIDER}resource \"probe_record\" \"it\" {{\n  name = \"a\"\n}}\n"
    ))?;
    // The CLI's own lock may have stayed behind.
    workspace
        .run(&["apply", "-auto-approve", "-lock=false"], &[])?
        .success()?;
    assert_eq!(workspace.object()?["attributes"]["id"], "record-a");
    Ok(())
}

/// Processes that a process started, and theirs.
fn children(pid: u32) -> Result<Vec<u32>> {
    let output = Command::new("ps")
        .args(["-A", "-o", "pid=,ppid="])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let rows: Vec<(u32, u32)> = text
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(rows.iter().filter(|row| row.1 == parent).map(|row| row.0));
        next += 1;
    }
    found.remove(0);
    Ok(found)
}

/// A zombie is as good as dead: nobody may be there to bury it.
fn alive(pid: u32) -> bool {
    let output = Command::new("ps")
        .args(["-o", "stat=", "-p", &pid.to_string()])
        .output();
    output.is_ok_and(|output| {
        let state = String::from_utf8_lossy(&output.stdout);
        !state.trim().is_empty() && !state.trim().starts_with('Z')
    })
}

impl Run {
    /// The text without its line breaks, which a CLI puts where it likes, and
    /// without its frames.
    fn words(&self) -> String {
        let words = self.text.split_whitespace();
        words
            .filter(|word| *word != "│")
            .collect::<Vec<_>>()
            .join(" ")
    }
}

impl Workspace {
    pub(crate) fn apply(&self) -> Result<Run> {
        self.run(&["apply", "-auto-approve"], &[])
    }

    fn expect_noop(&self) -> Result<()> {
        let run = self.run(&["plan", "-detailed-exitcode"], &[])?;
        ensure!(run.status == Some(0), "the plan is not empty: {}", run.text);
        Ok(())
    }

    /// What the provider noted since this was last asked, but for reading.
    fn events(&self) -> Result<Vec<String>> {
        let path = self.path("events");
        let text = match path.exists() {
            true => std::fs::read_to_string(&path)?,
            false => String::new(),
        };
        std::fs::write(path, "")?;
        let events = text.lines().filter(|event| *event != "read");
        Ok(events.map(str::to_owned).collect())
    }

    /// Changes the state behind the CLI's back.
    fn edit(&self, change: impl FnOnce(&mut Json) -> Option<()>) -> Result<()> {
        let path = self.path("terraform.tfstate");
        let mut state: Json = serde_json::from_slice(&std::fs::read(&path)?)?;
        change(&mut state).context("the state has another form")?;
        Ok(std::fs::write(path, state.to_string())?)
    }

    /// The same, for the only object in it.
    fn edit_state(&self, change: impl FnOnce(&mut Json) -> Option<()>) -> Result<()> {
        self.edit(|state| change(state.pointer_mut("/resources/0/instances/0")?))
    }

    /// Applies, and sends Ctrl-C when the file is there.
    fn interrupted_when(&self, file: &str) -> Result<(Option<i32>, String)> {
        use std::os::unix::process::CommandExt as _;

        let child = self
            .command(&["apply", "-auto-approve"])
            .process_group(0)
            .spawn()?;
        let waited = self.wait_for(file);
        signal("INT", &format!("-{}", child.id()))?;
        let run = Run::new(&child.wait_with_output()?);
        waited.with_context(|| run.text.clone())?;
        Ok((run.status, run.words()))
    }

    fn wait_for(&self, file: &str) -> Result<()> {
        let started = std::time::Instant::now();
        while !self.path(file).exists() {
            ensure!(
                started.elapsed() < Duration::from_secs(60),
                "{file} did not appear"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

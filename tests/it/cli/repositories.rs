//! Repositories that were there before, and a provider that was killed.

use std::{fs, path::Path};

use serde_json::{Value as Json, json};

use super::root;
use crate::support::{
    self, Feature,
    cli::{Workspace, copy_files},
    provider::Cloud,
};

/// Makes a repository as somebody else would; gives its OCID.
async fn make(cloud: &Cloud, compartment_id: &str, name: &str) -> anyhow::Result<String> {
    let mut theirs = cloud.host.resource("ocir_repository");
    let config = json!({ "compartment_id": compartment_id, "display_name": name });
    let state = theirs.apply(config).await?;
    Ok(state["id"].as_str().unwrap_or_default().to_owned())
}

/// A folder with the files of a scenario, signed in.
fn scenario(name: &str, cloud: &Cloud) -> anyhow::Result<Option<Workspace>> {
    let Some(mut workspace) = Workspace::new("")? else {
        return Ok(None);
    };
    fs::remove_file(workspace.path().join("main.tf"))?;
    copy_files(
        &root().join("examples/scenarios").join(name),
        &workspace.path(),
    )?;
    workspace.sign_in(&cloud.emulator)?;
    Ok(Some(workspace))
}

/// Two repositories are imported by where they are, a third one, that a push made in
/// the root compartment, is taken over, and the plan afterwards is empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adopting_scenario() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let Some(workspace) = scenario("adopting", &cloud)? else {
        return Ok(());
    };
    for name in ["team/api", "team/web"] {
        make(&cloud, &cloud.compartment(), name).await?;
    }
    let worker = make(&cloud, &cloud.emulator.seed().tenancy_id, "team/worker").await?;
    cloud.push_small("team/worker", "1.0.0").await?;
    workspace.init().await?;

    let plan = workspace.run(&["plan", "-input=false"]).await?.succeeded();
    let expected = "Plan: 2 to import, 1 to add, 0 to change, 0 to destroy.";
    assert!(plan.contains(expected), "{plan}");
    let apply = workspace
        .run(&["apply", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    let expected = "Resources: 2 imported, 1 added, 0 changed, 0 destroyed.";
    assert!(apply.contains(expected), "{apply}");
    let warning = "Warning: Existing container repository taken over";
    assert!(
        apply.contains(warning) && apply.contains(&worker),
        "{apply}"
    );
    workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(0);

    let there = cloud.repository("team/worker");
    assert_eq!(there["id"], json!(worker));
    assert_eq!(there["compartmentId"], json!(cloud.compartment()));
    assert_eq!(there["imageCount"], json!(1));
    assert_eq!(cloud.emulator.repositories().len(), 3);
    Ok(())
}

/// The state of Oracle's provider becomes ours by `moved` blocks, and nothing is
/// changed. The old state names its provider, so that a host installs and starts it;
/// it asks it nothing about what moved, and a stand-in does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrating_scenario() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let Some(workspace) = scenario("migrating", &cloud)? else {
        return Ok(());
    };
    let mut ids = Vec::new();
    for name in ["team/web", "team/api", "team/worker"] {
        ids.push(make(&cloud, &cloud.compartment(), name).await?);
    }
    let readme = json!({ "content": "The web application of our team.", "format": "TEXT_PLAIN" });
    let web = json!({ "readme": readme, "freeformTags": { "team": "web" } });
    cloud.emulator.edit_repository("team/web", web);
    let mirror = workspace.path().join("../mirror");
    stand_in_for_oracles_provider(&mirror)?;

    let theirs = |index: usize, name: &str, more: Json| -> anyhow::Result<Json> {
        let text = include_str!("../../fixtures/oracle-provider/container_repository.json");
        let mut state: Json = serde_json::from_str(text)?;
        state["id"] = json!(ids[index]);
        state["compartment_id"] = json!(cloud.compartment());
        state["display_name"] = json!(name);
        state["defined_tags"] = json!({ "Oracle-Tags.CreatedBy": "default/ana@example.com" });
        for (member, value) in more.as_object().into_iter().flatten() {
            state[member] = value.clone();
        }
        Ok(state)
    };
    let bare = || json!({ "readme": [], "freeform_tags": {} });
    let resource = |name: &str, instances: Vec<Json>| {
        json!({
            "mode": "managed",
            "type": "oci_artifacts_container_repository",
            "name": name,
            "provider": "provider[\"registry.terraform.io/oracle/oci\"]",
            "instances": instances,
        })
    };
    let instance = |key: Option<&str>, attributes: Json| {
        // What it keeps beside the state: time limits, usually.
        let mut instance = json!({
            "schema_version": 0,
            "attributes": attributes,
            "private": "eyJlMmJmYjczMC1lY2FhLTExZTYtOGY4OC0zNDM2M2JjN2M0YzAiOnsiY3JlYXRlIjoxMjAwMDAwMDAwMDAwfX0=",
        });
        if let Some(key) = key {
            instance["index_key"] = json!(key);
        }
        instance
    };
    let web = theirs(0, "team/web", json!({ "readme": [readme] }))?;
    let services = vec![
        instance(Some("api"), theirs(1, "team/api", bare())?),
        instance(Some("worker"), theirs(2, "team/worker", bare())?),
    ];
    let state = json!({
        "version": 4,
        "terraform_version": "1.9.0",
        "serial": 7,
        "lineage": "3f1a1c9e-5a0b-4b60-9d5e-1a2b3c4d5e6f",
        "outputs": {},
        "resources": [
            resource("services", services),
            resource("web", vec![instance(None, web)]),
        ],
    });
    workspace.write("terraform.tfstate", &state.to_string())?;
    workspace.init().await?;

    cloud.emulator.clear_requests();
    let plan = workspace.run(&["plan", "-input=false"]).await?.succeeded();
    let expected = "Plan: 0 to add, 0 to change, 0 to destroy.";
    assert!(plan.contains(expected), "{plan}");
    assert_eq!(plan.matches(" has moved to ").count(), 3, "{plan}");
    let reads = [("GetContainerRepository".to_owned(), 3)];
    assert_eq!(cloud.operations(), reads.into());
    let apply = ["apply", "-input=false", "-auto-approve"];
    workspace.run(&apply).await?.succeeded();
    workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(0);

    // From now on nobody needs the other provider.
    fs::remove_dir_all(mirror.join("registry.terraform.io/oracle"))?;
    fs::remove_dir_all(workspace.path().join(".terraform"))?;
    fs::remove_file(workspace.path().join(".terraform.lock.hcl"))?;
    workspace.init().await?;
    workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(0);
    Ok(())
}

/// Puts a provider where a host looks for oracle/oci.
fn stand_in_for_oracles_provider(mirror: &Path) -> anyhow::Result<()> {
    let ours = mirror.join("registry.terraform.io/motando/ocir");
    let version = fs::read_dir(&ours)?.next().expect("it is installed")?;
    let platform = fs::read_dir(version.path())?.next().expect("for one")?;
    let program = fs::read_dir(platform.path())?
        .next()
        .expect("it is there")?;
    let folder = mirror
        .join("registry.terraform.io/oracle/oci/7.0.0")
        .join(platform.file_name());
    fs::create_dir_all(&folder)?;
    fs::copy(program.path(), folder.join("terraform-provider-oci_v7.0.0"))?;
    Ok(())
}

pub(super) const PREAMBLE: &str = r#"
terraform {
  required_providers {
    ocir = { source = "motando/ocir" }
  }
}
"#;

/// The configuration that a CLI writes for an import plans nothing but the import:
/// of a repository with everything set, and of a bare one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_configuration() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let Some(mut workspace) = Workspace::new(PREAMBLE)? else {
        return Ok(());
    };
    workspace.sign_in(&cloud.emulator)?;
    let web = make(&cloud, &cloud.compartment(), "team/web").await?;
    let bare = make(&cloud, &cloud.compartment(), "bare").await?;
    let everything = json!({
        "isPublic": true,
        "readme": { "content": "# Web\n\nSays \"${hello}\".\n", "format": "TEXT_MARKDOWN" },
        "freeformTags": { "team": "web" },
        "definedTags": { "Ops": { "Owner": "ana" }, "Oracle-Tags": { "CreatedBy": "ana" } },
    });
    cloud.emulator.edit_repository("team/web", everything);
    let has_identity = support::knows(Feature::Identity)?;
    let by_identity = match has_identity {
        true => format!("identity = {{ id = \"{bare}\" }}"),
        false => format!("id = \"{bare}\""),
    };
    workspace.write(
        "import.tf",
        &format!(
            "import {{\n  to = ocir_repository.web\n  id = \"{web}\"\n}}\nimport {{\n  to = ocir_repository.bare\n  {by_identity}\n}}\n"
        ),
    )?;
    workspace.init().await?;
    let generate = ["plan", "-input=false", "-generate-config-out=generated.tf"];
    let plan = workspace.run(&generate).await?.succeeded();
    let expected = "Plan: 2 to import, 0 to add, 0 to change, 0 to destroy.";
    assert!(plan.contains(expected), "{plan}");
    let generated = fs::read_to_string(workspace.path().join("generated.tf"))?;
    assert!(!generated.contains("Oracle-Tags"), "{generated}");
    workspace
        .run(&["apply", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(0);
    let state = workspace.state()?;
    for resource in state["resources"].as_array().into_iter().flatten() {
        let recorded = &resource["instances"][0];
        let expected = match has_identity {
            true => json!({ "id": recorded["attributes"]["id"] }),
            false => Json::Null,
        };
        assert_eq!(recorded["identity"], expected);
    }
    Ok(())
}

/// The provider is killed after the service made the repository and before anybody
/// heard of it. The next apply finds the name taken and shows the way to import it;
/// with `adopt_existing` it takes it over.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_answer() -> anyhow::Result<()> {
    let configuration = |more: &str| {
        format!(
            "{PREAMBLE}\nvariable \"compartment_id\" {{}}\nresource \"ocir_repository\" \"web\" {{\n  compartment_id = var.compartment_id\n  \
             display_name = \"team/web\"\n{more}}}\n"
        )
    };
    let cloud = Cloud::start().await?;
    let Some(mut workspace) = Workspace::new(&configuration(""))? else {
        return Ok(());
    };
    workspace.sign_in(&cloud.emulator)?;
    workspace.init().await?;
    let apply = ["apply", "-input=false", "-auto-approve"];

    cloud.emulator.fail_next(
        "CreateContainerRepository",
        ocir::emulator::Fault::cut_answer(),
    );
    let silence = ocir::emulator::Fault::delay(std::time::Duration::from_secs(60));
    cloud
        .emulator
        .fail_always("CreateContainerRepository", silence);
    let is_made = || !cloud.emulator.repositories().is_empty();
    let run = workspace.start_until(&apply, is_made).await?;
    run.without_provider().await?;
    cloud.emulator.clear_faults();

    let id = cloud.repository("team/web")["id"].clone();
    let errors = workspace.run(&apply).await?.errors();
    assert!(errors.contains(&format!("id = {id}")), "{errors}");
    assert!(errors.contains("adopt_existing = true"), "{errors}");

    workspace.write("main.tf", &configuration("  adopt_existing = true\n"))?;
    workspace.run(&apply).await?.succeeded();
    assert_eq!(cloud.repository("team/web")["id"], id);
    workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(0);
    Ok(())
}

/// What the provider needs does not grow with the number of repositories: its largest
/// size in an apply and in a refresh of many is that of few.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_flat() -> anyhow::Result<()> {
    let configuration = format!(
        "{PREAMBLE}\nvariable \"compartment_id\" {{}}\nvariable \"number\" {{}}\nresource \"ocir_repository\" \"many\" {{\n  \
         count = var.number\n  compartment_id = var.compartment_id\n  display_name = \"many/r${{count.index}}\"\n}}\n"
    );
    let cloud = Cloud::start().await?;
    let Some(mut workspace) = Workspace::new(&configuration)? else {
        return Ok(());
    };
    workspace.sign_in(&cloud.emulator)?;
    workspace.init().await?;
    let mut peaks = Vec::new();
    for number in [20, 200] {
        workspace.set("TF_VAR_number", number.to_string());
        for command in [
            &["apply", "-input=false", "-auto-approve"][..],
            &["plan", "-input=false", "-detailed-exitcode"][..],
        ] {
            let (run, peak) = workspace.start(command)?.measured().await?;
            run.succeeded();
            assert!(peak > 0, "the provider was not seen");
            peaks.push(peak / 1024);
        }
        assert_eq!(cloud.emulator.repositories().len(), number);
    }
    eprintln!("the provider's largest size, few and many, apply and plan: {peaks:?} MiB");
    let (few, many) = (peaks[0].max(peaks[1]), peaks[2].max(peaks[3]));
    assert!(many < few + 8, "{peaks:?} MiB");
    Ok(())
}

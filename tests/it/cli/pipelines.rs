//! The pipelines under `examples/`: they are YAML, and what they run does what it
//! says, in a real shell with a real CLI.

use std::{fs, path::Path, process::Command};

use ocir::emulator::Emulator;
use serde_json::{Value as Json, json};

use super::root;
use crate::support::{cli::Workspace, skipped};

const FILES: [&str; 4] = [
    "github-actions/registry.yml",
    "gitlab-ci/.gitlab-ci.yml",
    "oci-devops/build_spec.yaml",
    "oci-devops/drift_spec.yaml",
];

const CONFIGURATION: &str = r#"
terraform {
  required_providers {
    ocir = { source = "motando/ocir" }
  }
}
provider "ocir" {}
variable "compartment_id" {}
resource "ocir_repository" "this" {
  compartment_id = var.compartment_id
  display_name   = "motando-webapp"
}
resource "ocir_auth_token" "this" {
  description       = "Used by Docker"
  wait_until_usable = false
}
"#;

/// What a pipeline runs, by what it is for.
struct Pipeline {
    name: &'static str,
    /// The shell that its host runs commands with.
    shell: &'static [&'static str],
    plan: Vec<String>,
    apply: Vec<String>,
    drift: Vec<String>,
}

/// GitHub's for `shell: bash`.
const GITHUB: &[&str] = &["bash", "--noprofile", "--norc", "-eo", "pipefail"];
/// The image has no bash.
const GITLAB: &[&str] = &["sh", "-e"];
const DEVOPS: &[&str] = &["bash"];

/// Each pipeline plans without a change, makes what is configured, finds nothing at night,
/// and fails at night after somebody changed something by hand. No secret is in what it
/// prints.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelines() -> anyhow::Result<()> {
    let Some(parsed) = parse().await? else {
        return Ok(());
    };
    for pipeline in read(&parsed)? {
        let emulator = Emulator::builder().start().await?;
        let Some(mut workspace) = Workspace::new(CONFIGURATION)? else {
            return Ok(());
        };
        workspace.sign_in(&emulator)?;
        let (name, shell) = (pipeline.name, pipeline.shell);
        let mut printed = String::new();
        if !pipeline.plan.is_empty() {
            let (status, text) = run(&workspace, shell, &pipeline.plan).await?;
            assert_eq!(status, 0, "{name}: {text}");
            assert!(text.contains("Plan: 2 to add"), "{name}: {text}");
            assert!(emulator.repositories().is_empty(), "{name} made something");
            printed += &text;
        }
        let (status, text) = run(&workspace, shell, &pipeline.apply).await?;
        assert_eq!(status, 0, "{name}: {text}");
        assert_eq!(emulator.repositories().len(), 1, "{name}: {text}");
        printed += &text;

        let (status, text) = run(&workspace, shell, &pipeline.drift).await?;
        assert_eq!(status, 0, "{name}: {text}");
        printed += &text;
        assert!(
            text.contains("What is there is what the configuration says."),
            "{name}: {text}"
        );

        emulator.edit_repository("motando-webapp", json!({ "isPublic": true }));
        let (status, text) = run(&workspace, shell, &pipeline.drift).await?;
        assert_eq!(status, 1, "{name}: {text}");
        assert!(text.contains("was changed by hand"), "{name}: {text}");
        assert!(text.contains("is_public"), "{name}: {text}");
        assert_eq!(
            emulator.repositories()[0]["isPublic"],
            json!(true),
            "{name} repaired it"
        );
        printed += &text;

        // A plan that fails is no drift.
        workspace.set("OCI_ENDPOINT", "not an address");
        let (status, text) = run(&workspace, shell, &pipeline.drift).await?;
        assert_eq!(status, 1, "{name}: {text}");
        assert!(!text.contains("was changed by hand"), "{name}: {text}");
        printed += &text;

        let state = workspace.state()?;
        let resources = state["resources"].as_array().into_iter().flatten();
        let mut tokens = resources
            .filter_map(|resource| resource["instances"][0]["attributes"]["token"].as_str());
        let token = tokens.next().expect("the state has the token");
        let key = &emulator.seed().private_key_pem;
        let secrets = key
            .lines()
            .filter(|line| line.len() == 64)
            .chain([token, IDENTITY]);
        for secret in secrets {
            assert!(!printed.contains(secret), "{name} printed a secret");
        }
    }
    Ok(())
}

/// What a pipeline's host says to sign in with.
const IDENTITY: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyZWdpc3RyeSJ9.c2ln";

/// GitHub's step that signs in asks for the job's identity, keeps it where nobody else may
/// read it, prints nothing of it, and tells the steps that follow where it is. When GitHub
/// refuses it fails, though that is not the last command of a pipe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_in_at_github() -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(parsed) = parse().await? else {
        return Ok(());
    };
    for program in ["curl", "jq"] {
        let found = Command::new(program).arg("--version").output().is_ok();
        if !found {
            assert!(std::env::var_os("CI").is_none(), "there is no {program}");
            skipped(&format!("there is no {program}"));
            return Ok(());
        }
    }
    for job in ["plan", "apply", "drift"] {
        let steps = parsed[0]["jobs"][job]["steps"]
            .as_array()
            .into_iter()
            .flatten();
        let sign_in: Vec<&str> = steps
            .filter(|step| step["name"] == "Sign in")
            .filter_map(|step| step["run"].as_str())
            .collect();
        let [sign_in] = sign_in[..] else {
            anyhow::bail!("{job} signs in {} times", sign_in.len());
        };
        for (answer, succeeds) in [
            (format!("{{\"value\":\"{IDENTITY}\"}}"), true),
            ("{}".to_owned(), false),
            (String::new(), false),
        ] {
            let (address, asked) = answer_once(answer).await?;
            let folder = tempfile::tempdir()?;
            let variables = folder.path().join("env");
            let mut shell = Command::new(GITHUB[0]);
            shell
                .args(&GITHUB[1..])
                .args(["-c", sign_in])
                .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "asks-for-it")
                .env(
                    "ACTIONS_ID_TOKEN_REQUEST_URL",
                    format!("http://{address}/token?api-version=2.0"),
                )
                .env("OCI_TOKEN_EXCHANGE_CLIENT_ID", "client")
                .env("RUNNER_TEMP", folder.path())
                .env("GITHUB_ENV", &variables)
                .env_remove("http_proxy");
            let output = tokio::task::spawn_blocking(move || shell.output()).await??;
            let request = asked.await??;
            assert!(
                request.starts_with("GET /token?api-version=2.0&audience=client "),
                "{request}"
            );
            assert!(
                request
                    .to_lowercase()
                    .contains("authorization: bearer asks-for-it"),
                "{request}"
            );
            let printed = [output.stdout, output.stderr].concat();
            let printed = String::from_utf8_lossy(&printed);
            assert_eq!(output.status.success(), succeeds, "{job}: {printed}");
            assert!(!printed.contains(IDENTITY) && !printed.contains("asks-for-it"));
            if succeeds {
                let text = fs::read_to_string(&variables)?;
                let path = text
                    .trim()
                    .strip_prefix("OCI_WORKLOAD_IDENTITY_TOKEN_PATH=");
                let path = path.expect("the variable is set");
                assert_eq!(fs::read_to_string(path)?, IDENTITY);
                assert_eq!(fs::metadata(path)?.permissions().mode() & 0o777, 0o600);
            }
        }
    }
    Ok(())
}

/// GitLab hands the identity over in a variable; it is in a file of the job's, which only
/// the job may read, until the job is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_in_at_gitlab() -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(parsed) = parse().await? else {
        return Ok(());
    };
    let template = &parsed[1][".terraform"];
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("identity");
    let run = |commands: Vec<String>| {
        Command::new(GITLAB[0])
            .args(&GITLAB[1..])
            .args(["-c", &commands.join("\n")])
            .env("IDENTITY_TOKEN", IDENTITY)
            .env("OCI_WORKLOAD_IDENTITY_TOKEN_PATH", &path)
            .status()
    };
    assert!(run(lines(&template["before_script"]))?.success());
    assert_eq!(fs::read_to_string(&path)?, IDENTITY);
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    assert!(run(lines(&template["after_script"]))?.success());
    assert!(!path.exists());
    for job in ["plan", "apply", "drift"] {
        assert_eq!(parsed[1][job]["extends"], ".terraform");
    }
    Ok(())
}

/// Everything that a pipeline runs is a script to the shell that runs it, what installs a
/// CLI included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_are_scripts() -> anyhow::Result<()> {
    fn scripts<'a>(json: &'a Json, found: &mut Vec<&'a str>) {
        let members = json.as_object().into_iter().flatten();
        for (name, value) in members {
            match value {
                Json::String(text) if ["run", "command"].contains(&name.as_str()) => {
                    found.push(text)
                }
                Json::Array(lines) if name.ends_with("script") => {
                    found.extend(lines.iter().filter_map(Json::as_str));
                }
                Json::Array(items) => items.iter().for_each(|item| scripts(item, found)),
                other => scripts(other, found),
            }
        }
    }
    let Some(parsed) = parse().await? else {
        return Ok(());
    };
    for (file, (json, shell)) in FILES
        .iter()
        .zip(parsed.iter().zip(["bash", "sh", "bash", "bash"]))
    {
        let mut found = Vec::new();
        scripts(json, &mut found);
        assert!(found.len() >= 2, "{file} runs {found:?}");
        for script in found {
            let output = Command::new(shell).args(["-n", "-c", script]).output()?;
            let problem = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && problem.is_empty(),
                "{file}: {problem}"
            );
        }
    }
    Ok(())
}

/// Answers one request, with this as JSON, or with a refusal when there is nothing; gives
/// the address, and what was asked.
async fn answer_once(
    body: String,
) -> anyhow::Result<(String, tokio::task::JoinHandle<anyhow::Result<String>>)> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await?);
        }
        let status = match body.is_empty() {
            true => "403 Forbidden",
            false => "200 OK",
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        Ok(String::from_utf8_lossy(&request).into_owned())
    });
    Ok((address, asked))
}

/// The files, parsed by the CLI, which knows YAML.
async fn parse() -> anyhow::Result<Option<Vec<Json>>> {
    let files: Vec<String> = FILES
        .iter()
        .map(|file| {
            root()
                .join("examples/pipelines")
                .join(file)
                .display()
                .to_string()
        })
        .collect();
    let configuration = format!(
        "output \"files\" {{\n  value = [for file in {} : jsonencode(yamldecode(file(file)))]\n}}\n",
        serde_json::to_string(&files)?
    );
    let Some(workspace) = Workspace::new(&configuration)? else {
        return Ok(None);
    };
    workspace
        .run(&["apply", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    let text = workspace
        .run(&["output", "-json", "files"])
        .await?
        .succeeded();
    let texts: Vec<String> = serde_json::from_str(&text)?;
    let parsed: Result<Vec<Json>, _> = texts
        .iter()
        .map(|text| serde_json::from_str(text))
        .collect();
    Ok(Some(parsed?))
}

fn read(parsed: &[Json]) -> anyhow::Result<[Pipeline; 3]> {
    let [github, gitlab, build, drift] = parsed else {
        anyhow::bail!("there are other files");
    };
    // The night's job is the night's, and only that.
    assert_eq!(
        github["jobs"]["drift"]["if"],
        "github.event_name == 'schedule'"
    );
    // A waiting run gives way to a newer one of its group: none but an apply to an apply.
    assert_eq!(github["concurrency"], Json::Null);
    assert_eq!(github["jobs"]["apply"]["concurrency"], "registry-apply");
    assert_eq!(github["defaults"]["run"]["shell"], "bash");
    let rule = &gitlab["drift"]["rules"][0]["if"];
    assert_eq!(rule, "$CI_PIPELINE_SOURCE == \"schedule\"");
    for spec in [build, drift] {
        assert_eq!(spec["version"].to_string(), "0.1");
        assert_eq!(spec["component"], "build");
    }
    Ok([
        Pipeline {
            name: "GitHub Actions",
            shell: GITHUB,
            plan: commands(&github["jobs"]["plan"]["steps"], "run"),
            apply: commands(&github["jobs"]["apply"]["steps"], "run"),
            drift: commands(&github["jobs"]["drift"]["steps"], "run"),
        },
        Pipeline {
            name: "GitLab CI",
            shell: GITLAB,
            plan: lines(&gitlab["plan"]["script"]),
            apply: lines(&gitlab["apply"]["script"]),
            drift: lines(&gitlab["drift"]["script"]),
        },
        Pipeline {
            name: "OCI DevOps",
            shell: DEVOPS,
            plan: Vec::new(),
            apply: commands(&build["steps"], "command"),
            drift: commands(&drift["steps"], "command"),
        },
    ])
}

/// The steps that work with the configuration: what comes before installs a CLI, or
/// asks the pipeline's host who it is.
fn commands(steps: &Json, member: &str) -> Vec<String> {
    let steps = steps.as_array().into_iter().flatten();
    let all = steps.filter_map(|step| step[member].as_str());
    let own = all.filter(|command| command.contains("terraform init"));
    own.map(str::to_owned).collect()
}

fn lines(script: &Json) -> Vec<String> {
    let lines = script.as_array().into_iter().flatten();
    lines
        .filter_map(|line| line.as_str())
        .map(str::to_owned)
        .collect()
}

/// Runs commands as a pipeline does: one after the other, until one fails.
async fn run(
    workspace: &Workspace,
    program: &[&str],
    commands: &[String],
) -> anyhow::Result<(i32, String)> {
    assert!(!commands.is_empty(), "the pipeline runs nothing");
    let programs = tempfile::tempdir()?;
    let cli = workspace.command(&["version"]);
    std::os::unix::fs::symlink(cli.get_program(), programs.path().join("terraform"))?;
    let mut shell = Command::new(program[0]);
    shell
        .args(&program[1..])
        .args(["-c", &commands.join("\n")])
        .current_dir(workspace.path());
    for (name, value) in cli.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let path = std::env::var("PATH").unwrap_or_default();
    shell
        .env("PATH", format!("{}:{path}", programs.path().display()))
        .env("TF_CLI_ARGS", "-no-color")
        .env("OCI_PRIMARY_SOURCE_DIR", workspace.path());
    // What a pipeline takes from its host under this name.
    let compartment = cli
        .get_envs()
        .find(|(name, _)| *name == "TF_VAR_compartment_id");
    if let Some((_, Some(compartment))) = compartment {
        shell.env("COMPARTMENT_ID", compartment);
    }
    let output = tokio::task::spawn_blocking(move || shell.output()).await??;
    drop(programs);
    Ok((
        output.status.code().unwrap_or(-1),
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    ))
}

/// Every file under `examples/pipelines` is one that is tested, but for what explains them.
#[test]
fn every_pipeline_is_tested() -> anyhow::Result<()> {
    fn count(folder: &Path) -> anyhow::Result<usize> {
        let mut found = 0;
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            found += match path.is_dir() {
                true => count(&path)?,
                false => usize::from(!path.ends_with("README.md")),
            };
        }
        Ok(found)
    }
    assert_eq!(count(&root().join("examples/pipelines"))?, FILES.len());
    Ok(())
}

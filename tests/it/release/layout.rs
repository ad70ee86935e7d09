//! The provider in the registry that it manages, as OpenTofu installs it from there. No
//! OpenTofu runs here: what is compared is what its documentation demands,
//! <https://opentofu.org/docs/cli/oci_registries/provider-mirror/>.

use std::fs;

use anyhow::{Context as _, ensure};
use ocir::emulator::Emulator;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::{Release, VERSION, root};
use crate::support::cli::{Workspace, copy_files, platform};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// One apply publishes a release with several platforms, the second plan is empty, and who
/// is not signed in finds the archives in it as OpenTofu would: tag, index, platform, layer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_scenario() -> anyhow::Result<()> {
    let Some(mut workspace) = Workspace::new("")? else {
        return Ok(());
    };
    let release = Release::new()?;
    // Another platform; its archive is not opened by anyone here.
    let other = if platform() == "windows_amd64" {
        "linux_amd64"
    } else {
        "windows_amd64"
    };
    let license = root().join("LICENSE");
    release.run(&[
        "pack",
        "--platform",
        other,
        "--binary",
        &license.to_string_lossy(),
    ])?;
    release.run(&["finish"])?;
    release.run(&["layout"])?;

    let emulator = Emulator::builder().start().await?;
    fs::remove_file(workspace.path().join("main.tf"))?;
    copy_files(
        &root().join("examples/scenarios/publishing"),
        &workspace.path(),
    )?;
    workspace
        .sign_in(&emulator)?
        .set(
            "TF_VAR_layout",
            release.path().join("layout").display().to_string(),
        )
        .set("TF_VAR_release", VERSION)
        .set("TF_VAR_public", "true");
    workspace.init().await?;
    let apply = workspace
        .run(&["apply", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    let namespace = &emulator.seed().namespace;
    let template = format!(
        "{}/{namespace}/opentofu-providers/${{namespace}}/${{type}}",
        emulator.authority()
    );
    assert!(apply.contains(&template), "{apply}");
    workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(0);

    // What OpenTofu makes of the template for motando/ocir.
    let name = "opentofu-providers/motando/ocir";
    let registry = Registry::sign_in(&emulator, &format!("{namespace}/{name}")).await?;
    let tags: Json = serde_json::from_slice(&registry.get("tags/list", None).await?)?;
    assert_eq!(tags["tags"], serde_json::json!([VERSION]));
    let index = registry
        .get(&format!("manifests/{VERSION}"), Some(INDEX))
        .await?;
    let index: Json = serde_json::from_slice(&index)?;
    assert_eq!(index["artifactType"], "application/vnd.opentofu.provider");
    assert_eq!(index["mediaType"], INDEX);

    for platform in [&*platform(), other] {
        let (os, architecture) = platform
            .split_once('_')
            .context("a platform has two parts")?;
        let entries = index["manifests"].as_array().context("no manifests")?;
        let fitting: Vec<&Json> = entries
            .iter()
            .filter(|entry| entry["artifactType"] == "application/vnd.opentofu.provider-target")
            .filter(|entry| entry["platform"]["os"] == os)
            .filter(|entry| entry["platform"]["architecture"] == architecture)
            .collect();
        let [entry] = fitting[..] else {
            anyhow::bail!("not one entry for {platform}: {index}");
        };
        let digest = entry["digest"].as_str().context("no digest")?;
        let manifest = registry
            .get(&format!("manifests/{digest}"), Some(MANIFEST))
            .await?;
        assert_eq!(digest_of(&manifest), digest);
        let manifest: Json = serde_json::from_slice(&manifest)?;
        assert_eq!(manifest["mediaType"], MANIFEST);
        assert_eq!(manifest["artifactType"], entry["artifactType"]);
        let layers = manifest["layers"].as_array().context("no layers")?;
        let [layer] = &layers[..] else {
            anyhow::bail!("not one layer: {manifest}");
        };
        assert_eq!(layer["mediaType"], "archive/zip");
        let archive = release.file(&format!("{platform}.zip"));
        // The lock file's hash of the archive is the digest of the layer.
        assert_eq!(
            layer["digest"],
            format!("sha256:{}", release.sum(&archive)?)
        );
        let digest = layer["digest"].as_str().context("no digest")?;
        let pulled = registry.get(&format!("blobs/{digest}"), None).await?;
        assert!(
            pulled == fs::read(&archive)?,
            "the archive came back as another one"
        );
    }
    Ok(())
}

/// A layout is made only of archives that are what the file of sums says.
#[test]
fn an_archive_that_changed() -> anyhow::Result<()> {
    let release = Release::new()?;
    fs::write(release.archive(), "another one")?;
    let mut command = super::tool(root(), &["layout", "--out"]);
    let said = super::refused(command.arg(release.path()))?;
    let name = release.archive();
    let name = name.file_name().unwrap_or_default().to_string_lossy();
    assert_eq!(
        said,
        format!("release.py: {name} is not what SHA256SUMS says; finish again\n")
    );
    assert!(!release.path().join("layout/index.json").exists());
    Ok(())
}

/// A repository, read by somebody who is not signed in.
struct Registry {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Registry {
    async fn sign_in(emulator: &Emulator, repository: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let url = format!(
            "{}/20180419/docker/token?service={}&scope=repository:{repository}:pull",
            emulator.url(),
            emulator.authority()
        );
        let answer: Json = serde_json::from_slice(&http.get(url).send().await?.bytes().await?)?;
        let token = answer["token"].as_str().context("no token")?.to_owned();
        let url = format!("{}/v2/{repository}", emulator.url());
        Ok(Self { http, url, token })
    }

    async fn get(&self, path: &str, accept: Option<&str>) -> anyhow::Result<Vec<u8>> {
        let mut request = self
            .http
            .get(format!("{}/{path}", self.url))
            .bearer_auth(&self.token);
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let content = answer.bytes().await?;
        ensure!(
            status == 200,
            "{path}: {status} {}",
            String::from_utf8_lossy(&content)
        );
        Ok(content.to_vec())
    }
}

fn digest_of(content: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(content).into();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

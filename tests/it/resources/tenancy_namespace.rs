//! `tenancy_namespace` and `ocir_tenancy_namespace`.

use ocir::emulator::Emulator;
use serde_json::json;

use crate::support::{
    core::{Host, unknown},
    provider::{Cloud, arguments, server},
};

/// Both names tell the same, for one request in all.
#[tokio::test]
async fn all_of_it() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let host = cloud.emulator.authority();
    for name in ["tenancy_namespace", "ocir_tenancy_namespace"] {
        let state = cloud.host.data_source(name, json!({})).await?;
        let expected = json!({
            "compartment_id": null,
            "namespace": cloud.emulator.seed().namespace,
            "region": "sa-saopaulo-1",
            "region_key": "gru",
            "registry_host": host,
            "registry_hosts": [host],
        });
        assert_eq!(state, expected);
    }
    assert_eq!(cloud.operations(), [("GetNamespace".into(), 1)].into());
    Ok(())
}

/// Asked for a compartment, the service is asked about it, and one that does
/// not exist is an error.
#[tokio::test]
async fn of_a_compartment() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let config = json!({ "compartment_id": cloud.compartment() });
    let state = cloud.host.data_source("tenancy_namespace", config).await?;
    assert_eq!(state["namespace"], json!(cloud.emulator.seed().namespace));
    assert_eq!(state["compartment_id"], json!(cloud.compartment()));
    assert!(cloud.emulator.requests()[0].path.contains("compartmentId="));

    let config = json!({ "compartment_id": "ocid1.compartment.oc1..none" });
    let problems = cloud.host.data_source("tenancy_namespace", config).await;
    let text = problems.unwrap_err().to_string();
    assert!(
        text.contains(
            "The namespace of compartment ocid1.compartment.oc1..none could not be read."
        ),
        "{text}"
    );
    assert!(text.contains(" was answered 404 "), "{text}");
    Ok(())
}

/// The region decides on the names of the registry: the configured one, by its
/// identifier or its key, also in another realm.
#[tokio::test]
async fn of_other_regions() -> anyhow::Result<()> {
    for (region, identifier, key) in [
        ("FRA", "eu-frankfurt-1", "fra"),
        ("us-luke-1", "us-luke-1", "luf"),
    ] {
        let emulator = Emulator::builder().region(identifier).start().await?;
        let mut config = arguments(&emulator);
        config["region"] = json!(region);
        let cloud = Cloud::configured(emulator, config).await?;
        let state = cloud
            .host
            .data_source("tenancy_namespace", json!({}))
            .await?;
        assert_eq!(state["region"], json!(identifier));
        assert_eq!(state["region_key"], json!(key));
    }
    Ok(())
}

/// A host that is one of the region's own comes with its other names.
#[tokio::test]
async fn hosts_of_the_registry() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    for (host, hosts) in [
        (
            "gru.ocir.io",
            json!([
                "gru.ocir.io",
                "sa-saopaulo-1.ocir.io",
                "ocir.sa-saopaulo-1.oci.oraclecloud.com"
            ]),
        ),
        ("localhost:5000", json!(["localhost:5000"])),
    ] {
        let mut config = arguments(&emulator);
        config["registry"] = json!({ "host": host });
        let provider = Host::start(server()).await?;
        provider.configure(config).await?;
        let state = provider.data_source("tenancy_namespace", json!({})).await?;
        assert_eq!(state["registry_host"], json!(host));
        assert_eq!(state["registry_hosts"], hosts);
    }
    Ok(())
}

/// A provider argument that is not known yet cannot be waited for here.
#[tokio::test]
async fn provider_argument_is_not_known_yet() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let mut config = arguments(&emulator);
    config["region"] = unknown();
    let cloud = Cloud::configured(emulator, config).await?;
    let read = cloud.host.data_source("tenancy_namespace", json!({})).await;
    let text = read.unwrap_err().to_string();
    assert!(
        text.contains(
            "Argument \"region\" of the provider comes from something that does not exist yet"
        ),
        "{text}"
    );
    assert_eq!(cloud.emulator.requests().len(), 0);
    Ok(())
}

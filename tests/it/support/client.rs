//! Clients of an emulator, without a provider around them.

use ocir::{
    credentials::{self, Environment, Network, Settings},
    emulator::Emulator,
    oci::{Client, Config},
    transport::{Options, RetryPolicy, http_client},
};

/// A control plane's client that signs in as the seeded user.
pub async fn oci(emulator: &Emulator) -> anyhow::Result<Client> {
    let key = &emulator.seed().private_key_pem;
    oci_with(emulator, &emulator.url(), key, &Options::default()).await
}

/// One with an address, a key and a trust of the test's choice.
pub async fn oci_with(
    emulator: &Emulator,
    endpoint: &str,
    private_key: &str,
    options: &Options,
) -> anyhow::Result<Client> {
    let seed = emulator.seed();
    let settings = Settings {
        tenancy_ocid: Some(seed.tenancy_id.clone()),
        user_ocid: Some(seed.user_id.clone()),
        private_key: Some(private_key.to_owned()),
        region: Some(seed.region.clone()),
        ..Settings::default()
    };
    let network = Network::default();
    let resolved = credentials::resolve(&settings, &Environment::default(), &network).await?;
    let region = resolved
        .region
        .ok_or_else(|| anyhow::anyhow!("the settings name a region"))?;
    Ok(Client::new(Config {
        endpoint: Some(endpoint.to_owned()),
        regions: resolved.regions,
        retry: RetryPolicy::without_waiting(),
        ..Config::new(http_client(options)?, region, resolved.source)
    })?)
}

//! Where Terraform meets Oracle: the provider block, the tables of resources
//! and data sources, and the diagnostics.
//!
//! Configuring makes no connection and reads no file. [`Clients`] builds what a
//! resource asks for when it is first asked, so `validate`, and a plan without
//! resources, work without credentials.

mod absence;
mod clients;
mod config;
mod data_sources;
mod diagnose;
mod ephemeral;
mod once;
mod policy;
mod registry_token;
mod resources;
mod validate;

use crate::{
    credentials::Environment,
    framework::{
        Context, DataSourceType, Diagnostics, EphemeralResourceType, Provider, ResourceType, Result,
    },
    transport::RetryPolicy,
};

use self::clients::Clients;

/// The provider.
pub struct Ocir {
    environment: Environment,
    retry: RetryPolicy,
}

impl Ocir {
    /// A provider that looks for unset arguments in `environment`.
    pub fn new(environment: Environment) -> Self {
        Self {
            environment,
            retry: RetryPolicy::default(),
        }
    }

    /// The same provider with another retry policy: tests do not wait.
    pub fn with_retry(self, retry: RetryPolicy) -> Self {
        Self { retry, ..self }
    }

    /// A provider that looks for unset arguments in the environment of this
    /// process. Variables that are not Unicode are passed over.
    pub fn from_process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self::new(Environment {
            variables,
            home: std::env::home_dir(),
        })
    }
}

impl Provider for Ocir {
    type Clients = Clients;
    type Config = config::Config;

    fn validate(config: &config::Config) -> Diagnostics {
        config.validate()
    }

    async fn configure(&self, cx: &mut Context, config: config::Config) -> Result<Clients> {
        let clients = Clients::new(config, self.environment.clone(), self.retry.clone())?;
        for warning in clients.warnings() {
            cx.warn(warning);
        }
        Ok(clients)
    }

    fn resources(&self) -> Vec<ResourceType<Clients>> {
        resources::all()
    }

    fn data_sources(&self) -> Vec<DataSourceType<Clients>> {
        data_sources::all()
    }

    fn ephemeral_resources(&self) -> Vec<EphemeralResourceType<Clients>> {
        ephemeral::all()
    }
}

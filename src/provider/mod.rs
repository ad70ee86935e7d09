//! Where Terraform meets Oracle.

use crate::framework::{Context, DataSourceType, Model, Provider, ResourceType, Result};

/// The provider.
#[derive(Debug)]
pub struct Ocir {}

impl Ocir {
    /// The provider in the environment of this process.
    pub fn from_process() -> Self {
        Self {}
    }
}

/// Where the objects are.
#[derive(Clone, Debug, Model)]
pub struct Config {}

impl Provider for Ocir {
    type Clients = ();
    type Config = Config;

    async fn configure(&self, _: &mut Context, _: Config) -> Result<()> {
        Ok(())
    }
    fn resources(&self) -> Vec<ResourceType<()>> {
        Vec::new()
    }
    fn data_sources(&self) -> Vec<DataSourceType<()>> {
        Vec::new()
    }
}

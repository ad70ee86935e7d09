//! The provider itself.

use std::future::Future;

use super::{
    Context, DataSourceType, Diagnostics, EphemeralResourceType, Model, ResourceType, Result,
};

/// A provider: its arguments, its clients, and its tables.
pub trait Provider: Send + Sync + Sized + 'static {
    /// What resources and data sources work with.
    type Clients: Send + Sync + 'static;
    /// The arguments of the provider block.
    type Config: Model;

    /// Checks that need more than one argument; values may be unknown.
    fn validate(_config: &Self::Config) -> Diagnostics {
        Diagnostics::default()
    }

    /// Makes the clients. Values may be unknown while planning. Contacts nobody.
    fn configure(
        &self,
        cx: &mut Context,
        config: Self::Config,
    ) -> impl Future<Output = Result<Self::Clients>> + Send;

    /// The table of managed resources.
    fn resources(&self) -> Vec<ResourceType<Self::Clients>>;

    /// The table of data sources.
    fn data_sources(&self) -> Vec<DataSourceType<Self::Clients>>;

    /// The table of ephemeral resources.
    fn ephemeral_resources(&self) -> Vec<EphemeralResourceType<Self::Clients>> {
        Vec::new()
    }
}

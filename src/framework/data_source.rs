//! Data sources.

use std::{future::Future, marker::PhantomData, sync::Arc};

use super::{
    Context, Diagnostics, Model, Result,
    erased::{ErasedDataSource, Typed},
};

/// A data source: something to look up.
pub trait DataSource: Send + Sync + Sized + 'static {
    /// What a data source works with; the provider makes it once.
    type Clients: Send + Sync + 'static;
    /// Its attributes.
    type State: Model;

    /// A data source that works with `clients`.
    fn new(clients: Arc<Self::Clients>) -> Self;

    /// Checks that need more than one attribute; values may be unknown.
    fn validate(_config: &Self::State) -> Diagnostics {
        Diagnostics::default()
    }

    /// Looks it up.
    fn read(
        &self,
        cx: &mut Context,
        config: Self::State,
    ) -> impl Future<Output = Result<Self::State>> + Send;
}

/// A row of the provider's table: a name and a data source.
pub struct DataSourceType<C> {
    pub(super) name: &'static str,
    pub(super) erased: Arc<dyn ErasedDataSource>,
    clients: PhantomData<fn(C)>,
}

impl<C: Send + Sync + 'static> DataSourceType<C> {
    /// A data source under a name; one data source may have several.
    pub fn new<D: DataSource<Clients = C>>(name: &'static str) -> Self {
        Self {
            name,
            erased: Arc::new(Typed::<D>::data_source()),
            clients: PhantomData,
        }
    }
}

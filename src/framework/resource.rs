//! Managed resources.

use std::{future::Future, marker::PhantomData, sync::Arc};

use super::{
    Attr, Context, Diagnostic, Diagnostics, Identified, Limits, Model, Result,
    erased::{ErasedResource, Typed},
    identity::Identities,
    timeouts,
};
use crate::cty::Path;

/// A managed resource: one kind of object and its life cycle.
///
/// Errors of [`create`](Resource::create) and [`update`](Resource::update) may
/// carry what exists already, so that it ends up in the state.
pub trait Resource: Send + Sync + Sized + 'static {
    /// What a resource works with; the provider makes it once.
    type Clients: Send + Sync + 'static;
    /// Its attributes.
    type State: Model;
    /// Raised when stored state has to be upgraded.
    const VERSION: i64 = 0;
    /// How long operations may take when the configuration does not say, for a
    /// resource with a [`Timeouts`](super::Timeouts) block.
    const TIMEOUTS: Limits = Limits::each(timeouts::DEFAULT);

    /// A resource that works with `clients`.
    fn new(clients: Arc<Self::Clients>) -> Self;

    /// Checks that need more than one attribute. Pure: it runs before the
    /// provider is configured, and values may be unknown.
    fn validate(_config: &Self::State) -> Diagnostics {
        Diagnostics::default()
    }

    /// What the schema cannot plan. Changes nothing remote. Called for creates
    /// and updates, after the schema's own planning; attributes it leaves alone
    /// keep what the schema planned.
    fn plan(
        &self,
        _cx: &mut Context,
        _plan: &mut Plan<'_, Self::State>,
    ) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Makes the object. Unknown values in `planned` are to be filled in.
    fn create(
        &self,
        cx: &mut Context,
        config: &Self::State,
        planned: Self::State,
    ) -> impl Future<Output = Result<Self::State, Failed<Self::State>>> + Send;

    /// Looks at the object. `None`: it is gone.
    fn read(
        &self,
        cx: &mut Context,
        state: Self::State,
    ) -> impl Future<Output = Result<Option<Self::State>>> + Send;

    /// Changes the object.
    fn update(
        &self,
        cx: &mut Context,
        config: &Self::State,
        prior: &Self::State,
        planned: Self::State,
    ) -> impl Future<Output = Result<Self::State, Failed<Self::State>>> + Send;

    /// Removes the object.
    fn delete(
        &self,
        cx: &mut Context,
        state: Self::State,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Finds the object that a user names. The server reads it afterwards, so
    /// what identifies it is enough.
    fn import(
        &self,
        _cx: &mut Context,
        _id: &str,
    ) -> impl Future<Output = Result<Self::State>> + Send {
        async {
            Err(Diagnostic::error(
                "Import is not supported",
                "This resource cannot be imported.",
            )
            .into())
        }
    }

    /// Lifts stored state of an older `version` to [`VERSION`](Resource::VERSION).
    fn upgrade(version: i64, _state: serde_json::Value) -> Result<serde_json::Value> {
        Err(no_upgrade("State", version))
    }

    /// Takes over an object that another resource type managed. `None`: not
    /// from that type.
    fn move_from(_source: &SourceState) -> Option<Result<Self::State>> {
        None
    }
}

/// What was never written cannot be upgraded.
pub(super) fn no_upgrade(what: &str, version: i64) -> Diagnostics {
    Diagnostic::error(
        format!("Cannot upgrade {}", what.to_lowercase()),
        format!("{what} of version {version} was never written by a release of this provider."),
    )
    .into()
}

/// A plan in the making.
#[derive(Debug)]
pub struct Plan<'a, S> {
    /// The configuration; values may be unknown.
    pub config: &'a S,
    /// The state before, when the object exists.
    pub prior: Option<&'a S>,
    /// The planned state, to be changed.
    pub planned: S,
    /// Attributes that require replacement, to be added to.
    pub replace: Vec<Path>,
}

impl<S> Plan<'_, S> {
    /// Whether the object is to be made.
    pub fn is_create(&self) -> bool {
        self.prior.is_none()
    }
    /// Whether the object exists already.
    pub fn is_update(&self) -> bool {
        self.prior.is_some()
    }
    /// Whether something requires that the object is made anew.
    pub fn is_replacement(&self) -> bool {
        !self.replace.is_empty()
    }
    /// Whether an existing object is planned to have another value here, or
    /// one that is not known yet.
    pub fn changes<T: PartialEq>(&self, attribute: impl Fn(&S) -> &Attr<T>) -> bool {
        let planned = attribute(&self.planned);
        self.prior
            .is_some_and(|prior| planned.is_unknown() || attribute(prior) != planned)
    }
    /// Says that the change of an attribute requires replacement. A host acts
    /// on it only if the planned value differs from the prior one, or is
    /// unknown.
    pub fn require_replacement(&mut self, attribute: &str) {
        self.replace.push(Path::attribute(attribute));
    }
}

/// A change that failed, and what exists nevertheless.
#[derive(Debug)]
pub struct Failed<S> {
    /// Why.
    pub diagnostics: Diagnostics,
    /// What exists: after a create, an object that goes into the state; after
    /// an update, what it looks like now. `None`: what was recorded with
    /// [`Context::keep`], or else nothing, or after an update as before.
    pub partial: Option<S>,
}

impl<S> From<Diagnostic> for Failed<S> {
    fn from(diagnostic: Diagnostic) -> Self {
        Diagnostics::from(diagnostic).into()
    }
}

impl<S> From<Diagnostics> for Failed<S> {
    fn from(diagnostics: Diagnostics) -> Self {
        Self {
            diagnostics,
            partial: None,
        }
    }
}

/// State of another resource type, on its way to ours.
#[derive(Clone, Debug)]
pub struct SourceState {
    /// For example `registry.terraform.io/oracle/oci`.
    pub provider_address: String,
    /// For example `oci_identity_auth_token`.
    pub type_name: String,
    /// Version of the source's schema.
    pub schema_version: i64,
    /// The state as JSON.
    pub json: serde_json::Value,
}

impl SourceState {
    /// Whether it was written by one of these providers, as in `oracle/oci`,
    /// wherever that was installed from: the registries of Terraform and
    /// OpenTofu have the same providers, and so has a company's own.
    pub fn is_of(&self, providers: &[&str]) -> bool {
        let name = match self.provider_address.match_indices('/').nth_back(1) {
            Some((at, _)) => &self.provider_address[at + 1..],
            None => &self.provider_address,
        };
        providers.contains(&name)
    }
}

/// A row of the provider's table: a name and a resource.
pub struct ResourceType<C> {
    pub(super) name: &'static str,
    pub(super) erased: Arc<dyn ErasedResource>,
    clients: PhantomData<fn(C)>,
}

impl<C: Send + Sync + 'static> ResourceType<C> {
    /// A resource under a name; one resource may have several.
    pub fn new<R: Resource<Clients = C>>(name: &'static str) -> Self {
        Self {
            name,
            erased: Arc::new(Typed::<R>::resource(None)),
            clients: PhantomData,
        }
    }

    /// The same, for a resource whose objects have an identity.
    pub fn identified<R: Identified<Clients = C>>(name: &'static str) -> Self {
        Self {
            name,
            erased: Arc::new(Typed::<R>::resource(Some(Identities::new::<R>()))),
            clients: PhantomData,
        }
    }
}

//! A small provider for tests of what happens around a resource: it does what
//! the object's `act` says.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    ApplyRequest, ApplyResponse, Attr, Context, DataSourceType, Diagnostic, Diagnostics,
    EphemeralResource, EphemeralResourceType, Failed, Identified, Limits, Model, Opened,
    PlanRequest, PlanResponse, Provider, Resource, ResourceType, Result, Secret, Server, Stop,
    Timeouts, model::object,
};
use crate::cty::Value;

/// What happened, in order.
#[derive(Clone, Default)]
pub(super) struct Events(Arc<Mutex<Vec<&'static str>>>);

impl Events {
    pub(super) fn push(&self, event: &'static str) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(event);
    }
    pub(super) fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) struct Sample(pub(super) Events);

/// Arguments of the provider.
#[derive(Clone, Debug, Model)]
pub(super) struct Config {
    /// Where it is.
    #[tf(optional)]
    place: Attr<String>,
}

pub(super) struct Clients {
    place: Attr<String>,
    events: Events,
}

impl Provider for Sample {
    type Clients = Clients;
    type Config = Config;

    async fn configure(&self, _: &mut Context, config: Config) -> Result<Clients> {
        Ok(Clients {
            place: config.place,
            events: self.0.clone(),
        })
    }
    fn resources(&self) -> Vec<ResourceType<Clients>> {
        vec![
            ResourceType::identified::<Object>("ocir_object"),
            ResourceType::identified::<Object>("oci_object"),
        ]
    }
    fn data_sources(&self) -> Vec<DataSourceType<Clients>> {
        Vec::new()
    }
    fn ephemeral_resources(&self) -> Vec<EphemeralResourceType<Clients>> {
        vec![EphemeralResourceType::new::<Login>("ocir_login")]
    }
}

/// A configured server, and what happens in it.
pub(super) async fn server(place: Value) -> (Server, Events) {
    let events = Events::default();
    let server = Server::new(Sample(events.clone()));
    let diagnostics = server.configure(object([("place", place)])).await;
    assert_eq!(diagnostics, Diagnostics::default());
    (server, events)
}

struct Object(Arc<Clients>);

/// An object.
#[derive(Clone, Debug, PartialEq, Model)]
pub(super) struct State {
    /// Its id.
    #[tf(computed, keep)]
    id: Attr<String>,
    /// What it does.
    #[tf(optional)]
    act: Attr<String>,
    /// How often it changed.
    #[tf(computed)]
    revision: Attr<i64>,
    /// Its secret.
    #[tf(computed, keep)]
    secret: Attr<Secret<String>>,
    /// How long operations may take.
    #[tf(block)]
    timeouts: Attr<Timeouts>,
}

/// What tells objects apart.
#[derive(Clone, Debug, PartialEq, Model)]
pub(super) struct Identity {
    /// Its id.
    #[tf(required)]
    id: Attr<String>,
}

impl Identified for Object {
    type Identity = Identity;
    fn identity(state: &State) -> Identity {
        Identity {
            id: state.id.clone(),
        }
    }
    fn import_id(identity: &Identity) -> Result<String> {
        Ok(identity.id.as_str().unwrap_or_default().to_owned())
    }
}

impl Object {
    /// What an operation does beside what it is for.
    async fn act(&self, cx: &mut Context, state: &State) -> Result<()> {
        for word in state.act.as_str().unwrap_or_default().split(' ') {
            match word {
                "keep" => cx.keep(state),
                "usable" => cx.keep_usable(state),
                "forget" => cx.forget(),
                "remember" => cx.private.set("step", "later"),
                "fail" => return Err(Diagnostic::error("Cannot go on", "It failed.").into()),
                "panic" => panic!("asked to panic"),
                "hang" => std::future::pending::<()>().await,
                "nap" => tokio::time::sleep(Duration::from_millis(1500)).await,
                "listen" => {
                    cx.stop.cancelled().await;
                    self.0.events.push(match cx.stopped() {
                        Some(Stop::Interrupted) => "interrupted",
                        Some(Stop::TimedOut) => "timed out",
                        None => "stopped for nothing",
                    });
                    return Err(Diagnostic::error("Cannot wait", "It is not ready.").into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Resource for Object {
    type Clients = Clients;
    type State = State;
    const TIMEOUTS: Limits = Limits {
        read: Duration::from_millis(50),
        ..Limits::each(Duration::from_secs(600))
    };

    fn new(clients: Arc<Clients>) -> Self {
        Self(clients)
    }

    async fn create(
        &self,
        cx: &mut Context,
        _: &State,
        mut planned: State,
    ) -> Result<State, Failed<State>> {
        self.0.events.push("create");
        planned.id = "object-1".into();
        planned.secret = Secret::from("hunter2").into();
        cx.private.set("step", "made");
        self.act(cx, &planned).await?;
        planned.revision = 1.into();
        // As of a service, which knows nothing of them.
        planned.timeouts = Attr::Null;
        Ok(planned)
    }

    async fn read(&self, cx: &mut Context, state: State) -> Result<Option<State>> {
        self.0.events.push("read");
        self.act(cx, &state).await?;
        Ok(Some(State {
            timeouts: Attr::Null,
            ..state
        }))
    }

    async fn update(
        &self,
        cx: &mut Context,
        _: &State,
        prior: &State,
        planned: State,
    ) -> Result<State, Failed<State>> {
        self.0.events.push("update");
        self.act(cx, &planned).await?;
        let revision = prior.revision.known().map(|revision| revision + 1);
        Ok(State {
            revision: revision.into(),
            ..planned
        })
    }

    async fn delete(&self, cx: &mut Context, state: State) -> Result<()> {
        self.0.events.push("delete");
        self.act(cx, &state).await
    }

    async fn import(&self, _: &mut Context, id: &str) -> Result<State> {
        Ok(State {
            id: id.into(),
            act: Attr::Null,
            revision: Attr::Null,
            secret: Attr::Null,
            timeouts: Attr::Null,
        })
    }
}

/// The configuration of an object; limits are texts for `create`, `read`,
/// `update` and `delete`.
pub(super) fn config(act: &str, limits: &[(&'static str, &str)]) -> Value {
    let timeouts = match limits {
        [] => Value::Null,
        limits => {
            let of = |name: &str| limits.iter().find(|limit| limit.0 == name);
            object(["create", "read", "update", "delete"].map(|name| {
                let text = of(name).map(|limit| limit.1.into());
                (name, text.unwrap_or(Value::Null))
            }))
        }
    };
    object([
        ("id", Value::Null),
        ("act", act.into()),
        ("revision", Value::Null),
        ("secret", Value::Null),
        ("timeouts", timeouts),
    ])
}

/// The same, as it is in a state.
pub(super) fn stored(act: &str, limits: &[(&'static str, &str)]) -> Value {
    changed(
        config(act, limits),
        &[
            ("id", "object-1".into()),
            ("revision", 1.into()),
            ("secret", "hunter2".into()),
        ],
    )
}

/// An object with other members.
pub(super) fn changed(object: Value, changes: &[(&str, Value)]) -> Value {
    let Value::Map(mut members) = object else {
        panic!("an object is a map");
    };
    for (name, value) in changes {
        assert!(members.insert((*name).to_owned(), value.clone()).is_some());
    }
    Value::Map(members)
}

/// Plans as a host does.
pub(super) async fn plan(server: &Server, config: &Value, prior: &Value) -> PlanResponse {
    let kept = ["id", "revision", "secret"];
    let kept = kept.map(|name| (name, prior.get(name).cloned().unwrap_or_default()));
    let request = PlanRequest {
        config: config.clone(),
        prior: prior.clone(),
        proposed: changed(config.clone(), &kept),
        ..Default::default()
    };
    server.plan_resource("ocir_object", request).await
}

/// What a host sends to apply a configuration.
pub(super) async fn change(server: &Server, config: &Value, prior: &Value) -> ApplyRequest {
    let planned = plan(server, config, prior).await;
    assert!(planned.diagnostics.is_empty());
    ApplyRequest {
        config: config.clone(),
        prior: prior.clone(),
        planned: planned.planned,
        identity: planned.identity,
        private: planned.private,
        ..Default::default()
    }
}

/// Plans and applies as a host does.
pub(super) async fn apply(server: &Server, config: &Value, prior: &Value) -> ApplyResponse {
    let request = change(server, config, prior).await;
    server.apply_resource("ocir_object", &request).await
}

/// Deletes as a host does.
pub(super) async fn delete(server: &Server, prior: &Value) -> ApplyResponse {
    let request = ApplyRequest {
        prior: prior.clone(),
        ..Default::default()
    };
    server.apply_resource("ocir_object", &request).await
}

/// Messages, a line each, with their severity.
pub(super) fn lines(diagnostics: &Diagnostics) -> String {
    let lines = diagnostics.iter().map(|diagnostic| {
        format!(
            "{:?}: {}: {}",
            diagnostic.severity, diagnostic.summary, diagnostic.detail
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

struct Login(Arc<Clients>);

/// A login.
#[derive(Clone, Debug, PartialEq, Model)]
pub(super) struct LoginState {
    /// Whom it is for.
    #[tf(required, validate = short)]
    audience: Attr<String>,
    /// How it is called.
    #[tf(default = "token")]
    username: Attr<String>,
    /// What opens the door.
    #[tf(computed)]
    password: Attr<Secret<String>>,
}

fn short(value: &Value) -> std::result::Result<(), String> {
    match value {
        Value::String(text) if text.len() > 10 => Err("must be short".to_owned()),
        _ => Ok(()),
    }
}

impl EphemeralResource for Login {
    type Clients = Clients;
    type State = LoginState;

    fn new(clients: Arc<Clients>) -> Self {
        Self(clients)
    }

    async fn open(&self, cx: &mut Context, config: LoginState) -> Result<Opened<LoginState>> {
        self.0.events.push("open");
        cx.private.set("password", "hunter2");
        cx.warn(Diagnostic::warning("Short", "It lasts an hour."));
        let password = match config.audience.as_str() {
            Some("nobody") => return Err(Diagnostic::error("Cannot log in", "Nobody.").into()),
            Some("forget") => Attr::Unknown,
            _ => self.0.place.as_ref().map(|_| Secret::from("hunter2")),
        };
        Ok(LoginState {
            audience: "somebody else".into(),
            password,
            ..config
        }
        .into())
    }

    async fn close(&self, cx: &mut Context) -> Result<()> {
        self.0.events.push("close");
        match cx.private.get("password") {
            Some(b"hunter2") => Ok(()),
            _ => Err(Diagnostic::error("Cannot log out", "Nobody is logged in.").into()),
        }
    }
}

//! `probe_thing`: slow, large, panicking, waiting, as it is told.

use std::{sync::Arc, time::Duration};

use ocir::framework::{
    Attr, Context, Diagnostic, Diagnostics, Failed, Model, Plan, Resource, Result,
};

use crate::Clients;

pub(crate) struct Thing;

/// A thing.
#[derive(Clone, Debug, Model)]
pub(crate) struct State {
    /// Its identifier.
    #[tf(computed, keep)]
    id: Attr<String>,
    /// Any text.
    #[tf(optional)]
    payload: Attr<String>,
    /// Bytes of the payload.
    #[tf(computed)]
    payload_size: Attr<i64>,
    /// How long a create takes; a stop does not shorten it.
    #[tf(optional)]
    delay_ms: Attr<i64>,
    /// Whether a create lasts until it is stopped.
    #[tf(optional)]
    wait_for_stop: Attr<bool>,
    /// The call that panics: `plan` or `create`.
    #[tf(optional)]
    panic_in: Attr<String>,
    /// A file that appears when a create has begun.
    #[tf(optional)]
    began: Attr<String>,
}

impl Thing {
    fn filled(mut state: State) -> State {
        state.id = "thing-1".into();
        state.payload_size = state.payload.known().map(|text| text.len() as i64).into();
        state
    }

    fn panic_if(state: &State, call: &str) {
        assert!(
            state.panic_in.as_str() != Some(call),
            "asked to panic in {call}"
        );
    }
}

impl Resource for Thing {
    type Clients = Clients;
    type State = State;

    fn new(_: Arc<Clients>) -> Self {
        Self
    }

    async fn plan(&self, _: &mut Context, plan: &mut Plan<'_, State>) -> Result<()> {
        Self::panic_if(&plan.planned, "plan");
        Ok(())
    }

    async fn create(
        &self,
        cx: &mut Context,
        _: &State,
        planned: State,
    ) -> Result<State, Failed<State>> {
        if let Some(path) = planned.began.known()
            && let Err(error) = std::fs::write(path, "")
        {
            let problem = Diagnostic::error("Cannot begin", format!("{path}: {error}."));
            return Err(Diagnostics::from(problem).into());
        }
        Self::panic_if(&planned, "create");
        if planned.wait_for_stop.known() == Some(&true) {
            cx.stop.cancelled().await;
            return Err(Failed {
                diagnostics: Diagnostic::error("Stopped", "The create was interrupted.").into(),
                partial: Some(Self::filled(planned)),
            });
        }
        let delay = planned.delay_ms.known().copied().unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(delay.unsigned_abs())).await;
        Ok(Self::filled(planned))
    }

    async fn read(&self, _: &mut Context, state: State) -> Result<Option<State>> {
        Ok(Some(state))
    }

    async fn update(
        &self,
        _: &mut Context,
        _: &State,
        _: &State,
        planned: State,
    ) -> Result<State, Failed<State>> {
        Ok(Self::filled(planned))
    }

    async fn delete(&self, _: &mut Context, _: State) -> Result<()> {
        Ok(())
    }
}

//! `probe_note`: a note, kept in a file. The walkthrough in CONTRIBUTING.md shows this file.

use std::{io::ErrorKind, path::PathBuf, sync::Arc};

use ocir::framework::{Attr, Context, Diagnostic, Failed, Model, Resource, Result};

use crate::Clients;

pub(crate) struct Note(Arc<Clients>);

/// A note.
#[derive(Clone, Debug, Model)]
pub(crate) struct State {
    /// Its identifier.
    #[tf(computed, keep)]
    id: Attr<String>,
    /// Its name.
    #[tf(required, replace)]
    name: Attr<String>,
    /// What it says.
    #[tf(default = "")]
    text: Attr<String>,
}

impl Resource for Note {
    type Clients = Clients;
    type State = State;

    fn new(clients: Arc<Clients>) -> Self {
        Self(clients)
    }

    async fn create(
        &self,
        _: &mut Context,
        _: &State,
        mut planned: State,
    ) -> Result<State, Failed<State>> {
        planned.id = planned.name.clone();
        self.write(&planned)?;
        Ok(planned)
    }

    async fn read(&self, _: &mut Context, mut state: State) -> Result<Option<State>> {
        match std::fs::read_to_string(self.path(&state)?) {
            Ok(text) => state.text = text.into(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Diagnostic::error("Cannot read note", error.to_string()).into());
            }
        }
        state.name = state.id.clone();
        Ok(Some(state))
    }

    async fn update(
        &self,
        _: &mut Context,
        _: &State,
        _: &State,
        planned: State,
    ) -> Result<State, Failed<State>> {
        self.write(&planned)?;
        Ok(planned)
    }

    async fn delete(&self, _: &mut Context, state: State) -> Result<()> {
        std::fs::remove_file(self.path(&state)?)
            .map_err(|error| Diagnostic::error("Cannot delete note", error.to_string()).into())
    }

    // What identifies the object is enough: it is read afterwards.
    async fn import(&self, _: &mut Context, id: &str) -> Result<State> {
        Ok(State {
            id: id.into(),
            name: Attr::Null,
            text: Attr::Null,
        })
    }
}

impl Note {
    fn path(&self, state: &State) -> Result<PathBuf> {
        let id = state.id.as_str().unwrap_or_default();
        Ok(self.0.directory()?.join(id).with_extension("note"))
    }

    fn write(&self, state: &State) -> Result<()> {
        std::fs::write(self.path(state)?, state.text.as_str().unwrap_or_default())
            .map_err(|error| Diagnostic::error("Cannot write note", error.to_string()).into())
    }
}

//! `probe_record`: a record in a file, with an identity and time limits.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ocir::framework::{
    Attr, Context, Diagnostic, Diagnostics, Failed, Identified, Limits, Model, Resource, Result,
    SourceState, Stop, Timeouts,
};
use serde_json::{Value as Json, json};

use crate::Clients;

pub(crate) struct Record(Arc<Clients>);

/// A record.
#[derive(Clone, Debug, Model)]
pub(crate) struct State {
    /// Its identifier.
    #[tf(computed, keep)]
    id: Attr<String>,
    /// Its name.
    #[tf(required, replace)]
    name: Attr<String>,
    /// Its title.
    #[tf(optional)]
    title: Attr<String>,
    /// Whether everybody may read it.
    #[tf(default = false)]
    public: Attr<bool>,
    /// Whether it is deleted with what is in it.
    #[tf(default = false)]
    force_delete: Attr<bool>,
    /// Its labels.
    #[tf(optional)]
    labels: Attr<std::collections::BTreeMap<String, String>>,
    /// How often it was changed.
    #[tf(computed)]
    revision: Attr<i64>,
    /// What goes wrong: what happens after it was made, and how it was kept.
    #[tf(optional)]
    fault: Attr<String>,
    /// A note.
    #[tf(block)]
    note: Attr<Note>,
    /// How long operations may take.
    #[tf(block)]
    timeouts: Attr<Timeouts>,
}

/// A note.
#[derive(Clone, Debug, Model)]
pub(crate) struct Note {
    /// What it says.
    #[tf(required)]
    text: Attr<String>,
}

/// What tells records apart.
#[derive(Clone, Debug, Model)]
pub(crate) struct Identity {
    /// The identifier of the record.
    #[tf(required)]
    id: Attr<String>,
}

impl Identified for Record {
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

impl Record {
    fn path(&self, id: &str) -> Result<PathBuf> {
        Ok(self.0.directory()?.join(id).with_extension("json"))
    }

    fn write(&self, state: &mut State, revision: i64) -> Result<()> {
        let id = format!("record-{}", state.name.as_str().unwrap_or_default());
        state.id = id.clone().into();
        state.revision = revision.into();
        let note = state.note.known();
        let note = note.and_then(|note| note.text.as_str());
        let json = json!({
            "name": state.name.as_str(),
            "title": state.title.as_str(),
            "public": state.public.known(),
            "labels": state.labels.known(),
            "note": note,
            "revision": revision,
        });
        std::fs::write(self.path(&id)?, json.to_string())
            .map_err(|error| Diagnostic::error("Cannot write", error.to_string()).into())
    }

    /// What goes wrong once the record exists.
    async fn suffer(&self, cx: &mut Context, state: &State, fault: &str) -> Result<()> {
        let (how, what) = fault.split_once(' ').unwrap_or((fault, ""));
        cx.private.set("step", "made");
        match how {
            "kept" => cx.keep(state),
            "usable" => cx.keep_usable(state),
            _ => {}
        }
        cx.private.set("step", "later");
        match what {
            "panic" => panic!("asked to panic after it was made"),
            "fail" => Err(Diagnostic::error("Cannot label", "The labels are lost.").into()),
            "sleep" => {
                tokio::time::sleep(Duration::from_secs(600)).await;
                Ok(())
            }
            "wait" => {
                cx.stop.cancelled().await;
                let detail = match cx.stopped() {
                    Some(Stop::TimedOut) => "It was not ready.",
                    Some(Stop::Interrupted) => "The run was interrupted.",
                    None => "It stopped for no reason.",
                };
                Err(Diagnostic::error("Record is not ready", detail).into())
            }
            _ => Ok(()),
        }
    }
}

impl Resource for Record {
    type Clients = Clients;
    type State = State;
    const TIMEOUTS: Limits = Limits::each(Duration::from_secs(300));

    fn new(clients: Arc<Clients>) -> Self {
        Self(clients)
    }

    fn validate(config: &State) -> Diagnostics {
        match config.name.as_str() {
            Some("") => Diagnostic::error("No name", "A record has a name.").into(),
            _ => Diagnostics::default(),
        }
    }

    async fn create(
        &self,
        cx: &mut Context,
        config: &State,
        mut planned: State,
    ) -> Result<State, Failed<State>> {
        self.write(&mut planned, 1)?;
        self.0.note("create")?;
        let fault = config.fault.as_str().unwrap_or_default();
        self.suffer(cx, &planned, fault).await?;
        Ok(planned)
    }

    async fn read(&self, _: &mut Context, state: State) -> Result<Option<State>> {
        self.0.note("read")?;
        let id = state.id.as_str().unwrap_or_default();
        let Ok(text) = std::fs::read(self.path(id)?) else {
            return Ok(None);
        };
        let json: Json = serde_json::from_slice(&text)
            .map_err(|error| Diagnostic::error("Cannot read", error.to_string()))?;
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        let labels = json["labels"].as_object();
        let labels = labels.map(|labels| {
            let labels = labels.iter();
            labels
                .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect()
        });
        Ok(Some(State {
            id: state.id,
            name: text("name").into(),
            title: text("title").into(),
            public: json["public"].as_bool().into(),
            force_delete: state.force_delete,
            labels: labels.into(),
            revision: json["revision"].as_i64().into(),
            fault: state.fault,
            note: text("note").map(|text| Note { text: text.into() }).into(),
            // The server knows them.
            timeouts: Attr::Null,
        }))
    }

    async fn update(
        &self,
        _: &mut Context,
        _: &State,
        prior: &State,
        mut planned: State,
    ) -> Result<State, Failed<State>> {
        self.0.note("update")?;
        let revision = prior.revision.known().copied().unwrap_or_default();
        self.write(&mut planned, revision + 1)?;
        Ok(planned)
    }

    async fn delete(&self, cx: &mut Context, state: State) -> Result<()> {
        self.0.note("delete")?;
        if state.fault.as_str() == Some("delete never ends") {
            cx.stop.cancelled().await;
            return Err(Diagnostic::error("Cannot delete", "The record is still there.").into());
        }
        let id = state.id.as_str().unwrap_or_default();
        match std::fs::remove_file(self.path(id)?) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Diagnostic::error("Cannot delete", error.to_string()).into()),
        }
    }

    async fn import(&self, _: &mut Context, id: &str) -> Result<State> {
        Ok(named(id))
    }

    fn move_from(source: &SourceState) -> Option<Result<State>> {
        let known = source.is_of(&["oracle/oci", "hashicorp/oci"]);
        (known && source.type_name == "oci_record").then(|| {
            let name = source.json["display_name"].as_str().unwrap_or_default();
            Ok(State {
                name: name.into(),
                ..named(source.json["id"].as_str().unwrap_or_default())
            })
        })
    }
}

/// What identifies a record, and nothing else.
fn named(id: &str) -> State {
    State {
        id: id.into(),
        name: Attr::Null,
        title: Attr::Null,
        public: Attr::Null,
        force_delete: Attr::Null,
        labels: Attr::Null,
        revision: Attr::Null,
        fault: Attr::Null,
        note: Attr::Null,
        timeouts: Attr::Null,
    }
}

//! `probe_login`: something that is opened, renewed and closed.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use ocir::framework::{
    Attr, Context, Diagnostic, EphemeralResource, Model, Opened, Result, Secret,
};

use crate::Clients;

pub(crate) struct Login(Arc<Clients>);

/// A login.
#[derive(Clone, Debug, Model)]
pub(crate) struct State {
    /// Whom it is for.
    #[tf(required)]
    audience: Attr<String>,
    /// When it is renewed.
    #[tf(optional)]
    renew_ms: Attr<i64>,
    /// How it is called.
    #[tf(default = "token")]
    username: Attr<String>,
    /// What opens the door.
    #[tf(computed)]
    password: Attr<Secret<String>>,
}

impl EphemeralResource for Login {
    type Clients = Clients;
    type State = State;

    fn new(clients: Arc<Clients>) -> Self {
        Self(clients)
    }

    async fn open(&self, cx: &mut Context, config: State) -> Result<Opened<State>> {
        if self.0.directory.is_unknown() {
            let password = Attr::Unknown;
            return Ok(State { password, ..config }.into());
        }
        match config.audience.as_str() {
            Some("nobody") => {
                return Err(Diagnostic::error("Cannot log in", "There is nobody.").into());
            }
            Some("panic") => panic!("asked to panic in open"),
            _ => {}
        }
        self.0.note("open")?;
        cx.private.set("password", "correct horse battery staple");
        let every = config.renew_ms.known().map(|every| every.unsigned_abs());
        if let Some(every) = every {
            cx.private.set("every", every.to_string());
        }
        Ok(Opened {
            renew_at: every.map(after),
            state: State {
                password: Secret::from("correct horse battery staple").into(),
                ..config
            },
        })
    }

    async fn renew(&self, cx: &mut Context) -> Result<Option<SystemTime>> {
        self.0.note("renew")?;
        let every = cx.private.get("every").map(String::from_utf8_lossy);
        Ok(every.and_then(|every| every.parse().ok()).map(after))
    }

    async fn close(&self, cx: &mut Context) -> Result<()> {
        match cx.private.get("password") {
            Some(_) => self.0.note("close"),
            None => Err(Diagnostic::error("Cannot log out", "Nobody is logged in.").into()),
        }
    }
}

fn after(milliseconds: u64) -> SystemTime {
    SystemTime::now() + Duration::from_millis(milliseconds)
}

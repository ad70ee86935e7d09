//! A create whose answer was lost. Oracle tells the value of a token once, in that
//! answer, and once more to a call with the same retry token.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    oci,
    provider::{absence, clients::Clients},
};

/// A create that can be repeated.
#[derive(Clone, Copy)]
pub(super) struct Create<'a> {
    pub(super) clients: &'a Clients,
    pub(super) oci: &'a oci::Client,
    pub(super) user_id: &'a str,
    pub(super) description: &'a str,
    pub(super) retry_token: &'a str,
    /// OCIDs of the tokens that were listed before; nothing when they may not be.
    pub(super) held: Option<&'a [String]>,
}

/// What became of it.
pub(super) enum Outcome {
    /// It made this, and the answer came after all.
    Made(Box<oci::AuthToken>),
    /// It made this, and its value is lost.
    Valueless(Box<oci::AuthToken>),
    /// It made nothing that the user's list has.
    Absent,
    /// Nobody could say.
    Unknown,
}

impl Create<'_> {
    /// Asks for the token. To a second call the answer is that of the first.
    pub(super) async fn ask(&self) -> Result<oci::AuthToken, oci::Error> {
        self.ask_with(self.oci).await
    }

    /// Finds out what became of it. It is asked for again only when the user has a
    /// token that may be its, so that nothing is made after the run was stopped.
    pub(super) async fn settle(&self, stopped: bool) -> Outcome {
        let Some(held) = self.held else {
            return Outcome::Unknown;
        };
        // The call was stopped, perhaps; this has a time of its own.
        let stop = CancellationToken::new();
        let _ends = stop.clone().drop_guard();
        let oci = self.oci.with_stop(stop);
        let mut made = None;
        let ask = async {
            for look in 1_u32.. {
                let Ok(listed) = oci.list_auth_tokens(self.user_id).await else {
                    return Outcome::Unknown;
                };
                let mut new: Vec<_> = listed
                    .into_iter()
                    .filter(|token| self.may_have_made(token, held))
                    .collect();
                made = match new.len() {
                    1 => new.pop(),
                    _ => None,
                };
                match (&made, new.is_empty()) {
                    (None, true) if look == LOOKS => return Outcome::Absent,
                    // A list may not have a new token at once.
                    (None, true) => tokio::time::sleep(PAUSE).await,
                    _ => break,
                }
            }
            match self.ask_with(&oci).await {
                Ok(token) => Outcome::Made(Box::new(token)),
                Err(_) => Outcome::Unknown,
            }
        };
        let time = match stopped {
            true => SETTLING_AFTER_STOP,
            false => SETTLING,
        };
        let outcome = tokio::time::timeout(time, ask).await;
        match (outcome.unwrap_or(Outcome::Unknown), made) {
            // Another resource may have one of this description since.
            (Outcome::Unknown, Some(token)) if self.clients.note_kept_token(&token.id) => {
                Outcome::Valueless(Box::new(token))
            }
            (outcome, _) => outcome,
        }
    }

    fn may_have_made(&self, token: &oci::AuthToken, held: &[String]) -> bool {
        !held.contains(&token.id)
            && !self.clients.is_kept_token(&token.id)
            && !absence::is_deleted(&token.lifecycle_state)
            && token.description.as_deref().unwrap_or_default() == self.description
    }

    async fn ask_with(&self, oci: &oci::Client) -> Result<oci::AuthToken, oci::Error> {
        oci.create_auth_token_as(self.user_id, self.description, self.retry_token)
            .await
    }
}

pub(super) const ABSENT: &str =
    "Nothing was created, as far as the list of the user's tokens tells: it has no new one.";
pub(super) const UNKNOWN: &str = "Whether it was created all the same could not be found out. The next plan tells: it warns of a token that may be left \
                                  over, and says how to delete it.";
pub(super) const UNSEEN: &str = "Whether it was created all the same could not be found out, since the user's tokens may not be listed. Ask somebody who may to \
                                 look for a new one with this description, and to delete it: nobody knows its value.";

/// How long the outcome of a create is looked for.
const SETTLING: Duration = Duration::from_secs(15);
/// The same when somebody waits for the run to end.
const SETTLING_AFTER_STOP: Duration = Duration::from_secs(5);

/// How often the list is looked at, and the pause between.
const LOOKS: u32 = 2;
const PAUSE: Duration = Duration::from_secs(1);

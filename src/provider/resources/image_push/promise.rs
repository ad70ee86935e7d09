//! What an earlier plan promised.
//!
//! A host that applies a plan asks for it once more, in another process of the
//! provider, and refuses to go on when something differs that was known. Its words
//! blame the provider. Which digest the earlier plan had, it does not tell; so plans write
//! it down in the cache, where the next one finds it. Without a cache, or on
//! another machine, the host's words stand alone.

use std::fmt;

use super::{ImagePush, State};
use crate::{
    cty::Path,
    framework::{Attr, Context, Diagnostic},
    image::{Digest, Image},
};

impl ImagePush {
    /// Warns when the source of what is planned is not what it was in an earlier
    /// plan, which may be the one that is being applied.
    pub(super) async fn compare_with_last_plan(
        &self,
        cx: &mut Context,
        prior: Option<&State>,
        planned: &State,
        image: &Image,
    ) {
        let Some(cache) = self.clients.load_options().cache else {
            return;
        };
        let (key, run) = (key(prior, planned), self.clients.run());
        let now = image.root().digest.clone();
        let found = now.clone();
        let compared = tokio::task::spawn_blocking(move || {
            let last = cache.note(&key).and_then(|note| Promise::parse(&note));
            let promise = match last {
                // As it was then, and it may be asked for again.
                Some(last) if last.run != run && last.digest == found => return None,
                Some(last) => Promise {
                    run,
                    then: match last.run == run {
                        true => last.then,
                        false => Some(last.digest),
                    },
                    digest: found,
                },
                None => Promise {
                    run,
                    digest: found,
                    then: None,
                },
            };
            cache.write_note(&key, &promise.to_string());
            promise.then
        });
        let Some(then) = compared.await.ok().flatten() else {
            return;
        };
        let was_applied = prior.is_some_and(|prior| prior.digest.as_str() == Some(then.as_str()));
        if then == now || was_applied {
            return;
        }
        cx.warn(
            Diagnostic::warning(
                "Image source changed since the last plan",
                format!(
                    "{} held {then} when it was last planned, and holds {now} now. This concerns only a plan that was made before: the CLI \
                     refuses to apply it, and says that the provider produced an inconsistent final plan. Plan again then, after whatever \
                     writes the source has ended.",
                    planned.source.as_str().unwrap_or_default()
                ),
            )
            .at(Path::attribute("source")),
        );
    }
}

/// What tells one planned push from another. With what there is before in it, a
/// source that changes after an apply is no broken promise.
fn key(prior: Option<&State>, planned: &State) -> String {
    let directory = std::env::current_dir().unwrap_or_default();
    let text = |value: &Attr<String>| value.as_str().unwrap_or("").to_owned();
    let parts = [
        directory.display().to_string(),
        text(&planned.source),
        text(&planned.namespace),
        text(&planned.repository),
        text(&planned.tag),
        format!("{:?}", planned.platforms),
        text(&planned.format),
        text(&planned.compression),
        prior.map(|prior| text(&prior.digest)).unwrap_or_default(),
    ];
    format!("plan\n{}", parts.join("\n"))
}

/// What a plan promised, as it is written down: who planned, the digest, and the
/// other one that a run before it had promised.
struct Promise {
    run: u64,
    digest: Digest,
    then: Option<Digest>,
}

impl Promise {
    fn parse(note: &str) -> Option<Self> {
        let mut words = note.split(' ');
        Some(Self {
            run: words.next()?.parse().ok()?,
            digest: words.next()?.parse().ok()?,
            then: words.next().and_then(|word| word.parse().ok()),
        })
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.run, self.digest)?;
        match &self.then {
            Some(then) => write!(f, " {then}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Whatever stands in the cache as a promise, it is one that is written as it was read,
        /// or none; and what is written is read again.
        #[test]
        fn any_promise(
            text in crate::spoilt::text(&[
                &format!("17 {FIRST}"),
                &format!("18446744073709551615 {FIRST} {SECOND}"),
            ]),
            run in proptest::prelude::any::<u64>(),
            has_other in proptest::prelude::any::<bool>(),
        ) {
            if let Some(promise) = Promise::parse(&text) {
                let again = promise.to_string();
                proptest::prop_assert_eq!(Promise::parse(&again).map(|promise| promise.to_string()), Some(again.clone()));
                proptest::prop_assert!(text.contains(promise.digest.as_str()));
                // What stands behind it is left alone, and no other reading of a number is.
                proptest::prop_assert!(again.len() <= text.len(), "{}", again);
            }
            let promise = Promise {
                run,
                digest: FIRST.parse().expect("it is one"),
                then: has_other.then(|| SECOND.parse().expect("it is one")),
            };
            let read = Promise::parse(&promise.to_string());
            let read = read.map(|read| (read.run, read.digest, read.then));
            proptest::prop_assert_eq!(read, Some((promise.run, promise.digest, promise.then)));
        }
    }

    const FIRST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    const SECOND: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
}

//! From what a client says to what a person reads: what failed, why, what to
//! do, and what Oracle's support asks for.
//!
//! A detail has a paragraph for each of these, in this order, and ends with
//! the lines of who asked and of the request id.

use std::error::Error as StdError;

use http::StatusCode;

use super::{
    clients::Registry,
    once::Failure,
    policy::{self, Place},
};
use crate::{
    credentials::{self, Grantee},
    cty::Path,
    framework::{Context, Diagnostic, Diagnostics, Stop},
    image, oci,
    region::Region,
    registry,
};

/// A control plane's error. `what` is a sentence without its period that says
/// what could not be done, with the names; `place` is where, for the policy
/// that would allow it.
pub(super) fn oci(
    summary: &str,
    what: &str,
    place: Place<'_>,
    error: &oci::Error,
    client: &oci::Client,
) -> Diagnostics {
    if let oci::Error::Credentials(error) = error {
        return renewal(error, client);
    }
    let detail = explain(what, place, error, client);
    Diagnostic::error(summary_of(error, summary), detail).into()
}

/// The same in a call that may have run out of time: then nobody interrupted it.
pub(super) fn failed(
    cx: &Context,
    summary: &str,
    what: &str,
    place: Place<'_>,
    error: &oci::Error,
    client: &oci::Client,
) -> Diagnostics {
    match (error, cx.stopped()) {
        (error, Some(Stop::TimedOut)) if error.is_stopped() => {
            Diagnostic::error(summary, format!("{what}: there was no time left.")).into()
        }
        _ => oci(summary, what, place, error, client),
    }
}

/// The same with what is known of the outcome, in a sentence of its own.
pub(super) fn with_outcome(diagnostics: Diagnostics, outcome: &str) -> Diagnostics {
    let with_outcome = |diagnostic: Diagnostic| {
        // Who asked, and the request id, stay the last lines.
        let detail = diagnostic.detail;
        let at = detail.rfind("\n\nSigned in as: ").unwrap_or(detail.len());
        let (before, footer) = detail.split_at(at);
        Diagnostic {
            detail: format!("{before}\n\n{outcome}{footer}"),
            ..diagnostic
        }
    };
    diagnostics.into_iter().map(with_outcome).collect()
}

/// A refusal about which more is known than it says: `advice` stands in place
/// of the usual one.
pub(super) fn refusal(
    summary: &str,
    what: &str,
    error: &oci::Error,
    client: &oci::Client,
    advice: &str,
) -> Diagnostic {
    let identity = client.credentials().describe();
    let footer = footer(&identity, error.opc_request_id());
    let detail = format!("{what}. {}\n\n{advice}\n\n{footer}", answer(error));
    Diagnostic::error(summary, detail)
}

/// What to do about a refusal of something that is proven to exist.
pub(super) fn lost_right(error: &oci::Error, place: Place<'_>, client: &oci::Client) -> String {
    let operation = match error {
        oci::Error::Service { operation, .. } => operation,
        _ => "",
    };
    if is_own_token(operation, place, client) {
        return OWN_TOKENS.to_owned();
    }
    let lost = "The right to do this was lost. A policy gives it back";
    allow(lost, operation, place, client)
}

/// "A policy that allows it, for example:" and the statements; nothing for an
/// operation that no policy is known for.
pub(super) fn allow(
    introduction: &str,
    operation: &str,
    place: Place<'_>,
    client: &oci::Client,
) -> String {
    let grantee = client.credentials().grantee();
    match policy::statements(operation, &grantee, place) {
        Some(statements) => format!("{introduction}, for example:{statements}"),
        None => format!("{introduction}."),
    }
}

/// Who is not let in has the same problem, whatever was to be done.
fn summary_of<'a>(error: &oci::Error, summary: &'a str) -> &'a str {
    match error {
        oci::Error::Anonymous { .. } => SIGN_IN,
        error if error.is_unauthenticated() && error.code().is_some() => SIGN_IN,
        _ => summary,
    }
}

/// The detail of [`oci`].
pub(super) fn explain(
    what: &str,
    place: Place<'_>,
    error: &oci::Error,
    client: &oci::Client,
) -> String {
    if error.is_stopped() {
        return interrupted(what);
    }
    let mut paragraphs = vec![format!("{what}. {}", answer(error))];
    paragraphs.extend(advice(error, place, client));
    paragraphs.push(footer(
        &client.credentials().describe(),
        error.opc_request_id(),
    ));
    paragraphs.join("\n\n")
}

/// A registry's error. `right` is what was to be done there, [`policy::PULL`]
/// or [`policy::PUSH`].
pub(super) fn registry(
    summary: &str,
    what: &str,
    right: &str,
    error: &registry::Error,
    registry: &Registry,
) -> Diagnostics {
    // The token comes from the control plane's client, whose errors explain themselves.
    let sign_in = find::<oci::Error>(error);
    let summary = sign_in.map_or(summary, |error| summary_of(error, summary));
    let why = match sign_in {
        Some(error) if error.is_stopped() => {
            return Diagnostic::error(summary, interrupted(what)).into();
        }
        Some(oci::Error::Credentials(error)) => {
            return match &registry.oci {
                Some(client) => renewal(error, client),
                None => credentials(error),
            };
        }
        Some(sign_in) => answer(sign_in),
        None => registry_answer(error),
    };
    let mut paragraphs = vec![format!("{what}. {why}")];
    let path = match error {
        registry::Error::Stopped => {
            return Diagnostic::error(summary, interrupted(what)).into();
        }
        // The source is at fault, and not who signed in here.
        registry::Error::Blob { source, .. } => {
            let source = image::Error::find(&**source);
            paragraphs.extend(source.and_then(source_advice));
            paragraphs.extend(source.and_then(source_footer));
            return Diagnostic::error(summary, paragraphs.join("\n\n"))
                .at(Path::attribute("source"))
                .into();
        }
        registry::Error::BlobChanged { .. } => {
            paragraphs.push(CHANGED.to_owned());
            return Diagnostic::error(summary, paragraphs.join("\n\n"))
                .at(Path::attribute("source"))
                .into();
        }
        error if is_unknown_tenant(error) && error.is_not_found() => Path::attribute("namespace"),
        error if error.is_name_unknown() && error.is_not_found() => Path::attribute("repository"),
        registry::Error::TagElsewhere { .. } => Path::attribute("if_exists"),
        _ => Path::root(),
    };
    paragraphs.extend(match (sign_in, &registry.oci) {
        (Some(sign_in), Some(client)) => advice(sign_in, Place::Unknown, client),
        _ => registry_advice(error, right, registry),
    });
    let request_id = sign_in
        .and_then(oci::Error::opc_request_id)
        .or_else(|| error.request_id());
    paragraphs.push(footer(&registry.identity(), request_id));
    Diagnostic::error(summary, paragraphs.join("\n\n"))
        .at(path)
        .into()
}

/// An image's source that cannot be read.
pub(super) fn source(error: &image::Error) -> Diagnostics {
    let summary = "Cannot read image source";
    match error {
        image::Error::Stopped => {
            Diagnostic::error(summary, interrupted("The image's source was not read")).into()
        }
        error => {
            let mut paragraphs = vec![sentence(error)];
            paragraphs.extend(source_advice(error));
            paragraphs.extend(source_footer(error));
            Diagnostic::error(summary, paragraphs.join("\n\n"))
                .at(Path::attribute("source"))
                .into()
        }
    }
}

/// What to do about a source, where its error does not say so itself.
fn source_advice(error: &image::Error) -> Option<String> {
    use image::Error as E;
    let advice = match error {
        E::DamagedArchive { .. }
        | E::Digest { .. }
        | E::Json { .. }
        | E::MissingBlob { .. }
        | E::Size { .. }
        | E::Truncated { .. } => Some(
            "The source is damaged, or was still being written. Make it again, and let that end before the run begins.",
        ),
        E::DuplicateEntry { .. }
        | E::Link { .. }
        | E::Outside { .. }
        | E::UnsupportedEntry { .. } => {
            Some("No tool that saves images writes such an archive, so nothing of it is used.")
        }
        E::SourceChanged { .. } => Some(CHANGED),
        E::Read { .. } => return whereabouts(error),
        E::Remote { source, .. } => return find(&**source).and_then(remote_advice),
        _ => None,
    };
    advice.map(str::to_owned)
}

/// Where a file was looked for that is not there, unless its path says so.
pub(super) fn whereabouts(error: &image::Error) -> Option<String> {
    let image::Error::Read { place, .. } = error else {
        return None;
    };
    // A path is quoted, and what is no path is not.
    let path = place.strip_prefix('"')?;
    if !error.is_missing() || std::path::Path::new(path).is_absolute() {
        return None;
    }
    let directory = std::env::current_dir().ok()?;
    Some(format!(
        "It was looked for in {directory:?}, where the CLI runs. A path that begins with \"${{path.module}}/\" is beside the configuration."
    ))
}

/// What to do about a registry that an image is read from.
fn remote_advice(error: &registry::Error) -> Option<String> {
    let host = match error {
        registry::Error::Registry { host, .. } => host,
        registry::Error::Transport { .. } => return Some(NOT_REACHED.to_owned()),
        registry::Error::Protocol { .. } => return Some(NO_REGISTRY.to_owned()),
        _ => return None,
    };
    match error.status() {
        Some(401 | 403 | 404) => Some(format!(
            "Registries tell strangers little: either there is no such image, or the login that is used has no right to read it. A login is \
             looked for where podman and Docker keep theirs. Make one, for example with:\n    docker login {host}"
        )),
        Some(429) => Some(
            "The registry is throttling. It may allow more to those who sign in; or apply again later.".to_owned(),
        ),
        Some(500..=599) => Some("The registry failed, not the request. Apply again later.".to_owned()),
        _ => None,
    }
}

/// Who was signed in where the image comes from.
fn source_footer(error: &image::Error) -> Option<String> {
    match error {
        image::Error::Remote { identity, .. } => Some(footer(identity, None)),
        _ => None,
    }
}

/// It is not known whether Docker or podman has a login.
pub(super) fn docker_config(error: &registry::DockerConfigError) -> Failure {
    let summary = "Cannot read Docker's configuration";
    match error {
        registry::DockerConfigError::Stopped => Failure {
            diagnostics: stopped("Nobody was signed in"),
            passes: true,
        },
        error => Failure {
            diagnostics: Diagnostic::error(summary, sentence(error)).into(),
            // A helper may have asked somebody who does better the next time.
            passes: matches!(error, registry::DockerConfigError::Helper { .. }),
        },
    }
}

/// There is no credential.
pub(super) fn credentials(error: &credentials::Error) -> Diagnostics {
    match error {
        credentials::Error::UnknownRegion { named_by, .. } => {
            let detail = format!("{}\n\nIt is what {named_by} says.", sentence(error));
            Diagnostic::error("Unknown region", detail).into()
        }
        _ => Diagnostic::error(SIGN_IN, sentence(error)).into(),
    }
}

/// There was an identity, and it has no credential any more, or none yet.
pub(super) fn renewal(error: &credentials::Error, client: &oci::Client) -> Diagnostics {
    let who = client.credentials().describe();
    let detail = format!("{}\n\nSigning in as: {who}", sentence(error));
    Diagnostic::error(SIGN_IN, detail).into()
}

/// The run was stopped while it was found out who signs in.
pub(super) fn stopped(what: &str) -> Diagnostics {
    Diagnostic::error("Interrupted", interrupted(what)).into()
}

/// An error and its causes, each level once, in one line.
pub(super) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let level = error.to_string();
        if !text.contains(&level) {
            text.push_str(": ");
            text.push_str(&level);
        }
        cause = error.source();
    }
    text
}

/// [`chain`] as a sentence: with a capital letter, and a full stop unless it ends
/// with a command.
pub(super) fn sentence(error: &dyn StdError) -> String {
    let mut text = capital(&chain(error));
    let ends_with_command = text
        .lines()
        .last()
        .is_some_and(|line| line.starts_with("    "));
    if !ends_with_command && !text.ends_with(['.', '?']) {
        text.push('.');
    }
    text
}

fn capital(text: &str) -> String {
    // An address or a path stays as it is written.
    let first = text.split_whitespace().next().unwrap_or_default();
    if first.contains(['/', '.', '_']) {
        return text.to_owned();
    }
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

fn interrupted(what: &str) -> String {
    format!("{what}: {INTERRUPTED}")
}

fn footer(identity: &str, request_id: Option<&str>) -> String {
    let mut text = format!("Signed in as: {identity}");
    if let Some(id) = request_id {
        text.push_str(&format!("\nRequest id: {id}"));
    }
    text
}

/// The error of a kind in a chain.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The cause at the bottom: what lies above it in an HTTP client says only
/// that a request failed.
fn bottom(error: &dyn StdError) -> String {
    let mut bottom = error;
    while let Some(cause) = bottom.source() {
        bottom = cause;
    }
    bottom.to_string().trim_end_matches('.').to_owned()
}

/// What was answered, as a sentence.
pub(super) fn answer(error: &oci::Error) -> String {
    match error {
        oci::Error::Service {
            operation,
            service,
            host,
            status,
            code,
            message,
            attempts,
            ..
        } => {
            let said = said(*status, code, message, *attempts);
            format!("{operation} of service {service} at {host} was answered {said}")
        }
        oci::Error::Transport {
            operation,
            host,
            attempts,
            source,
            ..
        } => no_answer(
            &format!("{} got no answer from {host}", named(operation)),
            *attempts,
            source,
        ),
        oci::Error::Decode {
            operation, source, ..
        } => {
            // The parser quotes texts that it did not expect, and one may be a secret.
            let why = match source.to_string() {
                why if !source.is_data() => format!("it is no JSON, {why}"),
                why if why.contains("string \"") => format!(
                    "a text stands where something else belongs, at line {} column {}",
                    source.line(),
                    source.column()
                ),
                why => why,
            };
            format!("The answer to {} cannot be read: {why}.", named(operation))
        }
        oci::Error::Anonymous { host, .. } => {
            format!("{host} gave a token that is nobody's.")
        }
        other => sentence(other),
    }
}

/// An operation with its service, as far as the error does not say it.
fn named(operation: &str) -> String {
    match policy::service(operation) {
        Some(service) => format!("{operation} of service {service}"),
        None => operation.to_owned(),
    }
}

/// What the registry answered, as a sentence.
fn registry_answer(error: &registry::Error) -> String {
    match error {
        registry::Error::Registry {
            operation,
            host,
            status,
            code,
            message,
            attempts,
            ..
        } => format!(
            "{} at {host} was answered {}",
            capital(operation),
            said(*status, code, message, *attempts)
        ),
        // Which blob it is, the name of its file says.
        registry::Error::Blob { source, .. } => sentence(&**source),
        registry::Error::Interrupted { source, .. } => {
            format!("{}: {}.", capital(&error.to_string()), bottom(source))
        }
        registry::Error::Transport {
            source, attempts, ..
        } => no_answer(&capital(&error.to_string()), *attempts, source),
        other => sentence(other),
    }
}

fn no_answer(what: &str, attempts: u32, source: &reqwest::Error) -> String {
    let why = bottom(source);
    match attempts {
        0 | 1 => format!("{what}: {why}."),
        several => format!("{what} in the last of {several} attempts: {why}."),
    }
}

/// Status, code and message, and the end of the sentence.
fn said(status: u16, code: &str, message: &str, attempts: u32) -> String {
    let mut text = status.to_string();
    let reason = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    if let Some(word) = Some(code).filter(|code| !code.is_empty()).or(reason) {
        text.push(' ');
        text.push_str(word);
    }
    let message = message.trim();
    // A gateway's page often says nothing but its status.
    let repeats = message == text;
    if attempts > 1 {
        text.push_str(&format!(" in the last of {attempts} attempts"));
    }
    if !message.is_empty() && !repeats {
        text.push_str(": ");
        text.push_str(message);
    }
    if !text.ends_with(['.', '!', '?', '…']) {
        text.push('.');
    }
    text
}

/// What to do about it.
fn advice(error: &oci::Error, place: Place<'_>, client: &oci::Client) -> Option<String> {
    let region = client.region();
    let (status, code, operation) = match error {
        oci::Error::Service {
            status,
            code,
            operation,
            message,
            ..
        } => {
            // Oracle's services send a code with every message.
            if code.is_empty() && !message.is_empty() {
                return Some(STRANGER.to_owned());
            }
            (*status, code.as_str(), *operation)
        }
        oci::Error::Transport { .. } => {
            return Some(UNREACHABLE.to_owned());
        }
        oci::Error::Decode { source, .. } if source.is_data() => {
            return Some(
                "The service answers in a form that this version of the provider does not know. Look for a newer one.".to_owned(),
            );
        }
        oci::Error::Decode { operation, .. } => {
            let reads = ["Get", "List", "Lookup"]
                .iter()
                .any(|verb| operation.starts_with(verb));
            return Some(match reads {
                true => STRANGER.to_owned(),
                false => format!(
                    "{STRANGER} Whether the change was made is not known; look before it is made again."
                ),
            });
        }
        oci::Error::Anonymous { .. } => {
            return Some(clock(error).unwrap_or_else(|| {
                format!(
                    "The registry does not refuse a signature that it does not accept: it takes the caller for an anonymous one. {}",
                    check_identity(client)
                )
            }));
        }
        _ => return None,
    };
    Some(match (status, code) {
        (401, _) => clock(error).unwrap_or_else(|| {
            format!("The signature was not accepted. {}", check_identity(client))
        }),
        (403, _) if error.is_wrong_region() => {
            let home = error.home_region_key().and_then(|key| Region::parse(key).ok());
            match home {
                Some(home) => format!(
                    "Users and their tokens are changed in the tenancy's home region only, and the provider is configured for {}. \
                     Configure one for the home region, and name it in the resource:\n    \
                     provider \"ocir\" {{\n      alias  = \"home\"\n      region = \"{}\"\n    }}\n\n    provider = ocir.home",
                    region.identifier, home.identifier
                ),
                None => format!(
                    "Users and their tokens are changed in the tenancy's home region only, and the provider is configured for {}.",
                    region.identifier
                ),
            }
        }
        (_, "FREE_TIER_NOT_SUPPORTED") => {
            "Oracle serves this to paid accounts only, and the tenancy is of the kind that is free for ever. No policy changes that; upgrading \
             the account in the console does."
                .to_owned()
        }
        (403 | 404, _) if is_own_token(operation, place, client) => OWN_TOKENS.to_owned(),
        (404, _) => {
            let asked = format!(
                "Oracle answers the same whether something does not exist or may not be seen. Check the OCIDs and the region ({}), and \
                 that a policy allows it",
                region.identifier
            );
            allow(&asked, operation, place, client)
        }
        (403, _) => allow("The right to do that is missing. A policy gives it", operation, place, client),
        (429, _) => THROTTLED.to_owned(),
        (400, "LimitExceeded" | "QuotaExceeded") => {
            "The tenancy's limit or quota is used up. Delete what is not needed, or ask for more in the console.".to_owned()
        }
        (500..=599, _) => BROKEN.to_owned(),
        _ => return None,
    })
}

/// A clock that is too wrong for signatures.
fn clock(error: &oci::Error) -> Option<String> {
    let skew = error.clock_skew()?;
    (skew.unsigned_abs() >= 300).then(|| {
        format!(
            "This machine's clock is {} minutes {} the service's, and a signature is good for five minutes. Set the clock.",
            (skew.unsigned_abs() + 30) / 60,
            if skew > 0 { "ahead of" } else { "behind" },
        )
    })
}

/// What to look at when a signature is not accepted, by kind of principal: only
/// a user can have an API key.
fn check_identity(client: &oci::Client) -> String {
    let credentials = client.credentials();
    match credentials.grantee() {
        Grantee::DynamicGroup => {
            "No API key is involved: an instance, a function or another resource signs with a token that Oracle's cloud gives it. Check that \
             the resource has not been terminated, and that the region belongs to its realm. Run again, which asks for another token."
                .to_owned()
        }
        Grantee::AnyUserWhere(_) => {
            "No API key is involved: a cluster or an identity domain vouches for the workload. Check that the pod's service account, or the \
             domain's trust in the pipeline, still exists, and that the region is the right one."
                .to_owned()
        }
        // Users sign in in several ways, and only the description tells which.
        Grantee::Group if !credentials.describe().contains("API key") => {
            "The session may have ended, or been revoked. Begin another: open Cloud Shell again, start the pipeline's job again, or renew \
             the session of Oracle's CLI:\n    oci session authenticate"
                .to_owned()
        }
        Grantee::Group => {
            let check = "Check that user, tenancy and API key belong together, and that the key is uploaded for the user and active (a new one \
                         is known everywhere after some minutes)";
            match credentials.user_id() {
                Some(user_id) => {
                    format!("{check}:\n    oci iam user api-key list --user-id {user_id}")
                }
                None => format!("{check}."),
            }
        }
    }
}

/// Whether users ask about their own tokens.
fn is_own_token(operation: &str, place: Place<'_>, client: &oci::Client) -> bool {
    operation.contains("AuthToken")
        && matches!(place, Place::User(id) if client.credentials().user_id().as_deref() == Some(id))
}

fn registry_advice(error: &registry::Error, right: &str, registry: &Registry) -> Option<String> {
    let host = registry.client.host();
    if error.is_anonymous_denial() || error.is_unauthorized() {
        return Some(match (registry.is_ocir, registry.has_login) {
            (_, true) => format!(
                "{host} does not accept the user name and password that are set in the provider's argument \"registry\" or in \
                 OCI_REGISTRY_USERNAME and OCI_REGISTRY_PASSWORD. At Oracle's registry they are NAMESPACE/USER and an auth token, which \
                 works some minutes after it was made."
            ),
            (true, false) => format!(
                "{host} takes the caller for an anonymous one. {}",
                registry
                    .oci
                    .as_ref()
                    .map(check_identity)
                    .unwrap_or_default()
            ),
            (false, false) if registry.is_dockers => format!(
                "{host} does not accept the login that the configuration of Docker or podman has for it. Sign in again, for example with:\n    docker login {host}"
            ),
            (false, false) => format!(
                "The provider's own identity means nothing to {host}. Set \"username\" and \"password\" in the provider's argument \"registry\", or \
                 sign in with Docker, whose configuration is read:\n    docker login {host}"
            ),
        });
    }
    if is_unknown_tenant(error) {
        return Some(format!(
            "{host} has no such namespace. Leave the argument \"namespace\" out, so that it is the tenancy's own, which is not the tenancy's name; \
             and check that it is the registry of the tenancy's region."
        ));
    }
    if error.is_immutable() {
        return Some(
            "Nobody can move a tag of an immutable repository, whatever policies say. Push under another tag, or set \"if_exists\" to \"adopt\" to \
             accept what is there."
                .to_owned(),
        );
    }
    if error.status() == Some(413) && is_about_manifest(error) {
        return Some(
            "The registry, or a proxy or a gateway before it, takes no manifest of that size. Raise its limit, or build the image with fewer \
             layers or annotations."
                .to_owned(),
        );
    }
    if error.status() == Some(413) {
        return Some(
            "The registry, or a proxy or a gateway before it, takes no request of that size. Large layers are sent in parts where that helps. \
             Raise its limit, or build the image of smaller layers."
                .to_owned(),
        );
    }
    if is_content_missing(error) {
        return Some(
            "Something that the image is made of was not there when it was to be named, although it had been sent before. Somebody may be \
             cleaning up in the repository at this moment; apply again."
                .to_owned(),
        );
    }
    match error.code() {
        "MANIFEST_INVALID" => {
            return Some(
                "The registry does not take images of this kind. The arguments \"format\" and \"compression\" write them in another way: \
                 registries that know nothing else take \"docker\" and \"gzip\"."
                    .to_owned(),
            );
        }
        "DIGEST_INVALID" => {
            return Some(
                "The source was read again and has that digest, so the bytes change between here and the registry: look at proxies and gateways \
                 on the way, and apply again."
                    .to_owned(),
            );
        }
        "BLOB_UPLOAD_UNKNOWN" | "BLOB_UPLOAD_INVALID" => {
            return Some(
                "The registry forgets uploads while they are under way, as one does whose requests are spread over several servers that share \
                 nothing. Apply again; if it stays like this, it is the registry's operators who can help."
                    .to_owned(),
            );
        }
        "UNSUPPORTED" => {
            return Some(format!(
                "{host} takes no pushes. It may be a mirror, which only gives images out, or be set to read-only."
            ));
        }
        _ => {}
    }
    // A registry sends a code with every message; an answer to HEAD has neither.
    if let registry::Error::Registry { code, message, .. } = error
        && code.is_empty()
        && !message.is_empty()
    {
        return Some(STRANGER.to_owned());
    }
    if error.is_denied() || error.is_not_found() || error.is_name_unknown() {
        return Some(match registry.is_ocir {
            true => {
                let grantee = registry
                    .oci
                    .as_ref()
                    .map_or(Grantee::Group, |client| client.credentials().grantee());
                let statements =
                    policy::statements(right, &grantee, Place::Unknown).unwrap_or_default();
                format!(
                    "Either the repository does not exist, or a policy is missing; the registry does not tell which. Create the repository \
                     with an ocir_repository that the push refers to, and allow the {right}, for example:{statements}"
                )
            }
            false => {
                "Check the namespace and the name of the repository, and the rights of the user."
                    .to_owned()
            }
        });
    }
    match error {
        registry::Error::Interrupted { .. } | registry::Error::TimedOut { .. } => Some(
            "Apply again: blobs that have arrived are not sent twice. If it breaks off at the same place each time, look for a proxy or a \
             gateway with a limit on sizes or times."
                .to_owned(),
        ),
        registry::Error::Transport { .. } if registry.is_ocir => Some(UNREACHABLE.to_owned()),
        registry::Error::Transport { .. } => Some(NOT_THERE.to_owned()),
        registry::Error::Digest { .. } => Some(
            "Apply again. If it stays like this, something between here and the registry changes what passes, or somebody else pushes \
             under the same tag."
                .to_owned(),
        ),
        registry::Error::Protocol { .. } | registry::Error::Redirect { .. } => {
            Some(STRANGER.to_owned())
        }
        registry::Error::TagElsewhere { .. } => Some(
            "The argument \"if_exists\" is \"error\", so that no tag is moved away from an image that was not pushed here. Nothing was pushed. \
             Choose another tag, or set \"if_exists\" to \"overwrite\" to move the tag, or to \"adopt\" to accept what is there."
                .to_owned(),
        ),
        error if error.is_throttled() => Some(THROTTLED.to_owned()),
        error => match error.status() {
            Some(500..=599) if registry.is_ocir => Some(BROKEN.to_owned()),
            Some(500..=599) => Some("The registry failed, not the request. Apply again later.".to_owned()),
            _ => None,
        },
    }
}

/// Why a call that was stopped did not end.
pub(super) const INTERRUPTED: &str = "the run was interrupted.";

/// Whether OCIR says that it does not know the namespace.
fn is_unknown_tenant(error: &registry::Error) -> bool {
    matches!(error, registry::Error::Registry { message, .. } if message.starts_with("Tenant with name"))
}

fn is_about_manifest(error: &registry::Error) -> bool {
    matches!(error, registry::Error::Registry { operation, .. } if operation.contains("of manifest "))
}

/// Whether a registry misses something that a manifest names.
fn is_content_missing(error: &registry::Error) -> bool {
    matches!(error.code(), "MANIFEST_BLOB_UNKNOWN" | "BLOB_UNKNOWN")
}

const BROKEN: &str = "The service failed, not the request. Apply again later; if it stays like this, give Oracle's support the request id.";
const CHANGED: &str = "Let whatever writes the source end before the run begins, then plan again.";
const NOT_REACHED: &str =
    "Check how the host is written, the network, and whether a proxy is needed (HTTPS_PROXY).";
const NOT_THERE: &str = "Check the network, the provider's argument \"registry.host\" (and \"plain_http\" there, for a registry without HTTPS), and whether a \
                         proxy is needed (HTTPS_PROXY).";
const NO_REGISTRY: &str = "Check how the host is written: what answers there may be something else, or a proxy in front of it.";
const OWN_TOKENS: &str = "A user needs no policy for tokens of its own. Check that the user still exists and is active, and that an administrator has not \
                          switched off auth tokens for it (capability canUseAuthTokens).";
const SIGN_IN: &str = "Cannot sign in to Oracle Cloud";
const STRANGER: &str = "A proxy or a gateway may have answered in the service's place. Check the argument \"endpoint\" of the provider if it is \
                        set, and HTTPS_PROXY and NO_PROXY.";
const THROTTLED: &str = "The service is throttling. Apply again later, or with fewer requests at once:\n    terraform apply -parallelism=2";
const UNREACHABLE: &str = "Check the network, the provider's arguments \"region\" and \"endpoint\", and whether a proxy is needed (HTTPS_PROXY).";

/// Identities for tests of what is said to each kind.
#[cfg(test)]
pub(super) mod testing {
    use std::sync::Arc;

    use base64::{Engine, engine::general_purpose::STANDARD};
    use futures_util::future::{BoxFuture, FutureExt, ready};

    use crate::{
        credentials::{Credential, CredentialSource, Error, Grantee},
        oci,
        region::Region,
        signing::SigningKey,
        transport,
    };

    /// Somebody who says who it is.
    pub(in crate::provider) struct Somebody {
        pub(in crate::provider) description: &'static str,
        pub(in crate::provider) user_id: Option<&'static str>,
        pub(in crate::provider) grantee: Grantee,
        key: Vec<u8>,
    }

    impl Somebody {
        /// One of each kind, as their sources describe them.
        pub(in crate::provider) fn of_each_kind() -> anyhow::Result<Vec<Self>> {
            let vectors: serde_json::Value =
                serde_json::from_str(include_str!("../../tests/fixtures/signing-vectors.json"))?;
            let pem = vectors["key"]["pkcs8_pem"].as_str().unwrap_or_default();
            let body: String = pem.lines().filter(|line| !line.contains("-----")).collect();
            let key = STANDARD.decode(body)?;
            let user = Some("ocid1.user.oc1..a");
            let terms = "request.principal.type = 'workload', request.principal.namespace = 'ci'";
            Ok(vec![
                Self {
                    description: "user ocid1.user.oc1..a (API key 12:34, profile DEFAULT)",
                    user_id: user,
                    grantee: Grantee::Group,
                    key: key.clone(),
                },
                Self {
                    description: "user ocid1.user.oc1..a (session token, profile SESSION)",
                    user_id: user,
                    grantee: Grantee::Group,
                    key: key.clone(),
                },
                Self {
                    description: "instance ocid1.instance.oc1..a (instance principal)",
                    user_id: None,
                    grantee: Grantee::DynamicGroup,
                    key: key.clone(),
                },
                Self {
                    description: "workload ci/pusher (OKE workload identity)",
                    user_id: None,
                    grantee: Grantee::AnyUserWhere(terms.to_owned()),
                    key,
                },
            ])
        }

        pub(in crate::provider) fn client(self) -> anyhow::Result<oci::Client> {
            let http = transport::http_client(&transport::Options::default())?;
            let config = oci::Config::new(http, Region::parse("gru")?, Arc::new(self));
            Ok(oci::Client::new(config)?)
        }
    }

    impl CredentialSource for Somebody {
        fn credential(&self) -> BoxFuture<'_, Result<Arc<Credential>, Arc<Error>>> {
            // What nobody verifies can be anybody's key.
            let key = SigningKey::from_pkcs8_der(&self.key).map(|key| Credential {
                key_id: "ST$token".to_owned(),
                key: Arc::new(key),
                delegation_token: None,
            });
            let nobody = Error::NoHome {
                path: "~/key".to_owned(),
                named_by: "a test".to_owned(),
            };
            ready(key.map(Arc::new).map_err(|_| Arc::new(nobody))).boxed()
        }

        fn describe(&self) -> String {
            self.description.to_owned()
        }

        fn tenancy_id(&self) -> Option<String> {
            None
        }

        fn user_id(&self) -> Option<String> {
            self.user_id.map(str::to_owned)
        }

        fn grantee(&self) -> Grantee {
            self.grantee.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::{testing::Somebody, *};

    /// A refusal of a service.
    fn refusal(operation: &'static str, status: u16, code: &str) -> oci::Error {
        oci::Error::Service {
            operation,
            service: "artifacts",
            host: "artifacts.sa-saopaulo-1.oci.oraclecloud.com".to_owned(),
            status,
            code: code.to_owned(),
            message: "No.".to_owned(),
            opc_request_id: "ID".to_owned(),
            region: "sa-saopaulo-1".to_owned(),
            attempts: 1,
            unheard: false,
            retry_after: None,
            clock_skew: None,
        }
    }

    /// Who was not let in is told what to look at, and only users of API keys
    /// are told of API keys.
    #[test]
    fn signatures_that_are_not_accepted() -> anyhow::Result<()> {
        let error = refusal("GetContainerRepository", 401, "NotAuthenticated");
        let mut said = String::new();
        for somebody in Somebody::of_each_kind()? {
            let client = somebody.client()?;
            let text = explain("It could not be read", Place::Unknown, &error, &client);
            let paragraphs: Vec<&str> = text.split("\n\n").skip(1).collect();
            said.push_str(&paragraphs.join("\n"));
            said.push_str("\n\n");
        }
        expect![[r#"
            The signature was not accepted. Check that user, tenancy and API key belong together, and that the key is uploaded for the user and active (a new one is known everywhere after some minutes):
                oci iam user api-key list --user-id ocid1.user.oc1..a
            Signed in as: user ocid1.user.oc1..a (API key 12:34, profile DEFAULT)
            Request id: ID

            The signature was not accepted. The session may have ended, or been revoked. Begin another: open Cloud Shell again, start the pipeline's job again, or renew the session of Oracle's CLI:
                oci session authenticate
            Signed in as: user ocid1.user.oc1..a (session token, profile SESSION)
            Request id: ID

            The signature was not accepted. No API key is involved: an instance, a function or another resource signs with a token that Oracle's cloud gives it. Check that the resource has not been terminated, and that the region belongs to its realm. Run again, which asks for another token.
            Signed in as: instance ocid1.instance.oc1..a (instance principal)
            Request id: ID

            The signature was not accepted. No API key is involved: a cluster or an identity domain vouches for the workload. Check that the pod's service account, or the domain's trust in the pipeline, still exists, and that the region is the right one.
            Signed in as: workload ci/pusher (OKE workload identity)
            Request id: ID

        "#]].assert_eq(&said);
        Ok(())
    }

    /// The policy is one for the kind of principal that asked.
    #[test]
    fn policies_by_kind() -> anyhow::Result<()> {
        let mut said = String::new();
        let place = Place::Compartment("ocid1.compartment.oc1..a");
        for somebody in Somebody::of_each_kind()? {
            let client = somebody.client()?;
            for (status, code) in [(404, "NotAuthorizedOrNotFound"), (403, "NotAuthorized")] {
                let error = refusal("DeleteContainerRepository", status, code);
                let advice = advice(&error, place, &client).unwrap_or_default();
                said.push_str(&format!("{status}: {advice}\n"));
            }
        }
        expect![[r#"
            404: Oracle answers the same whether something does not exist or may not be seen. Check the OCIDs and the region (sa-saopaulo-1), and that a policy allows it, for example:
                Allow group GROUP to manage repos in compartment id ocid1.compartment.oc1..a
            403: The right to do that is missing. A policy gives it, for example:
                Allow group GROUP to manage repos in compartment id ocid1.compartment.oc1..a
            404: Oracle answers the same whether something does not exist or may not be seen. Check the OCIDs and the region (sa-saopaulo-1), and that a policy allows it, for example:
                Allow group GROUP to manage repos in compartment id ocid1.compartment.oc1..a
            403: The right to do that is missing. A policy gives it, for example:
                Allow group GROUP to manage repos in compartment id ocid1.compartment.oc1..a
            404: Oracle answers the same whether something does not exist or may not be seen. Check the OCIDs and the region (sa-saopaulo-1), and that a policy allows it, for example:
                Allow dynamic-group DYNAMIC_GROUP to manage repos in compartment id ocid1.compartment.oc1..a
            403: The right to do that is missing. A policy gives it, for example:
                Allow dynamic-group DYNAMIC_GROUP to manage repos in compartment id ocid1.compartment.oc1..a
            404: Oracle answers the same whether something does not exist or may not be seen. Check the OCIDs and the region (sa-saopaulo-1), and that a policy allows it, for example:
                Allow any-user to manage repos in compartment id ocid1.compartment.oc1..a where all {request.principal.type = 'workload', request.principal.namespace = 'ci'}
            403: The right to do that is missing. A policy gives it, for example:
                Allow any-user to manage repos in compartment id ocid1.compartment.oc1..a where all {request.principal.type = 'workload', request.principal.namespace = 'ci'}
        "#]].assert_eq(&said);
        Ok(())
    }

    /// Users need no policy for their own tokens; anybody else does.
    #[test]
    fn own_tokens() -> anyhow::Result<()> {
        let error = refusal("CreateAuthToken", 404, "NotAuthorizedOrNotFound");
        let mut said = String::new();
        for somebody in Somebody::of_each_kind()? {
            let client = somebody.client()?;
            for user_id in ["ocid1.user.oc1..a", "ocid1.user.oc1..b"] {
                let place = Place::User(user_id);
                said.push_str(&lost_right(&error, place, &client));
                said.push('\n');
            }
        }
        expect![[r#"
            A user needs no policy for tokens of its own. Check that the user still exists and is active, and that an administrator has not switched off auth tokens for it (capability canUseAuthTokens).
            The right to do this was lost. A policy gives it back, for example:
                Allow group GROUP to manage users in tenancy
            A user needs no policy for tokens of its own. Check that the user still exists and is active, and that an administrator has not switched off auth tokens for it (capability canUseAuthTokens).
            The right to do this was lost. A policy gives it back, for example:
                Allow group GROUP to manage users in tenancy
            The right to do this was lost. A policy gives it back, for example:
                Allow dynamic-group DYNAMIC_GROUP to manage users in tenancy
            The right to do this was lost. A policy gives it back, for example:
                Allow dynamic-group DYNAMIC_GROUP to manage users in tenancy
            The right to do this was lost. A policy gives it back, for example:
                Allow any-user to manage users in tenancy where all {request.principal.type = 'workload', request.principal.namespace = 'ci'}
            The right to do this was lost. A policy gives it back, for example:
                Allow any-user to manage users in tenancy where all {request.principal.type = 'workload', request.principal.namespace = 'ci'}
        "#]].assert_eq(&said);
        Ok(())
    }

    /// Whose credential cannot be renewed is named, with the reason and no secret.
    #[test]
    fn renewal_that_fails() -> anyhow::Result<()> {
        let somebody = Somebody::of_each_kind()?.remove(1);
        let client = somebody.client()?;
        let error = credentials::Error::NoHome {
            path: "~/token".to_owned(),
            named_by: "`security_token_file`".to_owned(),
        };
        let error = oci::Error::Credentials(std::sync::Arc::new(error));
        let said = oci(
            "Cannot read",
            "It could not be read",
            Place::Unknown,
            &error,
            &client,
        );
        let said: Vec<_> = said
            .iter()
            .map(|one| format!("{}\n\n{}", one.summary, one.detail))
            .collect();
        expect![[r#"
            Cannot sign in to Oracle Cloud

            `security_token_file` names ~/token, and there is no home directory to begin `~` with; write the path in full.

            Signing in as: user ocid1.user.oc1..a (session token, profile SESSION)"#]].assert_eq(&said.join("\n"));
        Ok(())
    }

    /// A sentence begins with a capital letter, unless it begins with an address, a
    /// host or a path.
    #[test]
    fn capitals() {
        for (text, expected) in [
            ("cannot read it", "Cannot read it"),
            ("the host gru.ocir.io is", "The host gru.ocir.io is"),
            ("unix:///run/d.sock is", "unix:///run/d.sock is"),
            ("gru.ocir.io is", "gru.ocir.io is"),
            ("", ""),
        ] {
            assert_eq!(capital(text), expected);
        }
    }

    /// A status is told once, whatever the answer repeats, and the sentence ends.
    #[test]
    fn said_tells_everything_once() {
        for (status, code, message, attempts, expected) in [
            (
                404,
                "NotFound",
                "Nothing there.",
                1,
                "404 NotFound: Nothing there.",
            ),
            (
                502,
                "",
                "502 Bad Gateway",
                3,
                "502 Bad Gateway in the last of 3 attempts.",
            ),
            (503, "", "", 1, "503 Service Unavailable."),
            (299, "", "cut off…", 0, "299: cut off…"),
        ] {
            assert_eq!(said(status, code, message, attempts), expected);
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Level(&'static str, #[source] Option<Box<Level>>);

    /// Each level of a chain stands once, and a command has no period.
    #[test]
    fn sentences_of_chains() {
        let cause = Level("no such file", None);
        let middle = Level("cannot read it", Some(Box::new(cause)));
        let top = Level(
            "the image cannot be used: cannot read it",
            Some(Box::new(middle)),
        );
        assert_eq!(
            sentence(&top),
            "The image cannot be used: cannot read it: no such file."
        );
        assert_eq!(bottom(&top), "no such file");
        let command = Level("unpack it first:\n    gunzip a.gz", None);
        assert_eq!(sentence(&command), "Unpack it first:\n    gunzip a.gz");
    }
}

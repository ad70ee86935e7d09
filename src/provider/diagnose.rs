//! From what a client says to what a person reads: what failed, why, what to
//! do, and what Oracle's support asks for.

use std::error::Error as StdError;

use super::clients::Registry;
use crate::{
    credentials,
    framework::{Diagnostic, Diagnostics},
    oci, registry,
};

/// A control plane's error. `what` is a sentence without its period that says
/// what could not be done, with the names.
pub(super) fn oci(
    summary: &str,
    what: &str,
    error: &oci::Error,
    client: &oci::Client,
) -> Diagnostics {
    if let oci::Error::Credentials(error) = error {
        return credentials(error);
    }
    Diagnostic::error(summary, explain(what, error, client)).into()
}

/// The detail of [`oci`].
pub(super) fn explain(what: &str, error: &oci::Error, client: &oci::Client) -> String {
    let mut text = match error {
        oci::Error::Service {
            operation,
            status,
            code,
            message,
            ..
        } => {
            let code = if code.is_empty() {
                String::new()
            } else {
                format!(" {code}")
            };
            let message = message.trim().trim_end_matches('.');
            let message = if message.is_empty() {
                String::new()
            } else {
                format!(": {message}")
            };
            format!("{what}: {operation} was answered {status}{code}{message}.")
        }
        other => format!("{what}: {}.", chain(other)),
    };
    if let Some(advice) = advice(error, &client.region().identifier) {
        text.push_str("\n\n");
        text.push_str(&advice);
    }
    text.push_str(&format!(
        "\n\nSigned in as: {}",
        client.credentials().describe()
    ));
    text.push_str(&request_id(error));
    text
}

/// The line with the request id, set off from what stands before; empty when
/// there is none.
pub(super) fn request_id(error: &oci::Error) -> String {
    error
        .opc_request_id()
        .map(|id| format!("\n\nRequest id: {id}"))
        .unwrap_or_default()
}

/// A registry's error.
pub(super) fn registry(
    summary: &str,
    what: &str,
    error: &registry::Error,
    registry: &Registry,
) -> Diagnostics {
    let mut text = format!("{what}: {}.", chain(error).trim_end_matches('.'));
    if let Some(advice) = registry_advice(error, registry) {
        text.push_str("\n\n");
        text.push_str(&advice);
    }
    text.push_str(&format!("\n\nSigned in as: {}", registry.identity));
    if let Some(id) = error.request_id() {
        text.push_str(&format!("\n\nRequest id: {id}"));
    }
    Diagnostic::error(summary, text).into()
}

/// There is no credential.
pub(super) fn credentials(error: &credentials::Error) -> Diagnostics {
    Diagnostic::error("Cannot sign in to Oracle Cloud", sentence(error)).into()
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

/// [`chain`] as a sentence, with a capital letter and a full stop.
pub(super) fn sentence(error: &dyn StdError) -> String {
    let text = chain(error);
    let mut letters = text.chars();
    let capital = letters.next().into_iter().flat_map(char::to_uppercase);
    let mut sentence: String = capital.chain(letters).collect();
    if !sentence.ends_with(['.', '?']) {
        sentence.push('.');
    }
    sentence
}

/// What to do about it.
fn advice(error: &oci::Error, region: &str) -> Option<String> {
    let oci::Error::Service {
        service,
        status,
        code,
        clock_skew,
        ..
    } = error
    else {
        return match error {
            oci::Error::Transport { .. } => Some(
                "Check the region, the argument \"endpoint\" if it is set, and whether a proxy is needed (HTTPS_PROXY).".to_owned(),
            ),
            oci::Error::Decode { .. } => Some(
                "Something else than the service may have answered, such as a proxy or a captive portal. Whether the change was made is \
                 not known; look before it is made again."
                    .to_owned(),
            ),
            oci::Error::Anonymous { .. } => Some(
                "The registry does not refuse a signature it does not accept; it treats the request as nobody's. Check the API key, \
                 its fingerprint, the user and the tenancy."
                    .to_owned(),
            ),
            _ => None,
        };
    };
    match (status, code.as_str()) {
        (401, _) => Some(match clock_skew {
            Some(skew) if skew.unsigned_abs() >= 300 => format!(
                "This machine's clock is {} minutes {} the service's, and a signature is good for five minutes. Set the clock.",
                (skew.unsigned_abs() + 30) / 60,
                if *skew > 0 { "ahead of" } else { "behind" },
            ),
            _ => "The signature was not accepted. Check that the API key is uploaded for this user, that it is active, and that user, \
                  tenancy and fingerprint belong together:\n    oci iam user api-key list --user-id USER"
                .to_owned(),
        }),
        (403, _) if error.is_wrong_region() => Some(match error.home_region_key() {
            Some(key) => format!(
                "Users and their tokens are changed in the tenancy's home region only. Configure the provider for it, with an alias if \
                 the rest belongs elsewhere:\n    provider \"ocir\" {{\n      alias  = \"home\"\n      region = \"{}\"\n    }}",
                key.to_lowercase()
            ),
            None => "Users and their tokens are changed in the tenancy's home region only. Configure the provider for it.".to_owned(),
        }),
        (403 | 404, _) => {
            let policy = match *service {
                "identity" => "Allow group GROUP to manage users in tenancy",
                "objectstorage" => "Allow group GROUP to read objectstorage-namespaces in tenancy",
                _ => "Allow group GROUP to manage repos in compartment COMPARTMENT",
            };
            Some(format!(
                "Oracle answers the same whether something does not exist or may not be seen. Check the OCIDs and the region \
                 ({region}), and that a policy allows it, for example:\n    {policy}"
            ))
        }
        (429, _) => Some("The service is throttling. Run again later, or with a lower -parallelism.".to_owned()),
        (400, "LimitExceeded" | "QuotaExceeded") => {
            Some("The tenancy's limit or quota is used up. Delete what is not needed, or ask for more in the console.".to_owned())
        }
        (500..=599, _) => Some("The service failed, also after retries. Run again later.".to_owned()),
        _ => None,
    }
}

fn registry_advice(error: &registry::Error, registry: &Registry) -> Option<String> {
    // The token comes from the control plane's client, whose errors have advice of their own.
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<oci::Error>() {
            return advice(error, "the provider's");
        }
        cause = error.source();
    }
    let policy = "Allow group GROUP to manage repos in compartment COMPARTMENT";
    match error {
        registry::Error::Interrupted { .. }
        | registry::Error::TimedOut { .. }
        | registry::Error::Transport { .. } => {
            return Some(
                "Apply again: what has arrived is not sent a second time. If it breaks off at the same place each time, look for a \
                 proxy or a gateway with a limit on sizes or times."
                    .to_owned(),
            );
        }
        registry::Error::Blob { .. } | registry::Error::BlobChanged { .. } => {
            return Some(
                "Nothing was tagged. Make the image's source again, and plan again.".to_owned(),
            );
        }
        _ => {}
    }
    if error.is_anonymous_denial() || error.is_unauthorized() {
        return Some(match registry.own_identity {
            true => format!(
                "{} did not accept the login. Check the API key, its fingerprint, the user and the tenancy.",
                registry.client.host()
            ),
            false => "Set \"username\" and \"password\" in the provider's argument \"registry\", and check them. For Oracle's \
                      registry they are <namespace>/<user> and an auth token, which is accepted some minutes after it was created."
                .to_owned(),
        });
    }
    if error.is_denied() || error.is_not_found() || error.is_name_unknown() {
        return Some(match registry.is_ocir {
            true => format!(
                "Either the repository does not exist, or a policy is missing; the registry does not tell which. Create the repository \
                 with an ocir_repository that the push refers to, and allow the push, for example:\n    {policy}"
            ),
            false => {
                "Check the namespace and the name of the repository, and the rights of the user."
                    .to_owned()
            }
        });
    }
    None
}

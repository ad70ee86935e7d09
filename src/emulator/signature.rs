//! Verifies Oracle's request signature: who called, with which body, and when.

use std::time::UNIX_EPOCH;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Method, StatusCode};
use sha2::{Digest as _, Sha256};

use super::{clock::Moment, key::PublicKey, refusal::Refusal};

/// A request as it was received, as far as its signature covers it.
pub(super) struct Signed<'a> {
    pub method: &'a Method,
    /// Path and query, as on the wire.
    pub target: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// How far a clock may be off.
const SKEW_SECONDS: i64 = 5 * 60;

/// Whether the host has to be among what is signed; federation leaves it out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HostSigned {
    Optional,
    Yes,
}

/// What a request says about its signature.
pub(super) struct Parameters<'a> {
    pub key_id: &'a str,
    names: Vec<&'a str>,
    signature: &'a str,
}

impl Parameters<'_> {
    /// Whether a header is covered by the signature.
    pub(super) fn signs(&self, name: &str) -> bool {
        self.names.contains(&name)
    }
}

impl<'a> Signed<'a> {
    pub(super) fn parameters(&self) -> Result<Parameters<'a>, Refusal> {
        let parameters = header(self.headers, "authorization")
            .and_then(parse)
            .ok_or_else(incomplete)?;
        let parameter = |name: &str| {
            parameters
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| *value)
                .ok_or_else(incomplete)
        };
        if parameter("version")? != "1" || parameter("algorithm")? != "rsa-sha256" {
            return Err(incomplete());
        }
        Ok(Parameters {
            key_id: parameter("keyId")?,
            names: parameter("headers")?.split(' ').collect(),
            signature: parameter("signature")?,
        })
    }
}

/// Accepts a request that is signed with a key.
pub(super) fn verify(
    request: &Signed<'_>,
    parameters: &Parameters<'_>,
    key: &PublicKey,
    host: HostSigned,
    now: Moment,
) -> Result<(), Refusal> {
    let names = &parameters.names;
    let signs = |name: &str| parameters.signs(name);
    let with_body = matches!(*request.method, Method::POST | Method::PUT | Method::PATCH);
    let complete = (signs("date") || signs("x-date"))
        && signs("(request-target)")
        && (signs("host") || host == HostSigned::Optional)
        && (!with_body
            || ["content-length", "content-type", "x-content-sha256"]
                .into_iter()
                .all(signs));
    if !complete {
        return Err(incomplete());
    }

    let mut lines = Vec::with_capacity(names.len());
    for name in names {
        let value = match *name {
            "(request-target)" => format!(
                "{} {}",
                request.method.as_str().to_ascii_lowercase(),
                request.target
            ),
            name => header(request.headers, name)
                .ok_or_else(incomplete)?
                .to_owned(),
        };
        lines.push(format!("{name}: {value}"));
    }
    let signature = STANDARD
        .decode(parameters.signature)
        .map_err(|_| unverified())?;
    if !key.verifies(lines.join("\n").as_bytes(), &signature) {
        return Err(unverified());
    }

    check_date(request.headers, signs("x-date"), now)?;
    if with_body {
        let digest = STANDARD.encode(Sha256::digest(request.body));
        let length = request.body.len().to_string();
        if header(request.headers, "x-content-sha256") != Some(digest.as_str())
            || header(request.headers, "content-length") != Some(length.as_str())
        {
            return Err(unverified());
        }
    }
    Ok(())
}

fn check_date(headers: &HeaderMap, alternative: bool, now: Moment) -> Result<(), Refusal> {
    let name = if alternative { "x-date" } else { "date" };
    let text = header(headers, name).ok_or_else(incomplete)?;
    let sent = httpdate::parse_http_date(text)
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .ok_or_else(incomplete)?;
    if (sent - now.seconds()).abs() > SKEW_SECONDS {
        let bound = |seconds: i64| Moment((now.seconds() + seconds) * 1000).http();
        return Err(refused(format!(
            "Date '{text}' is not within allowed clock skew. Current '{}', valid datetime range: ['{}', '{}']",
            now.http(),
            bound(-SKEW_SECONDS),
            bound(SKEW_SECONDS)
        )));
    }
    Ok(())
}

/// The parameters of `Signature a="…",b="…"`, in any order.
fn parse(header: &str) -> Option<Vec<(&str, &str)>> {
    let (scheme, mut rest) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("signature") {
        return None;
    }
    let mut parameters = Vec::new();
    loop {
        let (name, after) = rest.trim_start().split_once("=\"")?;
        let (value, after) = after.split_once('"')?;
        parameters.push((name, value));
        match after.trim_start().strip_prefix(',') {
            Some(after) => rest = after,
            None if after.trim().is_empty() => return Some(parameters),
            None => return None,
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// One answer for everything missing and for an unknown key: the service does
/// not help to guess.
pub(super) fn incomplete() -> Refusal {
    refused(
        "The required information to complete authentication was not provided or was incorrect."
            .into(),
    )
}

fn unverified() -> Refusal {
    refused("Failed to verify the HTTP(S) Signature".into())
}

pub(super) fn refused(message: String) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "NotAuthenticated", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parameters come in any order and with spaces after commas; half a header is none.
    #[test]
    fn parameters() {
        assert_eq!(
            parse(r#"Signature version="1", keyId="a/b/c",headers="date host""#),
            Some(vec![
                ("version", "1"),
                ("keyId", "a/b/c"),
                ("headers", "date host")
            ])
        );
        for broken in [
            "Basic abc",
            "Signature",
            r#"Signature version="1"#,
            r#"Signature version="1" keyId="b""#,
        ] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }
}

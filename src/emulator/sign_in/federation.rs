//! `/v1/x509`: a token for an instance that shows its certificate.

use http::StatusCode;
use serde_json::Value;

use super::{
    super::{
        certificate::{self, sha1_fingerprint, sha256_fingerprint},
        key::PublicKey,
        principal::{Kind, Principal, SignIn, security_token},
        refusal::Refusal,
        server::{Answer, Call, Shared},
        signature::{self, HostSigned, Signed, refused},
    },
    LARGEST, der, only, parse, text, token,
};

pub(super) async fn answer(shared: &Shared, call: &mut Call) -> Result<Answer, Refusal> {
    let body = call.body.collect(LARGEST).await?;
    let now = shared.clock.now();
    let request = Signed {
        method: &call.method,
        target: &call.target,
        headers: &call.headers,
        body: &body,
    };
    let parameters = request.parameters()?;
    let members = parse(&body)?;
    only(
        &members,
        &[
            "certificate",
            "publicKey",
            "intermediateCertificates",
            "fingerprintAlgorithm",
            "purpose",
        ],
    )?;

    let unreadable = |name: &str| Refusal::invalid(format!("{name} is not base64 of DER"));
    let leaf = der(text(&members, "certificate")?).ok_or_else(|| unreadable("certificate"))?;
    let session_key = PublicKey::from_text(text(&members, "publicKey")?)
        .ok_or_else(|| Refusal::invalid("publicKey is not an RSA key of at least 2048 bits"))?;
    let intermediates = match members.get("intermediateCertificates") {
        None => Vec::new(),
        Some(Value::Array(texts)) => texts
            .iter()
            .map(|text| text.as_str().and_then(der))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| unreadable("intermediateCertificates"))?,
        Some(_) => {
            return Err(Refusal::invalid(
                "intermediateCertificates must be an array",
            ));
        }
    };

    let identity = certificate::verify(&leaf, &intermediates, now)
        .map_err(|error| Refusal::internal(&error))?
        .ok_or_else(|| refused("The certificate is not trusted or not valid now.".into()))?;
    let fingerprint = sha256_fingerprint(&leaf);
    if shared.locked(&shared.machine).is_revoked(&fingerprint) {
        return Err(refused("The certificate has been revoked.".into()));
    }
    let tenancy_id = &shared.tenancy.seed.tenancy_id;
    let (algorithm, key_id) = match parameters.key_id.split('/').nth(1) {
        Some("fed-x509-sha256") => (
            "SHA256",
            format!("{tenancy_id}/fed-x509-sha256/{fingerprint}"),
        ),
        _ => (
            "SHA1",
            format!("{tenancy_id}/fed-x509/{}", sha1_fingerprint(&leaf)),
        ),
    };
    if identity.tenancy_id != *tenancy_id || parameters.key_id != key_id {
        return Err(refused(
            "The key id does not belong to the certificate.".into(),
        ));
    }
    if members.contains_key("fingerprintAlgorithm")
        && text(&members, "fingerprintAlgorithm")? != algorithm
    {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "InvalidParameter",
            "fingerprintAlgorithm is not the one of the key id",
        ));
    }
    signature::verify(
        &request,
        &parameters,
        &identity.public_key,
        HostSigned::Optional,
        now,
    )?;

    let instance = Principal {
        kind: Kind::Instance,
        id: identity.instance_id,
    };
    call.caller = Some(format!("instance {}", instance.id));
    Ok(token(&security_token(
        shared,
        SignIn::Instance,
        &instance,
        &session_key,
        None,
    )))
}

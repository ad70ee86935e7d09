//! The metadata service of an instance, version 2.

use std::{collections::BTreeSet, io};

use http::StatusCode;
use serde_json::json;

use super::{
    super::{
        certificate::{self, Leaf},
        clock::Moment,
        key::{Purpose, RsaKey},
        refusal::Refusal,
        regions,
        seed::{SEEDED_AT, TENANCY_NAME, Tenancy},
        server::{Answer, Call, Shared, json_answer},
    },
    Route, credentials, plain,
};

/// The instance, as far as it changes: its certificate.
#[derive(Default)]
pub(in super::super) struct Machine {
    leaf: Option<Leaf>,
    odd: bool,
    /// SHA-256 of the certificates that were rotated away.
    revoked: BTreeSet<String>,
}

impl Machine {
    /// The certificate of the moment. It is replaced long before it expires, as the
    /// cloud does it, and the earlier one stays good.
    pub(in super::super) fn leaf(&mut self, tenancy: &Tenancy, now: Moment) -> io::Result<&Leaf> {
        const AHEAD: i64 = 60 * 60 * 1000;
        let leaf = match self.leaf.take() {
            Some(leaf) if now.0 + AHEAD < leaf.expires.0 => leaf,
            _ => {
                let key = RsaKey::of_process(Purpose::Instance { odd: self.odd })?;
                let seed = &tenancy.seed;
                certificate::instance(&seed.instance_id, &seed.tenancy_id, &key, now)?
            }
        };
        Ok(self.leaf.insert(leaf))
    }

    /// Another key and another certificate from now on; the old one is good for nothing.
    pub(in super::super) fn rotate(&mut self) {
        if let Some(leaf) = self.leaf.take() {
            self.revoked.insert(leaf.fingerprint);
            self.odd = !self.odd;
        }
    }

    pub(super) fn is_revoked(&self, fingerprint: &str) -> bool {
        self.revoked.contains(fingerprint)
    }
}

pub(super) fn answer(shared: &Shared, call: &Call, route: Route) -> Result<Answer, Refusal> {
    let forbidden = |message: &str| {
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "NotAuthorized",
            message,
        ))
    };
    // Whoever makes a server fetch something for them can often set neither of these.
    for name in ["forwarded", "x-forwarded-for", "x-forwarded-host"] {
        if call.headers.contains_key(name) {
            return forbidden("Requests that were forwarded are rejected");
        }
    }
    if credentials(call, "bearer") != Some("Oracle") {
        return forbidden(
            "Requests without the header 'Authorization: Bearer Oracle' are rejected",
        );
    }
    let region = call.region;
    let region_info = json!({
        "realmKey": region.realm,
        "realmDomainComponent": regions::domain(region.realm),
        "regionKey": region.key,
        "regionIdentifier": region.identifier,
    });
    let seed = &shared.tenancy.seed;
    let leaf = || {
        shared
            .locked(&shared.machine)
            .leaf(&shared.tenancy, shared.clock.now())
            .cloned()
            .map_err(|error| Refusal::internal(&error))
    };
    Ok(match route {
        Route::GetInstanceCertificate => plain(leaf()?.pem),
        Route::GetInstanceKey => plain(leaf()?.key_pem),
        Route::GetInstanceIntermediate => {
            plain(certificate::intermediate_pem().map_err(|error| Refusal::internal(&error))?)
        }
        Route::GetInstanceRegion => plain(region.identifier),
        Route::GetInstanceRegionInfo => json_answer(StatusCode::OK, &region_info),
        _ => json_answer(
            StatusCode::OK,
            &json!({
                "id": seed.instance_id,
                "compartmentId": seed.apps_compartment_id,
                "tenantId": seed.tenancy_id,
                "displayName": "build",
                "hostname": format!("build.{TENANCY_NAME}.internal"),
                "region": region.identifier,
                "canonicalRegionName": region.identifier,
                "regionInfo": region_info,
                "availabilityDomain": format!("kIdk:{}-AD-1", region.identifier.to_uppercase()),
                "faultDomain": "FAULT-DOMAIN-1",
                "shape": "VM.Standard.E5.Flex",
                "state": "Running",
                "timeCreated": Moment::from_rfc3339(SEEDED_AT).map(|time| time.0),
            }),
        ),
    })
}

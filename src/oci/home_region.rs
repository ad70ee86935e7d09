//! Where IAM is changed: in the tenancy's home region only, whatever region
//! the provider is configured for. Reads stay where they are.

use super::{
    Client, Error,
    call::{Call, Marks},
    client::Answer,
};
use crate::region::{Region, Service};

impl Client {
    /// Sends a change of IAM, to the home region.
    ///
    /// Found out once per client: the tenancy's region subscriptions say it,
    /// else the tenancy itself. A principal that may read neither, or is in no tenancy
    /// that it knows of, asks in the configured region, and the refusal
    /// (403 `NotAllowed`, which did nothing) names the one to go to.
    pub(super) async fn send_home(&self, call: &Call) -> Result<Answer, Error> {
        let region = self.home_region().await?;
        let marks = Marks::new(call);
        let error = match self.send_to(call, &marks, &region).await {
            Err(error) if error.is_wrong_region() => error,
            answer => return answer,
        };
        let named = error
            .home_region_key()
            .and_then(|key| self.region_of_key(key))
            .filter(|named| self.is_elsewhere(named, &region));
        let Some(named) = named else {
            return Err(error);
        };
        tracing::info!(
            operation = call.operation,
            region = region.identifier,
            home_region = named.identifier,
            "The service says where the home region is"
        );
        *self.unless_stopped(self.shared.home.lock()).await? = Some(named.clone());
        self.send_to(call, &marks, &named).await
    }

    /// The home region as far as it can be known beforehand, else the
    /// configured one. Many callers cause one request.
    async fn home_region(&self) -> Result<Region, Error> {
        let configured = self.region();
        if !self.is_regional(Service::Identity) {
            return Ok(configured.clone());
        }
        let mut known = self.unless_stopped(self.shared.home.lock()).await?;
        if let Some(region) = &*known {
            return Ok(region.clone());
        }
        // Some sources learn the tenancy with the first credential, which is
        // needed next in any case.
        self.credential().await?;
        let Some(tenancy_id) = self.credentials().tenancy_id() else {
            return Ok(configured.clone());
        };
        match self.look_up_home(&tenancy_id).await? {
            Lookup::Found(region) => {
                tracing::debug!(home_region = region.identifier, "Found the home region");
                *known = Some(region.clone());
                Ok(region)
            }
            Lookup::NotTold => {
                *known = Some(configured.clone());
                Ok(configured.clone())
            }
            Lookup::Failed => Ok(configured.clone()),
        }
    }

    async fn look_up_home(&self, tenancy_id: &str) -> Result<Lookup, Error> {
        match self.region_subscriptions(tenancy_id).await {
            Ok(regions) => {
                let home = regions.into_iter().find(|region| region.is_home_region);
                if let Some(home) = home {
                    let region = self.region_of(&home.region_name, &home.region_key);
                    return Ok(Lookup::Found(region));
                }
            }
            Err(error) => {
                if let Some(lookup) = passed_over(error)? {
                    return Ok(lookup);
                }
            }
        }
        match self.get_tenancy(tenancy_id).await {
            Ok(tenancy) => Ok(self
                .region_of_key(&tenancy.home_region_key)
                .map_or(Lookup::NotTold, Lookup::Found)),
            Err(error) => Ok(passed_over(error)?.unwrap_or(Lookup::NotTold)),
        }
    }

    /// A region of our realm. One that is newer than all tables has its name
    /// and its key from the service, and its domain from its neighbours.
    fn region_of(&self, name: &str, key: &str) -> Region {
        let configured = self.region();
        match self.config.regions.find(name) {
            Ok(region) if region.realm == configured.realm => region,
            _ => Region {
                identifier: name.to_ascii_lowercase(),
                key: key.to_ascii_lowercase(),
                realm: configured.realm.clone(),
                second_level_domain: configured.second_level_domain.clone(),
            },
        }
    }

    fn region_of_key(&self, key: &str) -> Option<Region> {
        let region = self.config.regions.find(key).ok();
        let region = region.filter(|region| {
            region.key.eq_ignore_ascii_case(key) && region.realm == self.region().realm
        });
        if region.is_none() {
            tracing::debug!(key, "The home region has a key that is not known here");
        }
        region
    }

    /// Whether a region's IAM is asked at another address than the other's.
    fn is_elsewhere(&self, region: &Region, other: &Region) -> bool {
        let address = |region| self.address_in(Service::Identity, region).ok();
        address(region) != address(other)
    }
}

/// What looking for the home region came to.
enum Lookup {
    Found(Region),
    /// Nobody says it; asking again helps nothing.
    NotTold,
    /// Not this time.
    Failed,
}

/// What a failed question means: `None` goes on to the next one. An error
/// that the change itself would meet is its error.
fn passed_over(error: Error) -> Result<Option<Lookup>, Error> {
    if matches!(
        error,
        Error::Stopped | Error::Credentials(_) | Error::Configuration(_)
    ) {
        return Err(error);
    }
    tracing::debug!(%error, "The home region could not be looked up");
    Ok(match error.status() {
        Some(403 | 404) => None,
        _ => Some(Lookup::Failed),
    })
}

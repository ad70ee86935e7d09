//! Finding a repository that a user names: by its OCID, or by where it is.

use super::{Repository, State, failed};
use crate::{
    framework::{Context, Diagnostic, Result},
    oci,
    provider::{absence, policy::Place},
};

impl Repository {
    /// The repository behind an import's id.
    pub(super) async fn look_up(&self, cx: &Context, id: &str) -> Result<State> {
        let wanted = wanted(id).ok_or_else(|| invalid(id))?;
        let oci = self.clients.oci(cx).await?;
        let host = self.clients.registry_host(cx).await?;
        let id = match wanted {
            Wanted::Id(id) => id.to_owned(),
            Wanted::Named { compartment, name } => {
                self.find_in(cx, &oci, compartment, name).await?
            }
        };
        let repository = oci.get_container_repository(&id).await.map_err(|error| {
            let what = format!("Repository {id} could not be read");
            failed(cx, CANNOT_IMPORT, &what, Place::Unknown, &error, &oci)
        })?;
        Ok(self.to_state(cx, &host, repository, State::default()))
    }

    /// The OCID of the repository with this name in a compartment.
    async fn find_in(
        &self,
        cx: &Context,
        oci: &oci::Client,
        compartment_id: &str,
        name: &str,
    ) -> Result<String> {
        let listed = async |compartment_id: String, compartment_id_in_subtree: bool| {
            let query = oci::ListContainerRepositories {
                compartment_id,
                compartment_id_in_subtree,
                display_name: Some(name.to_owned()),
            };
            let listed = oci.list_container_repositories(&query).await?;
            Ok::<_, oci::Error>(listed.into_iter().find(|found| {
                found.display_name == name && !absence::is_deleted(&found.lifecycle_state)
            }))
        };
        let here = listed(compartment_id.to_owned(), false).await;
        let here = here.map_err(|error| {
            let what =
                format!("The repositories of compartment {compartment_id} could not be listed");
            let place = Place::Compartment(compartment_id);
            failed(cx, CANNOT_IMPORT, &what, place, &error, oci)
        })?;
        if let Some(here) = here {
            return Ok(here.id);
        }
        // A name is there once in the tenancy, so where else it is helps.
        let elsewhere = match oci.credentials().tenancy_id() {
            Some(tenancy_id) => listed(tenancy_id, true).await.ok().flatten(),
            None => None,
        };
        let hint = match elsewhere {
            Some(found) => format!(
                " A repository of this name is in compartment {}: import\n    {}/{name}",
                found.compartment_id, found.compartment_id
            ),
            None => " Names are compared as they are, without the namespace.".to_owned(),
        };
        Err(Diagnostic::error(
            CANNOT_IMPORT,
            format!("Compartment {compartment_id} has no repository \"{name}\" in this region ({}).{hint}", oci.region().identifier),
        )
        .into())
    }
}

/// What an import's id means.
#[derive(Debug, PartialEq, Eq)]
enum Wanted<'a> {
    Id(&'a str),
    Named { compartment: &'a str, name: &'a str },
}

fn wanted(id: &str) -> Option<Wanted<'_>> {
    match id.split_once('/') {
        None => id
            .starts_with("ocid1.containerrepo.")
            .then_some(Wanted::Id(id)),
        // A name may have slashes, and an OCID has none.
        Some((compartment, name)) => (is_compartment(compartment) && !name.is_empty())
            .then_some(Wanted::Named { compartment, name }),
    }
}

fn is_compartment(text: &str) -> bool {
    text.starts_with("ocid1.compartment.") || text.starts_with("ocid1.tenancy.")
}

fn invalid(id: &str) -> Diagnostic {
    Diagnostic::error(
        "Invalid import identifier",
        format!(
            "A repository is imported by its OCID, which begins with \"ocid1.containerrepo.\", or by the OCID of its compartment and its \
             name, as COMPARTMENT_OCID/NAME; \"{id}\" is neither. Both are shown by:\n    oci artifacts container repository list \
             --compartment-id COMPARTMENT --display-name NAME"
        ),
    )
}

const CANNOT_IMPORT: &str = "Cannot import container repository";

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Whatever a user imports: it is an OCID as it was written, or a compartment and a name
        /// that make it up, or an error that says what is expected.
        #[test]
        fn any_import(id in crate::spoilt::text(&[
            "ocid1.containerrepo.oc1.gru.a",
            "ocid1.compartment.oc1..a/team/web",
            "ocid1.tenancy.oc1..a/web",
            "ocid1.tenancy.oc1..a/",
            "ocid1.containerrepo.oc1.gru.a/ocid1.compartment.oc1..a",
        ])) {
            match wanted(&id) {
                Some(Wanted::Id(read)) => proptest::prop_assert!(read == id && !id.contains('/')),
                Some(Wanted::Named { compartment, name }) => {
                    proptest::prop_assert_eq!(format!("{compartment}/{name}"), id.as_str());
                    proptest::prop_assert!(compartment.starts_with("ocid1.") && !compartment.contains('/'));
                    proptest::prop_assert!(!name.is_empty());
                }
                None => {
                    let said = invalid(&id).detail;
                    proptest::prop_assert!(said.contains(&id) && said.len() < id.len() + 400);
                    let plain = |rest: Option<&str>| rest.is_some_and(|rest| !rest.contains('/'));
                    proptest::prop_assert!(!plain(id.strip_prefix("ocid1.containerrepo.")), "{}", id);
                }
            }
        }
    }
}

//! The policy statement that would allow what was refused: by who asked, by
//! operation, and by where.
//!
//! Verbs of repositories: <https://docs.oracle.com/iaas/Content/Identity/Reference/registrypolicyreference.htm>,
//! of users: <https://docs.oracle.com/iaas/Content/Identity/Reference/iampolicyreference.htm>.

use crate::credentials::Grantee;

/// Where something was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// In a compartment, or the tenancy itself, by OCID.
    Compartment(&'a str),
    /// On the way from one compartment to another.
    Move { from: &'a str, to: &'a str },
    /// In the whole tenancy.
    Tenancy,
    /// In a compartment that is not known.
    Unknown,
    /// Among the tokens of a user.
    User(&'a str),
}

/// What an operation takes.
struct Right {
    operation: &'static str,
    /// The service, as its host names begin.
    service: &'static str,
    verb: &'static str,
    resource: &'static str,
}

/// The statements that allow `operation`, one a line and indented as a command
/// is; `None` when no policy is known that would.
pub(super) fn statements(operation: &str, grantee: &Grantee, place: Place<'_>) -> Option<String> {
    let right = find(operation)?;
    if right.resource != REPOS {
        return Some(statement(right, grantee, "tenancy"));
    }
    let compartment = |id: &str| match id {
        "" => "compartment COMPARTMENT".to_owned(),
        id if id.starts_with("ocid1.tenancy.") => "tenancy".to_owned(),
        id => format!("compartment id {id}"),
    };
    Some(match place {
        Place::Compartment(id) => statement(right, grantee, &compartment(id)),
        Place::Move { from, to } => {
            statement(right, grantee, &compartment(from))
                + &statement(right, grantee, &compartment(to))
        }
        Place::Tenancy => statement(right, grantee, "tenancy"),
        Place::Unknown | Place::User(_) => statement(right, grantee, &compartment("")),
    })
}

/// The service that an operation belongs to, for failures that do not say it.
pub(super) fn service(operation: &str) -> Option<&'static str> {
    find(operation).map(|right| right.service)
}

fn find(operation: &str) -> Option<&'static Right> {
    RIGHTS.iter().find(|right| right.operation == operation)
}

fn statement(right: &Right, grantee: &Grantee, place: &str) -> String {
    let (who, condition) = match grantee {
        Grantee::Group => ("group GROUP", String::new()),
        Grantee::DynamicGroup => ("dynamic-group DYNAMIC_GROUP", String::new()),
        Grantee::AnyUserWhere(terms) => ("any-user", format!(" where all {{{terms}}}")),
    };
    let Right { verb, resource, .. } = right;
    format!("\n    Allow {who} to {verb} {resource} in {place}{condition}")
}

const REPOS: &str = "repos";
const USERS: &str = "users";

/// Pulling and pushing, which the registry's own API has no names for.
pub(super) const PULL: &str = "pull";
pub(super) const PUSH: &str = "push";

const fn right(
    operation: &'static str,
    service: &'static str,
    verb: &'static str,
    resource: &'static str,
) -> Right {
    Right {
        operation,
        service,
        verb,
        resource,
    }
}

#[rustfmt::skip]
const RIGHTS: &[Right] = &[
    right("ListContainerRepositories", "artifacts", "inspect", REPOS),
    right("ListContainerImages", "artifacts", "inspect", REPOS),
    right("GetContainerRepository", "artifacts", "read", REPOS),
    right("GetContainerImage", "artifacts", "read", REPOS),
    right("LookupContainerImageByUri", "artifacts", "read", REPOS),
    right("UpdateContainerRepository", "artifacts", "use", REPOS),
    right("RemoveContainerVersion", "artifacts", "manage", REPOS),
    right("ChangeContainerRepositoryCompartment", "artifacts", "manage", REPOS),
    right("CreateContainerRepository", "artifacts", "manage", REPOS),
    right("DeleteContainerRepository", "artifacts", "manage", REPOS),
    right("DeleteContainerImage", "artifacts", "manage", REPOS),
    right(PULL, "ocir", "read", REPOS),
    right(PUSH, "ocir", "use", REPOS),
    right("GetRegistryToken", "ocir", "read", REPOS),
    right("GetUser", "identity", "inspect", USERS),
    right("ListAuthTokens", "identity", "read", USERS),
    right("CreateAuthToken", "identity", "manage", USERS),
    right("UpdateAuthToken", "identity", "manage", USERS),
    right("DeleteAuthToken", "identity", "manage", USERS),
    right("GetTenancy", "identity", "inspect", "tenancies"),
    right("ListRegionSubscriptions", "identity", "inspect", "tenancies"),
    right("GetNamespace", "objectstorage", "read", "objectstorage-namespaces"),
];

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// The statement names the kind of principal, the verb and the place.
    #[test]
    fn statement_by_principal_operation_and_place() {
        let workload = Grantee::AnyUserWhere(
            "request.principal.type = 'workload', request.principal.namespace = 'ci'".into(),
        );
        let rows = [
            (
                "GetContainerRepository",
                &Grantee::Group,
                Place::Compartment("ocid1.compartment.oc1..a"),
            ),
            (
                "ListContainerRepositories",
                &Grantee::DynamicGroup,
                Place::Tenancy,
            ),
            ("CreateContainerRepository", &workload, Place::Unknown),
            (
                "UpdateContainerRepository",
                &workload,
                Place::Compartment("ocid1.tenancy.oc1..a"),
            ),
            (
                "ChangeContainerRepositoryCompartment",
                &Grantee::Group,
                Place::Move {
                    from: "ocid1.compartment.oc1..a",
                    to: "ocid1.compartment.oc1..b",
                },
            ),
            (
                "DeleteAuthToken",
                &Grantee::DynamicGroup,
                Place::User("ocid1.user.oc1..a"),
            ),
            ("GetNamespace", &Grantee::Group, Place::Unknown),
            (PUSH, &Grantee::Group, Place::Compartment("")),
        ];
        let text: String = rows
            .into_iter()
            .filter_map(|(operation, grantee, place)| statements(operation, grantee, place))
            .map(|statements| statements.replace("\n    ", "\n"))
            .collect();
        expect![[r#"

                Allow group GROUP to read repos in compartment id ocid1.compartment.oc1..a
                Allow dynamic-group DYNAMIC_GROUP to inspect repos in tenancy
                Allow any-user to manage repos in compartment COMPARTMENT where all {request.principal.type = 'workload', request.principal.namespace = 'ci'}
                Allow any-user to use repos in tenancy where all {request.principal.type = 'workload', request.principal.namespace = 'ci'}
                Allow group GROUP to manage repos in compartment id ocid1.compartment.oc1..a
                Allow group GROUP to manage repos in compartment id ocid1.compartment.oc1..b
                Allow dynamic-group DYNAMIC_GROUP to manage users in tenancy
                Allow group GROUP to read objectstorage-namespaces in tenancy
                Allow group GROUP to use repos in compartment COMPARTMENT"#]]
        .assert_eq(&text);
        assert_eq!(statements("Unheard", &Grantee::Group, Place::Unknown), None);
    }
}

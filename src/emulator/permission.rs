//! What a policy allows, in Oracle's words.

/// A permission that the tenancy's policies grant everybody who signs in, until a
/// test withdraws it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Permission {
    /// `COMPARTMENT_INSPECT`: compartments.
    CompartmentInspect,
    /// `CREDENTIAL_MANAGE`: auth tokens and API keys. It stands for the right to one's own ones, too.
    CredentialManage,
    /// `OBJECTSTORAGE_NAMESPACE_READ`: the tenancy's namespace.
    NamespaceRead,
    /// `REPOSITORY_CREATE`: new repositories.
    RepositoryCreate,
    /// `REPOSITORY_INSPECT`: lists of repositories and images.
    RepositoryInspect,
    /// `REPOSITORY_MANAGE`: deleting and moving, first pushes, the registry's configuration.
    RepositoryManage,
    /// `REPOSITORY_READ`: a repository, an image, and pulling it. Nothing can be pushed
    /// without it either.
    RepositoryRead,
    /// `REPOSITORY_UPDATE`: changing a repository or an image, and pushing.
    RepositoryUpdate,
    /// `TENANCY_INSPECT`: the tenancy and its regions.
    TenancyInspect,
    /// `USER_INSPECT`: users.
    UserInspect,
}

//! Names of images.

/// `host/repository:tag` or `host/repository@digest`, in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in the specification")]
pub struct Reference {
    pub host: String,
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<crate::image::Digest>,
}

/// Why a repository name is not one, as a sentence for users that begins after
/// the argument's name: "must …".
pub fn validate_repository(_name: &str) -> Result<(), String> {
    todo!()
}

/// Why a tag is not one, in the same form.
pub fn validate_tag(_tag: &str) -> Result<(), String> {
    todo!()
}

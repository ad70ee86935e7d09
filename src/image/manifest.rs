//! Manifests: reading, and writing the ones that compression changes.

//! How a Terraform or OpenTofu process starts a plugin and talks to it: the
//! cookie, the handshake line, mutual TLS pinned to one certificate, the
//! controller, standard streams and health services, signals, and the end.
//!
//! Contract: <https://github.com/hashicorp/go-plugin/blob/main/docs/internals.md>.
//! Knows no Terraform: which services are served is the caller's.

//! The plugin protocol, version 6 at 6.10: messages in, messages out.
//!
//! The messages are written here from the protocol's numbers; [`crate::framework::Server`]
//! does the work. A panic in a call becomes a diagnostic.

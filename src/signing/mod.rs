//! Oracle's request signature, as a pure function of the request, the key and
//! the date.
//!
//! <https://docs.oracle.com/en-us/iaas/Content/API/Concepts/signingrequests.htm>

/// An RSA private key that can sign. Its `Debug` shows the fingerprint only.
pub struct SigningKey {
    // The key pair of the cryptographic library.
}

/// What of a request is signed.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// For example `GET`.
    pub method: &'a str,
    /// Path and query exactly as sent on the wire.
    pub path_and_query: &'a str,
    /// The Host header as sent, with a port when it is not the default one.
    pub host: &'a str,
    /// The body of a POST, PUT or PATCH; empty is a body too.
    pub body: Option<&'a [u8]>,
    /// A delegation token, which is sent and signed as `opc-obo-token`.
    pub delegation_token: Option<&'a str>,
}

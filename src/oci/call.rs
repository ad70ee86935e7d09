//! One call of an operation, as the operations describe it.

use std::sync::atomic::{AtomicBool, AtomicU32};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use url::Url;

use super::{Client, Error, client::Answer};
use crate::{
    region::{Region, Service},
    signing,
};

/// One call of an operation.
pub(super) struct Call {
    pub(super) operation: &'static str,
    pub(super) service: Service,
    pub(super) method: Method,
    /// Where to, when it is not the service's own address.
    pub(super) address: Option<Url>,
    path: String,
    query: Vec<(&'static str, String)>,
    pub(super) page: Option<String>,
    pub(super) body: Option<Bytes>,
    pub(super) repeat: Repeat,
    /// The retry token of an earlier call that this one repeats.
    retry_token: Option<String>,
    /// The `etag` that the object must still have.
    if_match: Option<HeaderValue>,
    /// It changes nothing, so that it may be dropped half way.
    pub(super) reads: bool,
    /// It makes nothing, and the next run finds what it took away, so that nobody has
    /// to wait long for its answer when the run is stopped.
    pub(super) only_removes: bool,
    /// A 404 is its answer.
    pub(super) is_question: bool,
    pub(super) check: Option<Check>,
    /// A path value that would change the path.
    refused: Option<String>,
}

/// Looks at an answer that came as a success; the text is the host's.
pub(super) type Check = fn(&Answer, &str) -> Result<(), Error>;

/// Whether a call may be sent a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing, or the second one finds done what it would do.
    Harmless,
    /// The service recognises the second one by `opc-retry-token`.
    WithToken,
    /// Nobody promises anything: only when it was turned away at the door.
    Unheard,
}

impl Call {
    /// A call to a service, with its version path.
    pub(super) fn new(
        client: &Client,
        operation: &'static str,
        service: Service,
        method: Method,
    ) -> Result<Self, Error> {
        // Sent later, and perhaps elsewhere; what is no address is told now.
        client.address(service)?;
        let mut call = Self::to(operation, service, method);
        call.path.push_str(match service {
            Service::Auth => "/v1",
            Service::Artifacts | Service::Identity => "/20160918",
            Service::ContainerRegistry => "/20180419",
            Service::ObjectStorage => "",
        });
        Ok(call)
    }

    /// A call to an address of the caller's.
    pub(super) fn at(
        operation: &'static str,
        service: Service,
        method: Method,
        address: Url,
    ) -> Self {
        Self {
            address: Some(address),
            ..Self::to(operation, service, method)
        }
    }

    fn to(operation: &'static str, service: Service, method: Method) -> Self {
        Self {
            operation,
            service,
            repeat: if method == Method::POST {
                Repeat::Unheard
            } else {
                Repeat::Harmless
            },
            reads: method == Method::GET,
            only_removes: false,
            // To a DELETE a 404 says that there is nothing left to do.
            is_question: method == Method::DELETE,
            method,
            address: None,
            path: String::new(),
            query: Vec::new(),
            retry_token: None,
            if_match: None,
            page: None,
            body: None,
            check: None,
            refused: None,
        }
    }

    /// A part of the path that is written here, without slashes around it.
    pub(super) fn path(mut self, literal: &'static str) -> Self {
        self.path.push('/');
        self.path.push_str(literal);
        self
    }

    /// A part of the path that comes from outside.
    pub(super) fn value(mut self, value: &str) -> Self {
        // URLs know these, also with percent signs, as steps and not as names.
        if value.is_empty() || value == "." || value == ".." {
            self.refused = Some(value.to_owned());
        }
        self.path.push('/');
        self.path.extend(utf8_percent_encode(value, ENCODED));
        self
    }

    /// A query parameter; `None` is not sent.
    pub(super) fn query(mut self, name: &'static str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.query.push((name, value.to_owned()));
        }
        self
    }

    /// A JSON body.
    pub(super) fn body(mut self, body: &impl Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(body).map_err(|error| {
            Error::Configuration(format!(
                "{}: cannot write the body: {error}",
                self.operation
            ))
        })?;
        self.body = Some(body.into());
        Ok(self)
    }

    /// Is refused with 412 when the object is not what it was when it had this `etag`.
    /// `None`, and what cannot stand in a header, is not sent.
    pub(super) fn if_match(mut self, etag: Option<&str>) -> Self {
        self.if_match = etag.and_then(|etag| HeaderValue::from_str(etag).ok());
        self
    }

    /// Carries a retry token, so it may be sent again.
    pub(super) fn with_retry_token(mut self) -> Self {
        self.repeat = Repeat::WithToken;
        self
    }

    /// Carries this retry token: the service answers an earlier call that carried
    /// it once more, instead of doing the same a second time.
    pub(super) fn repeating(mut self, retry_token: &str) -> Self {
        self.retry_token = Some(retry_token.to_owned());
        self.with_retry_token()
    }

    /// A POST that only looks something up may be sent again, and dropped.
    pub(super) fn harmless(mut self) -> Self {
        self.repeat = Repeat::Harmless;
        self.reads = true;
        self
    }

    /// Takes away what the next run finds gone.
    pub(super) fn removing(mut self) -> Self {
        self.only_removes = true;
        self
    }

    /// Asks whether something is there: a 404 is the answer, and not waited
    /// out when IAM was changed a moment ago.
    pub(super) fn question(mut self) -> Self {
        self.is_question = true;
        self
    }

    /// A success has to pass this as well. What it refuses as nobody's is
    /// asked for again with another credential, as after a 401.
    pub(super) fn checked(mut self, check: Check) -> Self {
        self.check = Some(check);
        self
    }

    /// Whether it changes what IAM keeps, which is done in the home region.
    pub(super) fn changes_iam(&self) -> bool {
        self.service == Service::Identity && !self.reads && self.address.is_none()
    }

    /// The address with everything behind it.
    pub(super) fn url(&self, mut base: Url) -> Result<Url, Error> {
        if let Some(value) = &self.refused {
            return Err(Error::Configuration(format!(
                "{}: \"{value}\" is no identifier",
                self.operation
            )));
        }
        let prefix = base.path().trim_end_matches('/').to_owned();
        base.set_path(&format!("{prefix}{}", self.path));
        let page = self.page.iter().map(|page| ("page", page));
        let query: Vec<String> = self
            .query
            .iter()
            .map(|(name, value)| (*name, value))
            .chain(page)
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, ENCODED)))
            .collect();
        if !query.is_empty() {
            base.set_query(Some(&query.join("&")));
        }
        Ok(base)
    }
}

/// What stays the same however often one call is sent, and wherever to: by the
/// token the service recognises a repetition.
pub(super) struct Marks {
    client_request_id: String,
    retry_token: Option<String>,
    /// How often it was sent.
    pub(super) sent: AtomicU32,
    /// Whether it was sent without a word about what became of it.
    pub(super) unheard: AtomicBool,
    /// Whether another credential was asked for already.
    pub(super) renewed: AtomicBool,
}

impl Marks {
    pub(super) fn new(call: &Call) -> Self {
        Self {
            client_request_id: format!("{:032X}", rand::random::<u128>()),
            retry_token: (call.repeat == Repeat::WithToken).then(|| {
                let earlier = call.retry_token.clone();
                earlier.unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()))
            }),
            sent: AtomicU32::new(0),
            unheard: AtomicBool::new(false),
            renewed: AtomicBool::new(false),
        }
    }
}

/// A call on its way to a region.
pub(super) struct Request<'a> {
    pub(super) call: &'a Call,
    pub(super) marks: &'a Marks,
    pub(super) region: &'a Region,
    pub(super) url: &'a Url,
    pub(super) host: &'a str,
}

impl Request<'_> {
    /// The headers that are not signed. `retries` says whether the client
    /// tries again at all.
    pub(super) fn headers(&self, retries: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static(signing::CONTENT_TYPE),
        );
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(signing::CONTENT_TYPE),
        );
        let id = HeaderValue::from_str(&self.marks.client_request_id)
            .expect("hexadecimal digits can stand in a header");
        if self.call.service == Service::ObjectStorage {
            headers.insert("opc-client-request-id", id.clone());
        }
        headers.insert("opc-request-id", id);
        if let Some(token) = &self.marks.retry_token {
            let token =
                HeaderValue::from_str(token).expect("hexadecimal digits can stand in a header");
            headers.insert("opc-retry-token", token);
        }
        if let Some(etag) = &self.call.if_match {
            headers.insert(header::IF_MATCH, etag.clone());
        }
        if retries && self.call.repeat != Repeat::Unheard {
            headers.insert("opc-client-retries", HeaderValue::from_static("true"));
        }
        headers
    }
}

/// Everything but the characters that never need it, as the SDKs do it, and
/// `/` as well: a value is one part of the path.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

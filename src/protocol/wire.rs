//! The messages, written from the protocol's numbers: `tfplugin6`, 6.10.
//!
//! Only what is read or answered is here. What a host sends beyond that is
//! skipped, as protocol buffers have it; what we leave out is absent for it.
//! Values and private state are [`Bytes`]: a copy costs nothing.
//!
//! Public for the hosts of our tests.

use std::collections::BTreeMap;

use bytes::Bytes;

/// `prost` derives for a row of messages.
macro_rules! messages {
    ($($(#[$meta:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, prost::Message)]
        pub struct $name { $($(#[$attribute])* pub $field: $type,)* }
    )*};
}

messages! {
    /// A value: msgpack, or JSON from hosts that prefer it.
    DynamicValue {
        #[prost(bytes = "bytes", tag = "1")] msgpack: Bytes,
        #[prost(bytes = "bytes", tag = "2")] json: Bytes,
    }
    Diagnostic {
        #[prost(enumeration = "Severity", tag = "1")] severity: i32,
        #[prost(string, tag = "2")] summary: String,
        #[prost(string, tag = "3")] detail: String,
        #[prost(message, optional, tag = "4")] attribute: Option<AttributePath>,
    }
    AttributePath {
        #[prost(message, repeated, tag = "1")] steps: Vec<Step>,
    }
    Step {
        #[prost(oneof = "Selector", tags = "1, 2, 3")] selector: Option<Selector>,
    }
    FunctionError {
        #[prost(string, tag = "1")] text: String,
        #[prost(int64, optional, tag = "2")] function_argument: Option<i64>,
    }
    RawState {
        #[prost(bytes = "bytes", tag = "1")] json: Bytes,
        #[prost(btree_map = "string, string", tag = "2")] flatmap: BTreeMap<String, String>,
    }
    ServerCapabilities {
        #[prost(bool, tag = "1")] plan_destroy: bool,
        #[prost(bool, tag = "2")] get_provider_schema_optional: bool,
        #[prost(bool, tag = "3")] move_resource_state: bool,
        #[prost(bool, tag = "4")] generate_resource_config: bool,
    }
    ClientCapabilities {
        #[prost(bool, tag = "1")] deferral_allowed: bool,
        #[prost(bool, tag = "2")] write_only_attributes_allowed: bool,
    }
    /// That something is left for later.
    Deferred {
        #[prost(enumeration = "Reason", tag = "1")] reason: i32,
    }
    /// An identity; absent where there is none.
    ResourceIdentity {
        #[prost(message, optional, tag = "1")] identity: Option<DynamicValue>,
    }
    /// A point in time, as protocol buffers have it.
    Timestamp {
        #[prost(int64, tag = "1")] seconds: i64,
        #[prost(int32, tag = "2")] nanos: i32,
    }
}

// Schemas.
messages! {
    Schema {
        #[prost(int64, tag = "1")] version: i64,
        #[prost(message, optional, tag = "2")] block: Option<Block>,
    }
    Block {
        #[prost(int64, tag = "1")] version: i64,
        #[prost(message, repeated, tag = "2")] attributes: Vec<Attribute>,
        #[prost(message, repeated, tag = "3")] block_types: Vec<NestedBlock>,
        #[prost(string, tag = "4")] description: String,
        #[prost(enumeration = "StringKind", tag = "5")] description_kind: i32,
        #[prost(bool, tag = "6")] deprecated: bool,
        #[prost(string, tag = "7")] deprecation_message: String,
    }
    Attribute {
        #[prost(string, tag = "1")] name: String,
        #[prost(bytes = "vec", tag = "2")] r#type: Vec<u8>,
        #[prost(string, tag = "3")] description: String,
        #[prost(bool, tag = "4")] required: bool,
        #[prost(bool, tag = "5")] optional: bool,
        #[prost(bool, tag = "6")] computed: bool,
        #[prost(bool, tag = "7")] sensitive: bool,
        #[prost(enumeration = "StringKind", tag = "8")] description_kind: i32,
        #[prost(bool, tag = "9")] deprecated: bool,
        #[prost(message, optional, tag = "10")] nested_type: Option<Object>,
        #[prost(bool, tag = "11")] write_only: bool,
        #[prost(string, tag = "12")] deprecation_message: String,
    }
    NestedBlock {
        #[prost(string, tag = "1")] type_name: String,
        #[prost(message, optional, tag = "2")] block: Option<Block>,
        #[prost(enumeration = "Nesting", tag = "3")] nesting: i32,
        #[prost(int64, tag = "4")] min_items: i64,
        #[prost(int64, tag = "5")] max_items: i64,
    }
    Object {
        #[prost(message, repeated, tag = "1")] attributes: Vec<Attribute>,
        #[prost(enumeration = "Nesting", tag = "3")] nesting: i32,
    }
    IdentitySchema {
        #[prost(int64, tag = "1")] version: i64,
        #[prost(message, repeated, tag = "2")] attributes: Vec<IdentityAttribute>,
    }
    IdentityAttribute {
        #[prost(string, tag = "1")] name: String,
        #[prost(bytes = "vec", tag = "2")] r#type: Vec<u8>,
        #[prost(bool, tag = "3")] required_for_import: bool,
        #[prost(bool, tag = "4")] optional_for_import: bool,
        #[prost(string, tag = "5")] description: String,
    }
}

// The provider.
messages! {
    GetMetadataRequest {}
    GetMetadataResponse {
        #[prost(message, optional, tag = "1")] server_capabilities: Option<ServerCapabilities>,
        #[prost(message, repeated, tag = "2")] diagnostics: Vec<Diagnostic>,
        #[prost(message, repeated, tag = "3")] data_sources: Vec<TypeName>,
        #[prost(message, repeated, tag = "4")] resources: Vec<TypeName>,
        #[prost(message, repeated, tag = "6")] ephemeral_resources: Vec<TypeName>,
    }
    TypeName {
        #[prost(string, tag = "1")] type_name: String,
    }
    GetProviderSchemaRequest {}
    GetProviderSchemaResponse {
        #[prost(message, optional, tag = "1")] provider: Option<Schema>,
        #[prost(btree_map = "string, message", tag = "2")] resource_schemas: BTreeMap<String, Schema>,
        #[prost(btree_map = "string, message", tag = "3")] data_source_schemas: BTreeMap<String, Schema>,
        #[prost(message, repeated, tag = "4")] diagnostics: Vec<Diagnostic>,
        #[prost(message, optional, tag = "6")] server_capabilities: Option<ServerCapabilities>,
        #[prost(btree_map = "string, message", tag = "8")] ephemeral_resource_schemas: BTreeMap<String, Schema>,
    }
    ValidateProviderConfigRequest {
        #[prost(message, optional, tag = "1")] config: Option<DynamicValue>,
    }
    ValidateProviderConfigResponse {
        #[prost(message, repeated, tag = "2")] diagnostics: Vec<Diagnostic>,
    }
    ConfigureProviderRequest {
        #[prost(string, tag = "1")] terraform_version: String,
        #[prost(message, optional, tag = "2")] config: Option<DynamicValue>,
        #[prost(message, optional, tag = "3")] client_capabilities: Option<ClientCapabilities>,
    }
    ConfigureProviderResponse {
        #[prost(message, repeated, tag = "1")] diagnostics: Vec<Diagnostic>,
    }
    StopProviderRequest {}
    StopProviderResponse {
        #[prost(string, tag = "1")] error: String,
    }
}

// Managed resources.
messages! {
    ValidateResourceConfigRequest {
        #[prost(string, tag = "1")] type_name: String,
        #[prost(message, optional, tag = "2")] config: Option<DynamicValue>,
        #[prost(message, optional, tag = "3")] client_capabilities: Option<ClientCapabilities>,
    }
    ValidateResourceConfigResponse {
        #[prost(message, repeated, tag = "1")] diagnostics: Vec<Diagnostic>,
    }
    UpgradeResourceStateRequest {
        #[prost(string, tag = "1")] type_name: String,
        #[prost(int64, tag = "2")] version: i64,
        #[prost(message, optional, tag = "3")] raw_state: Option<RawState>,
    }
    UpgradeResourceStateResponse {
        #[prost(message, optional, tag = "1")] upgraded_state: Option<DynamicValue>,
        #[prost(message, repeated, tag = "2")] diagnostics: Vec<Diagnostic>,
    }
    GetResourceIdentitySchemasRequest {}
    GetResourceIdentitySchemasResponse {
        #[prost(btree_map = "string, message", tag = "1")] identity_schemas: BTreeMap<String, IdentitySchema>,
        #[prost(message, repeated, tag = "2")] diagnostics: Vec<Diagnostic>,
    }
    UpgradeResourceIdentityRequest {
        #[prost(string, tag = "1")] type_name: String,
        #[prost(int64, tag = "2")] version: i64,
        #[prost(message, optional, tag = "3")] raw_identity: Option<RawState>,
    }
    UpgradeResourceIdentityResponse {
        #[prost(message, optional, tag = "1")] upgraded_identity: Option<ResourceIdentity>,
        #[prost(message, repeated, tag = "2")] diagnostics: Vec<Diagnostic>,
    }
    ReadResourceRequest {
        #[prost(string, tag = "1")] type_name: String,
        #[prost(message, optional, tag = "2")] current_state: Option<DynamicValue>,
        #[prost(bytes = "bytes", tag = "3")] private: Bytes,
        #[prost(message, optional, tag = "6")] current_identity: Option<ResourceIdentity>,
    }
    ReadResourceResponse {
        #[prost(message, optional, tag = "1")] new_state: Option<DynamicValue>,
        #[prost(message, repeated, tag = "2")] diagnostics: Vec<Diagnostic>,
        #[prost(bytes = "bytes", tag = "3")] private: Bytes,
        #[prost(message, optional, tag = "5")] new_identity: Option<ResourceIdentity>,
    }
    PlanResourceChangeRequest {
        #[prost(string, tag = "1")] type_name: String,
        #[prost(message, optional, tag = "2")] prior_state: Option<DynamicValue>,
        #[prost(message, optional, tag = "3")] proposed_new_state: Option<DynamicValue>,
        #[prost(message, optional, tag = "4")] config: Option<DynamicValue>,
        #[prost(bytes = "bytes", tag = "5")] prior_private: Bytes,
        #[prost(message, optional, tag = "7")] client_capabilities: Option<ClientCapabilities>,
        #[prost(message, optional, tag = "8")] prior_identity: Option<ResourceIdentity>,
    }
    PlanResourceChangeResponse {
        #[prost(message, optional, tag = "1")] planned_state: Option<DynamicValue>,
        #[prost(message, repeated, tag = "2")] requires_replace: Vec<AttributePath>,
        #[prost(bytes = "bytes", tag = "3")] planned_private: Bytes,
        #[prost(message, repeated, tag = "4")] diagnostics: Vec<Diagnostic>,
        #[prost(message, optional, tag = "7")] planned_identity: Option<ResourceIdentity>,
    }
    ApplyResourceChangeRequest {
        #[prost(string, tag = "1")] type_name: String,
        #[prost(message, optional, tag = "2")] prior_state: Option<DynamicValue>,
        #[prost(message, optional, tag = "3")] planned_state: Option<DynamicValue>,
        #[prost(message, optional, tag = "4")] config: Option<DynamicValue>,
        #[prost(bytes = "bytes", tag = "5")] planned_private: Bytes,
        #[prost(message, optional, tag = "7")] planned_identity: Option<ResourceIdentity>,
    }
    ApplyResourceChangeResponse {
        #[prost(message, optional, tag = "1")] new_state: Option<DynamicValue>,
        #[prost(bytes = "bytes", tag = "2")] private: Bytes,
        #[prost(message, repeated, tag = "3")] diagnostics: Vec<Diagnostic>,
        #[prost(message, optional, tag = "5")] new_identity: Option<ResourceIdentity>,
    }
    ImportResourceStateRequest {
        #[prost(string, tag = "1")] type_name: String,
        #[prost(string, tag = "2")] id: String,
        #[prost(message, optional, tag = "3")] client_capabilities: Option<ClientCapabilities>,
        #[prost(message, optional, tag = "4")] identity: Option<ResourceIdentity>,
    }
    ImportResourceStateResponse {
        #[prost(message, repeated, tag = "1")] imported_resources: Vec<ImportedResource>,
        #[prost(message, repeated, tag = "2")] diagnostics: Vec<Diagnostic>,
    }
    ImportedResource {
        #[prost(string, tag = "1")] type_name: String,
        #[prost(message, optional, tag = "2")] state: Option<DynamicValue>,
        #[prost(bytes = "bytes", tag = "3")] private: Bytes,
        #[prost(message, optional, tag = "4")] identity: Option<ResourceIdentity>,
    }
    MoveResourceStateRequest {
        #[prost(string, tag = "1")] source_provider_address: String,
        #[prost(string, tag = "2")] source_type_name: String,
        #[prost(int64, tag = "3")] source_schema_version: i64,
        #[prost(message, optional, tag = "4")] source_state: Option<RawState>,
        #[prost(string, tag = "5")] target_type_name: String,
        #[prost(bytes = "bytes", tag = "6")] source_private: Bytes,
    }
    MoveResourceStateResponse {
        #[prost(message, optional, tag = "1")] target_state: Option<DynamicValue>,
        #[prost(message, repeated, tag = "2")] diagnostics: Vec<Diagnostic>,
        #[prost(bytes = "bytes", tag = "3")] target_private: Bytes,
        #[prost(message, optional, tag = "4")] target_identity: Option<ResourceIdentity>,
    }
}

// Data sources, ephemeral resources, functions.
messages! {
    ValidateDataResourceConfigRequest {
        #[prost(string, tag = "1")] type_name: String,
        #[prost(message, optional, tag = "2")] config: Option<DynamicValue>,
    }
    ValidateDataResourceConfigResponse {
        #[prost(message, repeated, tag = "1")] diagnostics: Vec<Diagnostic>,
    }
    ReadDataSourceRequest {
        #[prost(string, tag = "1")] type_name: String,
        #[prost(message, optional, tag = "2")] config: Option<DynamicValue>,
    }
    ReadDataSourceResponse {
        #[prost(message, optional, tag = "1")] state: Option<DynamicValue>,
        #[prost(message, repeated, tag = "2")] diagnostics: Vec<Diagnostic>,
    }
    ValidateEphemeralResourceConfigRequest {
        #[prost(string, tag = "1")] type_name: String,
        #[prost(message, optional, tag = "2")] config: Option<DynamicValue>,
    }
    ValidateEphemeralResourceConfigResponse {
        #[prost(message, repeated, tag = "1")] diagnostics: Vec<Diagnostic>,
    }
    OpenEphemeralResourceRequest {
        #[prost(string, tag = "1")] type_name: String,
        #[prost(message, optional, tag = "2")] config: Option<DynamicValue>,
        #[prost(message, optional, tag = "3")] client_capabilities: Option<ClientCapabilities>,
    }
    OpenEphemeralResourceResponse {
        #[prost(message, repeated, tag = "1")] diagnostics: Vec<Diagnostic>,
        #[prost(message, optional, tag = "2")] renew_at: Option<Timestamp>,
        #[prost(message, optional, tag = "3")] result: Option<DynamicValue>,
        #[prost(bytes = "bytes", optional, tag = "4")] private: Option<Bytes>,
        #[prost(message, optional, tag = "5")] deferred: Option<Deferred>,
    }
    RenewEphemeralResourceRequest {
        #[prost(string, tag = "1")] type_name: String,
        #[prost(bytes = "bytes", optional, tag = "2")] private: Option<Bytes>,
    }
    RenewEphemeralResourceResponse {
        #[prost(message, repeated, tag = "1")] diagnostics: Vec<Diagnostic>,
        #[prost(message, optional, tag = "2")] renew_at: Option<Timestamp>,
        #[prost(bytes = "bytes", optional, tag = "3")] private: Option<Bytes>,
    }
    CloseEphemeralResourceRequest {
        #[prost(string, tag = "1")] type_name: String,
        #[prost(bytes = "bytes", optional, tag = "2")] private: Option<Bytes>,
    }
    CloseEphemeralResourceResponse {
        #[prost(message, repeated, tag = "1")] diagnostics: Vec<Diagnostic>,
    }
    GetFunctionsRequest {}
    GetFunctionsResponse {
        #[prost(message, repeated, tag = "2")] diagnostics: Vec<Diagnostic>,
    }
    CallFunctionRequest {
        #[prost(string, tag = "1")] name: String,
    }
    CallFunctionResponse {
        #[prost(message, optional, tag = "1")] result: Option<DynamicValue>,
        #[prost(message, optional, tag = "2")] error: Option<FunctionError>,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
pub enum Severity {
    Invalid = 0,
    Error = 1,
    Warning = 2,
}

/// Why something is left for later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
pub enum Reason {
    Unknown = 0,
    ResourceConfigUnknown = 1,
    ProviderConfigUnknown = 2,
    AbsentPrerequisite = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
pub enum StringKind {
    Plain = 0,
    Markdown = 1,
}

/// Of blocks and of nested attributes; `Group` is for blocks only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
pub enum Nesting {
    Invalid = 0,
    Single = 1,
    List = 2,
    Set = 3,
    Map = 4,
    Group = 5,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Selector {
    #[prost(string, tag = "1")]
    AttributeName(String),
    #[prost(string, tag = "2")]
    ElementKeyString(String),
    #[prost(int64, tag = "3")]
    ElementKeyInt(i64),
}

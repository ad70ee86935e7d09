//! A function, a pipeline or another resource: a token and a key, in variables
//! or in files (resource principal 2.2).
//!
//! <https://docs.oracle.com/en-us/iaas/Content/Functions/Tasks/functionsaccessingociresources.htm>

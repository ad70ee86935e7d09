//! A session that `oci session authenticate` began: a token in a file.
//!
//! <https://docs.oracle.com/en-us/iaas/Content/API/SDKDocs/clitoken.htm>

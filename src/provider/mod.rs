//! Where Terraform meets Oracle.

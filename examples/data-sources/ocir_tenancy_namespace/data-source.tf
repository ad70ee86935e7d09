data "ocir_tenancy_namespace" "this" {}

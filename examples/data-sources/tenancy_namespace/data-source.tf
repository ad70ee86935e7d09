data "tenancy_namespace" "this" {
  provider = ocir
}

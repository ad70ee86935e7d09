resource "oci_auth_token" "docker" {
  provider = ocir

  user_id     = var.user_id
  description = "Used by Docker"
}

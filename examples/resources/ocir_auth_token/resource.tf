resource "ocir_auth_token" "docker" {
  user_id     = var.user_id
  description = "Used by Docker"
}

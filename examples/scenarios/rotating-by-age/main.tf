# One token that is replaced by the first apply after it got too old, such as that of
# a nightly pipeline.
#
# With create_before_destroy the new token exists, and the registry accepts it, before
# the old one is deleted. Whatever takes the token from here (a secret of the pipeline,
# a Kubernetes secret) is updated in between, because it depends on the token. For that
# moment the user holds two, which is all that a user may hold: so the user of such a
# token has no other.

resource "ocir_auth_token" "pipeline" {
  user_id           = var.user_id
  description       = "Pipeline"
  rotate_after_days = var.rotate_after_days

  lifecycle {
    create_before_destroy = true
  }
}

# Two applications, motando-webapp and dramatiq-classifiedad, in private
# repositories: everything that "create repository", "create auth token",
# "get namespace", "docker login", "docker tag" and "docker push" did by hand.

# The types oci_auth_token and tenancy_namespace do not begin with the
# provider's name, so each of their blocks says whose they are.
data "tenancy_namespace" "this" {
  provider = ocir
}

resource "ocir_repository" "this" {
  for_each = toset(["motando-webapp", "dramatiq-classifiedad"])

  compartment_id = var.compartment_id
  display_name   = each.key
}

resource "oci_auth_token" "docker" {
  provider = ocir

  user_id     = var.user_id
  description = "Used by Docker"
}

# As "docker save" wrote it.
resource "ocir_image_push" "webapp" {
  source     = "docker-archive:${var.image_directory}/motando-webapp.tar"
  repository = ocir_repository.this["motando-webapp"].display_name
  tag        = "1.0.0"
  on_destroy = "delete"
}

# An image layout, as buildah, skopeo and "docker buildx build --output type=oci"
# write it.
resource "ocir_image_push" "dramatiq" {
  source     = "oci:${var.image_directory}/dramatiq-classifiedad"
  repository = ocir_repository.this["dramatiq-classifiedad"].display_name
  tag        = "1.4.0"
  on_destroy = "delete"
}

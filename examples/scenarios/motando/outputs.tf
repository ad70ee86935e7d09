output "namespace" {
  description = "First part of every image's path in this tenancy."
  value       = data.tenancy_namespace.this.namespace
}

output "repository_ids" {
  description = "OCIDs of the repositories, by name."
  value       = { for name, repository in ocir_repository.this : name => repository.id }
}

output "references" {
  description = "What to pull, by name."
  value = {
    motando-webapp        = ocir_image_push.webapp.reference
    dramatiq-classifiedad = ocir_image_push.dramatiq.reference
  }
}

output "digests" {
  description = "Digests of the images, by name: known while planning."
  value = {
    motando-webapp        = ocir_image_push.webapp.digest
    dramatiq-classifiedad = ocir_image_push.dramatiq.digest
  }
}

output "auth_token_id" {
  description = "OCID of the auth token."
  value       = oci_auth_token.docker.id
}

output "docker_username" {
  description = "User name for docker login."
  value       = oci_auth_token.docker.username
}

output "docker_password" {
  description = "Password for docker login."
  value       = oci_auth_token.docker.token
  sensitive   = true
}

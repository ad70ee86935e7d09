output "repository_ids" {
  description = "OCIDs of the repositories, by application."
  value       = { for name, repository in ocir_repository.this : name => repository.id }
}

output "images" {
  description = "What to run, by application: the image by its digest."
  value       = { for name, push in ocir_image_push.this : name => push.digest_reference }
}

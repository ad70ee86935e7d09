output "reference" {
  description = "The release, as image tools name it."
  value       = ocir_image_push.release.reference
}

output "digest" {
  description = "Digest of the index: known while planning."
  value       = ocir_image_push.release.digest
}

output "repository_template" {
  description = "What goes into oci_mirror as repository_template."
  value = format(
    "%s/opentofu-providers/$${namespace}/$${type}",
    trimsuffix(ocir_repository.provider.repository_url, "/${ocir_repository.provider.display_name}"),
  )
}

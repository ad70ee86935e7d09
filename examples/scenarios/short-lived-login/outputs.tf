output "reference" {
  description = "What to pull."
  value       = ocir_image_push.webapp.digest_reference
}

output "username" {
  description = "User name for docker login."
  value       = ocir_auth_token.pipeline.username
}

output "password" {
  description = "Password for docker login. Like the token itself, it is in the state."
  value       = ocir_auth_token.pipeline.token
  sensitive   = true
}

output "time_created" {
  description = "When the token was created."
  value       = ocir_auth_token.pipeline.time_created
}

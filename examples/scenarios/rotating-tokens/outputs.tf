output "current" {
  description = "Which of the two tokens is the one to use."
  value       = local.current
}

output "username" {
  description = "User name for docker login."
  value       = ocir_auth_token.this[local.current].username
}

output "password" {
  description = "Password for docker login. Like the token itself, it is in the state."
  value       = ocir_auth_token.this[local.current].token
  sensitive   = true
}

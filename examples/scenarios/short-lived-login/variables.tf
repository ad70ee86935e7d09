variable "compartment_id" {
  description = "OCID of the compartment that holds the repository."
  type        = string
}

variable "image_directory" {
  description = "Folder that holds motando-webapp.tar."
  type        = string
  default     = "."
}

variable "check_command" {
  description = "What is to be done with the pushed image: it is in REFERENCE, and the login in DOCKER_CONFIG_JSON."
  type        = string
  default     = <<-EOT
    set -eu
    DOCKER_CONFIG="$(mktemp -d)"
    export DOCKER_CONFIG
    trap 'rm -rf "$DOCKER_CONFIG"' EXIT
    printf %s "$DOCKER_CONFIG_JSON" > "$DOCKER_CONFIG/config.json"
    docker manifest inspect "$REFERENCE" > /dev/null
  EOT
}

variable "region" {
  description = "Region of the registry."
  type        = string
  default     = "sa-saopaulo-1"
}

variable "compartment_id" {
  description = "OCID of the compartment that holds the repository."
  type        = string
}

variable "region" {
  description = "Region of the registry."
  type        = string
  default     = "sa-saopaulo-1"
}

variable "layout" {
  description = "Image layout of the release, as tools/release.py layout writes it."
  type        = string
}

variable "release" {
  description = "Version that is published. OpenTofu takes the tags of the repository for the versions there are."
  type        = string
}

variable "public" {
  description = "Whether anyone may install from the repository without signing in."
  type        = bool
  default     = false
}

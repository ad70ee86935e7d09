variable "compartment_id" {
  description = "OCID of the compartment that holds the repositories."
  type        = string
}

variable "user_id" {
  description = "OCID of the user who gets the auth token; the calling user when left out."
  type        = string
  default     = null
}

variable "region" {
  description = "Region of the registry."
  type        = string
  default     = "sa-saopaulo-1"
}

variable "image_directory" {
  description = "Folder that holds motando-webapp.tar and the image layout dramatiq-classifiedad."
  type        = string
  default     = "."
}

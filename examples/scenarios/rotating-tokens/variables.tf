variable "user_id" {
  description = "OCID of the user the tokens belong to; the calling user when left out."
  type        = string
  default     = null
}

variable "rotation" {
  description = "How often the tokens have been rotated. Raise it by one to rotate them; a schedule may reckon it, as the number of months since a beginning."
  type        = number
  default     = 0

  validation {
    condition     = var.rotation >= 0 && floor(var.rotation) == var.rotation
    error_message = "The rotation is a whole number, 0 or more."
  }
}

variable "region" {
  description = "Region of the registry."
  type        = string
  default     = "sa-saopaulo-1"
}

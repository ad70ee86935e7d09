variable "user_id" {
  description = "OCID of the user the token belongs to; the calling user when left out."
  type        = string
  default     = null
}

variable "rotate_after_days" {
  description = "How old the token may get."
  type        = number
  default     = 90
}

variable "region" {
  description = "Region of the registry."
  type        = string
  default     = "sa-saopaulo-1"
}

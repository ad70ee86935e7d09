variable "compartment_id" {
  description = "OCID of the compartment that holds the repositories."
  type        = string
}

variable "applications" {
  description = "What to publish, by name: where each image comes from, and its tags."
  type = map(object({
    source          = string
    tag             = string
    additional_tags = optional(set(string))
  }))

  validation {
    condition     = alltrue([for application in var.applications : application.tag != "latest"])
    error_message = "Give each application a version as its tag; \"latest\" may be an additional one."
  }
}

variable "prefix" {
  description = "First part of the repositories' names, such as the team."
  type        = string
  default     = ""
}

variable "freeform_tags" {
  description = "Labels of the repositories."
  type        = map(string)
  default     = {}
}

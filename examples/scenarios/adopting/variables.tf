variable "compartment_id" {
  description = "OCID of the compartment that the repositories are in, or move to."
  type        = string
}

variable "imported" {
  description = "Names of repositories in that compartment, to be imported."
  type        = set(string)
  default     = ["team/api", "team/web"]
}

variable "adopted" {
  description = "Names of repositories that may exist, wherever in the tenancy they are."
  type        = set(string)
  default     = ["team/worker"]
}

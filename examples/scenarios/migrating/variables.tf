variable "compartment_id" {
  description = "OCID of the compartment that the repositories are in."
  type        = string
}

# For each application a private repository, and its image in it.

resource "ocir_repository" "this" {
  for_each = var.applications

  compartment_id = var.compartment_id
  display_name   = local.repositories[each.key]
  # The default, and yet said: a mocked provider knows no defaults.
  is_public     = false
  freeform_tags = var.freeform_tags
}

resource "ocir_image_push" "this" {
  for_each = var.applications

  source          = each.value.source
  repository      = ocir_repository.this[each.key].display_name
  tag             = each.value.tag
  additional_tags = each.value.additional_tags
  on_destroy      = "delete"
}

locals {
  repositories = {
    for name in keys(var.applications) : name => var.prefix == "" ? name : "${var.prefix}/${name}"
  }
}

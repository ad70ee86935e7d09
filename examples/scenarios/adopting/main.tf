# Repositories that are known to exist: the plan shows what an apply would change.
import {
  for_each = var.imported
  to       = ocir_repository.imported[each.key]
  id       = "${var.compartment_id}/${each.key}"
}

resource "ocir_repository" "imported" {
  for_each = var.imported

  compartment_id = var.compartment_id
  display_name   = each.key
}

# Repositories that a push may have made before, in the root compartment: taken over
# if they exist, and made if they do not. Images in them stay.
resource "ocir_repository" "adopted" {
  for_each = var.adopted

  compartment_id = var.compartment_id
  display_name   = each.key
  adopt_existing = true
}

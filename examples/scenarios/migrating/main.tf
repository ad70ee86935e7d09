moved {
  from = oci_artifacts_container_repository.web
  to   = ocir_repository.web
}

moved {
  from = oci_artifacts_container_repository.services
  to   = ocir_repository.services
}

resource "ocir_repository" "web" {
  compartment_id = var.compartment_id
  display_name   = "team/web"

  readme {
    content = "The web application of our team."
    format  = "TEXT_PLAIN"
  }

  freeform_tags = {
    team = "web"
  }
}

resource "ocir_repository" "services" {
  for_each = toset(["api", "worker"])

  compartment_id = var.compartment_id
  display_name   = "team/${each.key}"
}

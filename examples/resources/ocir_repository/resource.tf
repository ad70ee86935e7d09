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

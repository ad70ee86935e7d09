resource "ocir_repository" "web" {
  compartment_id = var.compartment_id
  display_name   = "team/web"
}

resource "ocir_image_push" "web" {
  source          = "docker-archive:${path.module}/web.tar"
  repository      = ocir_repository.web.display_name
  tag             = "1.0.0"
  additional_tags = ["stable"]
}

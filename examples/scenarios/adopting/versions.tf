terraform {
  required_version = ">= 1.7"

  required_providers {
    ocir = { source = "motando/ocir" }
  }
}

provider "ocir" {}

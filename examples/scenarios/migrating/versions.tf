terraform {
  required_version = ">= 1.8"

  required_providers {
    ocir = {
      source  = "motando/ocir"
      version = "~> 0.1"
    }
  }
}

provider "ocir" {}

terraform {
  required_version = ">= 1.7"

  required_providers {
    ocir = {
      source  = "motando/ocir"
      version = "~> 0.1"
    }
  }
}

provider "ocir" {}

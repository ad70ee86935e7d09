terraform {
  # Mocks in tests. The module alone needs 1.3.
  required_version = ">= 1.7"

  required_providers {
    ocir = {
      source  = "motando/ocir"
      version = "~> 0.1"
    }
  }
}

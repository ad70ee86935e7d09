terraform {
  required_providers {
    ocir = {
      source = "motando/ocir"
    }
  }
}

# Signs with profile DEFAULT of ~/.oci/config.
provider "ocir" {
  region = "sa-saopaulo-1"
}

# Signs with another profile, in another region.
provider "ocir" {
  alias               = "ashburn"
  config_file_profile = "PRODUCTION"
  region              = "us-ashburn-1"
}

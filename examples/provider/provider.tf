terraform {
  required_providers {
    ocir = {
      source  = "motando/ocir"
      version = "~> 0.1"
    }
  }
}

# Signs in with what the machine has: profile DEFAULT of ~/.oci/config on a laptop, the
# machine's own identity on an instance, in a pod, in a function.
provider "ocir" {
  region = "sa-saopaulo-1"
}

# Signs in with another profile, in another region.
provider "ocir" {
  alias               = "ashburn"
  config_file_profile = "PRODUCTION"
  region              = "us-ashburn-1"
}

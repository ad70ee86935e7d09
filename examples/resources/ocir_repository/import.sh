# The OCID of the repository, or the OCID of its compartment and its name.
terraform import ocir_repository.web ocid1.containerrepo.oc1.sa-saopaulo-1.0.axfdvjdfskd4example
terraform import ocir_repository.web ocid1.compartment.oc1..aaaaaaaaexample/team/web

# An import block takes either one as its id, and from Terraform and OpenTofu 1.12 on the identity instead:
#   identity = { id = "ocid1.containerrepo.oc1.sa-saopaulo-1.0.axfdvjdfskd4example" }

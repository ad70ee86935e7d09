# The OCID of the repository.
terraform import ocir_repository.web ocid1.containerrepo.oc1.sa-saopaulo-1.0.axfdvjdfskd4example

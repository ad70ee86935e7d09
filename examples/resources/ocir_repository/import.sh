terraform import ocir_repository.web ocid1.containerrepo.oc1.sa-saopaulo-1.0.axfdvjdfskd4example
terraform import ocir_repository.web ocid1.compartment.oc1..aaaaaaaaexample/team/web

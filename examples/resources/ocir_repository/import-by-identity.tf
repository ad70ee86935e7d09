import {
  to = ocir_repository.web
  identity = {
    id = "ocid1.containerrepo.oc1.sa-saopaulo-1.0.axfdvjdfskd4example"
  }
}

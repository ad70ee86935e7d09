# The OCID of the repository, or the OCID of its compartment and its name, as COMPARTMENT_OCID/NAME.
import {
  to = ocir_repository.web
  id = "ocid1.compartment.oc1..aaaaaaaaexample/team/web"
}

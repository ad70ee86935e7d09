import {
  to = ocir_auth_token.docker
  identity = {
    user_id = "ocid1.user.oc1..aaaaaaaaexample"
    id      = "ocid1.credential.oc1..aaaaaaaaexample"
  }
}

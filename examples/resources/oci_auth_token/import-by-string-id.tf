# users/USER_OCID/authTokens/TOKEN_OCID. The token's value cannot be read back: "token" is null.
import {
  to = oci_auth_token.docker
  id = "users/ocid1.user.oc1..aaaaaaaaexample/authTokens/ocid1.credential.oc1..aaaaaaaaexample"
}

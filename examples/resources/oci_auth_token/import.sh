# users/<OCID of the user>/authTokens/<OCID of the token>. The token's value cannot be read back: `token` is null.
terraform import oci_auth_token.docker users/ocid1.user.oc1..aaaaaaaaexample/authTokens/ocid1.credential.oc1..aaaaaaaaexample

terraform import oci_auth_token.docker users/ocid1.user.oc1..aaaaaaaaexample/authTokens/ocid1.credential.oc1..aaaaaaaaexample

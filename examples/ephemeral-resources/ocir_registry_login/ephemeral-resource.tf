ephemeral "ocir_registry_login" "this" {}

# A second configuration that signs in to the registry with it. Any other
# provider's arguments may take it as well, and so may write-only arguments.
provider "ocir" {
  alias = "login"

  registry = {
    host     = ephemeral.ocir_registry_login.this.host
    username = ephemeral.ocir_registry_login.this.username
    password = ephemeral.ocir_registry_login.this.password
  }
}

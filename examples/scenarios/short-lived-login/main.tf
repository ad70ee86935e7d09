# A login that lives for an hour and is stored nowhere: not in the state, not in a
# saved plan. Each plan and each apply opens one of its own.

ephemeral "ocir_registry_login" "this" {}

# Whatever takes a user name and a password as arguments of a provider may have it:
# here a second configuration of this one, which signs in to the registry with it
# instead of with its own identity.
provider "ocir" {
  alias  = "login"
  region = var.region

  registry = {
    host     = ephemeral.ocir_registry_login.this.host
    username = ephemeral.ocir_registry_login.this.username
    password = ephemeral.ocir_registry_login.this.password
  }
}

resource "ocir_repository" "webapp" {
  compartment_id = var.compartment_id
  display_name   = "motando-webapp"
}

resource "ocir_image_push" "webapp" {
  provider = ocir.login

  source     = "docker-archive:${var.image_directory}/motando-webapp.tar"
  repository = ocir_repository.webapp.display_name
  tag        = "1.0.0"
  on_destroy = "delete"
}

# The same login as a file for programs. It is in the environment of this command
# alone, and in the folder that the command removes again. The command runs docker;
# check_command is another one, such as "true" against the emulator, which docker asks
# by TLS and does not find.
resource "terraform_data" "check" {
  triggers_replace = [ocir_image_push.webapp.digest_reference]

  provisioner "local-exec" {
    command = var.check_command

    environment = {
      DOCKER_CONFIG_JSON = ephemeral.ocir_registry_login.this.docker_config_json
      REFERENCE          = ocir_image_push.webapp.digest_reference
    }
  }
}

# Nothing is needed here: no account, no network, no image. The provider is asked for
# its schema only, and what it would compute is made up.
mock_provider "ocir" {
  mock_resource "ocir_image_push" {
    defaults = {
      digest_reference = "gru.ocir.io/mocked/web@sha256:0000"
    }
  }
}

variables {
  compartment_id = "ocid1.compartment.oc1..example"
  prefix         = "team"
  applications = {
    web    = { source = "docker-archive:web.tar", tag = "1.0.0", additional_tags = ["latest"] }
    worker = { source = "oci:worker", tag = "2.1.0" }
  }
}

run "a_private_repository_for_each" {
  command = plan

  assert {
    condition     = [for it in values(ocir_repository.this) : it.display_name] == ["team/web", "team/worker"]
    error_message = "The repositories are not called team/web and team/worker."
  }

  assert {
    condition     = !anytrue([for it in values(ocir_repository.this) : it.is_public])
    error_message = "A repository is public."
  }

  assert {
    condition     = ocir_image_push.this["worker"].repository == "team/worker" && ocir_image_push.this["worker"].tag == "2.1.0"
    error_message = "The image of the worker goes elsewhere."
  }
}

run "without_a_prefix" {
  command = plan

  variables {
    prefix = ""
  }

  assert {
    condition     = ocir_repository.this["web"].display_name == "web"
    error_message = "The name has a prefix."
  }
}

run "outputs_name_images_by_digest" {
  assert {
    condition     = output.images["web"] == "gru.ocir.io/mocked/web@sha256:0000"
    error_message = "The output is not the reference by digest."
  }

  assert {
    condition     = output.repository_ids["web"] == ocir_repository.this["web"].id
    error_message = "The output is not the repository's OCID."
  }
}

run "latest_is_no_version" {
  command = plan

  variables {
    applications = {
      web = { source = "docker-archive:web.tar", tag = "latest" }
    }
  }

  expect_failures = [var.applications]
}

# A real apply of a real provider: against ocir-emulator, or against a compartment that
# is there to be tried out in. Who signs in and where is in the environment, as is
# compartment_id. What was made is destroyed at the end.
variables {
  prefix = "module-test"
  applications = {
    web = { source = "oci:tests/image", tag = "1.0.0", additional_tags = ["latest"] }
  }
}

run "an_image_is_pushed" {
  assert {
    condition     = startswith(output.repository_ids["web"], "ocid1.containerrepo.")
    error_message = "There is no repository."
  }

  assert {
    condition     = endswith(output.images["web"], "/module-test/web@${ocir_image_push.this["web"].digest}")
    error_message = "The output names another image."
  }

  assert {
    condition     = ocir_repository.this["web"].is_public == false
    error_message = "The repository is public."
  }
}

run "a_second_run_changes_nothing_about_it" {
  command = plan

  assert {
    condition     = output.images["web"] == run.an_image_is_pushed.images["web"]
    error_message = "The digest changed."
  }
}

run "labels_are_changed_in_place" {
  variables {
    freeform_tags = { team = "web" }
  }

  assert {
    condition     = output.repository_ids["web"] == run.an_image_is_pushed.repository_ids["web"]
    error_message = "The repository was replaced."
  }
}

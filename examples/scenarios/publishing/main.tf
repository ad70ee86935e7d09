# This provider, in the registry that it manages: OpenTofu 1.10 and newer install
# providers from any registry, see README.md.

resource "ocir_repository" "provider" {
  compartment_id = var.compartment_id
  display_name   = "opentofu-providers/motando/ocir"
  is_public      = var.public
}

# One tag per version, each an index with one archive per platform.
resource "ocir_image_push" "release" {
  source     = "oci:${var.layout}"
  repository = ocir_repository.provider.display_name
  # A tag cannot have the plus of build metadata; OpenTofu reads it as written here.
  tag = replace(var.release, "+", "_")
  # The archives are what a lock file has the hashes of, so a version that is
  # there stays what it is.
  if_exists = "error"
}

# The repository, without the namespace, and the tag. The first apply takes the image over without an upload when the source holds the same.
terraform import ocir_image_push.web team/web:1.0.0

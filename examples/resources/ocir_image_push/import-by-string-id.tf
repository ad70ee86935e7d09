# REPOSITORY:TAG, without the namespace. The first apply takes the image over without an upload when the source holds the same.
import {
  to = ocir_image_push.web
  id = "team/web:1.0.0"
}

terraform import ocir_image_push.web team/web:1.0.0

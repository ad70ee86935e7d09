# A rotation without a gap: two tokens of one user that are replaced in turn.
#
# Whoever signs in uses the current one. Raising the rotation by one replaces the
# other one, which nobody has used since the time before, and makes it the current
# one; the one that was current until then goes on working. So there is a whole
# period for handing out the new token, and no moment at which the token that is
# in use is refused.
#
# A user may hold two auth tokens, and both are used here: without
# create_before_destroy, the old one is deleted before the new one is created, and
# frees its place. With it, the user would need a third one, and the apply would say
# so instead of asking for it. No other tokens fit beside these two.

locals {
  # rotation    0  1  2  3  4
  # blue        0  1  1  2  2   replaced at the odd ones
  # green       0  0  1  1  2   replaced at the even ones
  generations = {
    blue  = floor((var.rotation + 1) / 2)
    green = floor(var.rotation / 2)
  }
  current = var.rotation % 2 == 1 ? "blue" : "green"
}

resource "ocir_auth_token" "this" {
  for_each = local.generations

  user_id     = var.user_id
  description = "Pipelines (${each.key})"

  rotation_triggers = {
    generation = each.value
  }
}

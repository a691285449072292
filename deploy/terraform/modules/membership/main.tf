# Ties the making, replacing and removing of machines to what the cluster has to be told of it. Nothing but the built-in
# provider and the program `trunkline`, which must reach the brokers from where Terraform runs.
#
# The order of things follows from who depends on whom; Terraform destroys what depends before what it depends on:
#
#   removed broker     member (decommission) before machine before data
#   replaced machine   machine_of (drain) before machine; new machine before machine_of (wait, undrain)
#   whole cluster      cluster (says so) before everything else, which then neither drains nor decommissions

terraform {
  required_version = ">= 1.11.0, < 2.0.0"
}

locals {
  environment = { DIRECTORY = var.directory, TRUNKLINE = var.trunkline, WAIT = var.wait, SCRIPT = abspath("${path.module}/member.sh") }
}

resource "terraform_data" "context" {
  triggers_replace = var.context

  provisioner "local-exec" {
    command     = "\"$SCRIPT\" context"
    environment = merge(local.environment, { CONTEXT = var.context })
  }
}

# Apart from the context itself, which is made anew whenever a broker comes or goes.
resource "terraform_data" "notes" {
  input = local.environment

  provisioner "local-exec" {
    when        = destroy
    command     = "\"$SCRIPT\" forget"
    environment = self.input
  }
}

resource "terraform_data" "machine_of" {
  for_each         = var.members
  input            = merge(local.environment, { ID = each.key })
  triggers_replace = each.value.machine

  provisioner "local-exec" {
    command     = "\"$SCRIPT\" arrive \"$ID\" \"$KEY\""
    environment = merge(local.environment, { ID = each.key, KEY = each.value.restart_key })
  }
  provisioner "local-exec" {
    when        = destroy
    command     = "\"$SCRIPT\" depart \"$ID\""
    environment = self.input
  }
  depends_on = [terraform_data.context, terraform_data.notes]
}

resource "terraform_data" "restart" {
  for_each         = var.members
  triggers_replace = each.value.restart_key

  provisioner "local-exec" {
    command = "\"$SCRIPT\" restart \"$ID\" \"$KEY\" \"$COMMAND\""
    environment = merge(local.environment, {
      ID         = each.key
      KEY        = each.value.restart_key
      COMMAND    = each.value.restart_command
      ROLL_FLAGS = var.accept_pauses ? "--accept-pauses" : ""
    })
  }
  depends_on = [terraform_data.machine_of]
}

# It depends on machine_of, so that a broker is decommissioned before anything drains it.
resource "terraform_data" "member" {
  for_each = var.members
  input    = merge(local.environment, { ID = each.key })

  provisioner "local-exec" {
    when        = destroy
    command     = "\"$SCRIPT\" leave \"$ID\""
    environment = self.input
  }
  depends_on = [terraform_data.machine_of, terraform_data.restart]
}

resource "terraform_data" "cluster" {
  input = local.environment

  provisioner "local-exec" {
    when        = destroy
    command     = "\"$SCRIPT\" down"
    environment = self.input
  }
  depends_on = [terraform_data.member]
}

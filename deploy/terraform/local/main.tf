# A cluster of real brokers on this machine: the same modules as in a cloud, with directories for volumes and supervised
# processes for machines.

terraform {
  required_version = ">= 1.11.0, < 2.0.0"
}

locals {
  directory = abspath(var.directory)
  binaries  = abspath(var.binaries)
  script    = abspath("${path.module}/broker.sh")

  ids = [for id in concat(range(1, var.founders + 1), var.joined) : tostring(id)]
  brokers = { for id in local.ids : id => {
    host        = var.host
    zone        = length(var.zones) == 0 ? "" : var.zones[(tonumber(id) - 1) % length(var.zones)]
    founder     = tonumber(id) <= var.founders
    retired     = contains(var.retired, tonumber(id))
    client_port = var.base_port + 10 * (tonumber(id) - 1)
    raft_port   = var.base_port + 10 * (tonumber(id) - 1) + 1
    admin_port  = var.base_port + 10 * (tonumber(id) - 1) + 2
  } }
  homes = { for id in keys(module.config.configurations) : id => "${local.directory}/broker-${id}" }
}

module "config" {
  source = "../modules/cluster-config"

  cluster  = var.cluster
  brokers  = local.brokers
  settings = var.settings
  data_dir = "${local.directory}/broker-{id}/data"
  tls = {
    ca   = "${local.directory}/pki/ca.pem"
    cert = "${local.directory}/pki/broker-{id}.pem"
    key  = "${local.directory}/pki/broker-{id}.pem"
  }
  tokens_file = "${local.directory}/pki/token"
  client      = { ca = "pki/ca.pem", token_file = "pki/token" }
}

# Last to go.
resource "terraform_data" "directory" {
  input = { DIRECTORY = local.directory }

  provisioner "local-exec" {
    when        = destroy
    command     = "rmdir \"$DIRECTORY\" || true # somebody else keeps something there"
    environment = self.input
  }
}

module "certificates" {
  source     = "../modules/certificates"
  depends_on = [terraform_data.directory]

  directory    = "${local.directory}/pki"
  certificates = module.config.certificates
  generation   = var.certificate_generation
}

# What a broker keeps: it outlives its process, and goes when the broker does.
resource "terraform_data" "home" {
  for_each = local.homes
  input    = { SCRIPT = local.script, HOME_OF = each.value }

  provisioner "local-exec" {
    when        = destroy
    command     = "\"$SCRIPT\" erase \"$HOME_OF\""
    environment = self.input
  }
  depends_on = [module.certificates]
}

resource "terraform_data" "configuration" {
  for_each         = module.config.configurations
  triggers_replace = each.value

  provisioner "local-exec" {
    command     = "\"$SCRIPT\" configure \"$HOME_OF\" \"$TEXT\""
    environment = { SCRIPT = local.script, HOME_OF = local.homes[each.key], TEXT = each.value }
  }
  depends_on = [terraform_data.home]
}

# The machine, so to speak: `terraform apply -replace 'terraform_data.process["2"]'` replaces it and keeps the data.
resource "terraform_data" "process" {
  for_each = local.homes
  input    = { SCRIPT = local.script, HOME_OF = each.value }

  provisioner "local-exec" {
    command     = "\"$SCRIPT\" start \"$HOME_OF\" \"$TRUNKLINED\""
    environment = { SCRIPT = local.script, HOME_OF = each.value, TRUNKLINED = "${local.binaries}/trunklined" }
  }
  provisioner "local-exec" {
    when        = destroy
    command     = "\"$SCRIPT\" stop \"$HOME_OF\""
    environment = self.input
  }
  depends_on = [terraform_data.configuration]
}

module "membership" {
  source     = "../modules/membership"
  depends_on = [terraform_data.directory]

  directory     = local.directory
  context       = module.config.context
  trunkline     = "${local.binaries}/trunkline"
  wait          = var.wait
  accept_pauses = var.accept_pauses
  members = { for id, home in local.homes : id => {
    machine         = terraform_data.process[id].id
    restart_key     = module.config.restart_keys[id]
    restart_command = "'${local.script}' restart '${home}' '${local.binaries}/trunklined'"
  } }
}

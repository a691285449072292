# Three machines that exist already, of any kind: what to put on each. Copy every configuration to its machine as
# /etc/trunkline/trunkline.yaml, the certificates to /etc/trunkline/tls, and start the unit trunklined of the package.

terraform {
  required_version = ">= 1.11.0, < 2.0.0"
}

module "config" {
  source = "../../modules/cluster-config"

  cluster     = var.cluster
  brokers     = { for id, host in var.hosts : id => { host = host, zone = var.zones[id], bind = "0.0.0.0", admin_bind = "127.0.0.1" } }
  tls         = { ca = "/etc/trunkline/tls/ca.pem", cert = "/etc/trunkline/tls/broker.pem", key = "/etc/trunkline/tls/broker.pem" }
  tokens_file = "/etc/trunkline/tls/tokens"
  client      = { ca = "ca.pem", token_file = "token" }
}

module "certificates" {
  source = "../../modules/certificates"

  directory    = abspath("${var.directory}/tls")
  certificates = module.config.certificates
}

resource "terraform_data" "file" {
  for_each         = merge({ for id, text in module.config.configurations : "broker-${id}.yaml" => text }, { "tls/context.json" = module.config.context })
  input            = { FILE = "${abspath(var.directory)}/${each.key}" }
  triggers_replace = each.value

  provisioner "local-exec" {
    command     = "printf '%s\\n' \"$TEXT\" >\"$FILE\""
    environment = { TEXT = each.value, FILE = "${abspath(var.directory)}/${each.key}" }
  }
  provisioner "local-exec" {
    when        = destroy
    command     = "rm -f \"$FILE\""
    environment = self.input
  }
  depends_on = [module.certificates]
}

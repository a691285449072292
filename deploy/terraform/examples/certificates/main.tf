# The certificates that ../../aws looks for: an authority, a client token, and for every broker a certificate for its name. Give it
# the same cluster, domain and IDs. Keep the directory safe and its ca-key.pem safest: whoever has it can be any broker.

terraform {
  required_version = ">= 1.11.0, < 2.0.0"
}

module "config" {
  source = "../../modules/cluster-config"

  brokers = { for id in var.ids : id => { host = "b${id}.${var.domain}", founder = id == var.ids[0] } }
  tls     = { ca = "/ca.pem", cert = "/broker.pem", key = "/broker.pem" } # only the plan of certificates is of use here
  client  = { ca = "ca.pem" }
}

module "certificates" {
  source = "../../modules/certificates"

  directory    = var.directory
  certificates = module.config.certificates
  days         = var.days
  generation   = var.generation
}

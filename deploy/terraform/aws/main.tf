# A cluster on AWS. What brokers are told, and what the cluster is told of its machines, is decided in ../modules; here is
# only what AWS has to provide.

terraform {
  required_version = ">= 1.11.0, < 2.0.0"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0.0, < 7.0.0" # write-only arguments of aws_ssm_parameter
    }
  }
}

locals {
  active = { for id, b in var.brokers : id => b if !b.retired }
  hosts  = { for id in keys(var.brokers) : id => "b${id}.${var.domain}" }
  path   = "/${var.cluster}" # of the parameters
  tags   = merge({ Project = "trunkline", Cluster = var.cluster }, var.tags)

  # get prints a parameter on a machine.
  get = "aws ssm get-parameter --region ${var.region} --with-decryption --output text --query Parameter.Value --name ${local.path}"
}

provider "aws" {
  region = var.region
  default_tags {
    tags = local.tags
  }
}

module "config" {
  source = "../modules/cluster-config"

  cluster  = var.cluster
  settings = var.settings
  zones    = { for zone, subnet in local.subnets : zone => { cidr = subnet.cidr } }
  brokers = { for id, b in var.brokers : id => {
    host    = local.hosts[id]
    zone    = b.zone
    founder = b.founder
    retired = b.retired
    bind    = "0.0.0.0"
    # The admin port asks nobody who they are: it listens beyond the machine only if somebody may reach it.
    admin_bind = length(var.admin_cidrs) == 0 ? "127.0.0.1" : "0.0.0.0"
  } }
  tls = {
    ca   = "/etc/trunkline/tls/ca.pem"
    cert = "/etc/trunkline/tls/broker.pem"
    key  = "/etc/trunkline/tls/broker.pem"
  }
  tokens_file = "/etc/trunkline/tls/tokens"
  client      = { ca = "${var.certificates}/ca.pem", token_file = "${var.certificates}/token" }

  machine = {
    package = var.package.url
    sha256  = var.package.sha256
    files = [
      { path = "/etc/trunkline/trunkline.yaml", command = "${local.get}/config/{id}" },
      { path = "/etc/trunkline/tls/ca.pem", command = "${local.get}/ca" },
      { path = "/etc/trunkline/tls/tokens", command = "${local.get}/tokens" },
      { path = "/etc/trunkline/tls/broker.pem", command = "${local.get}/pair/{id}" },
    ]
  }
  data_devices = { for id, v in aws_ebs_volume.data : id => "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${replace(v.id, "-", "")}" }
}

# Only looks whether they are there, at plan time.
module "certificates" {
  source = "../modules/certificates"

  directory    = var.certificates
  certificates = module.config.certificates
  existing     = true
}

module "membership" {
  source = "../modules/membership"
  count  = var.membership == null ? 0 : 1

  directory     = var.membership.directory
  context       = module.config.context
  trunkline     = var.membership.trunkline
  wait          = var.membership.wait
  accept_pauses = var.membership.accept_pauses
  members = { for id in keys(local.active) : id => {
    machine         = aws_instance.broker[id].id
    restart_key     = module.config.restart_keys[id]
    restart_command = "aws ssm send-command --region ${var.region} --document-name AWS-RunShellScript --instance-ids ${aws_instance.broker[id].id} --parameters commands='systemctl restart trunklined' --output text"
  } }
  depends_on = [
    aws_volume_attachment.data, aws_route53_record.broker, aws_ssm_parameter.config, aws_ssm_parameter.pair,
    aws_vpc_security_group_ingress_rule.raft, aws_vpc_security_group_ingress_rule.clients, aws_vpc_security_group_egress_rule.all,
    aws_iam_role_policy.parameters, aws_iam_role_policy_attachment.session,
  ]
}

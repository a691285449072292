# Certificates come about in one of two ways: openssl makes an authority and a certificate for every broker in a directory of
# this machine, or they are there already and are only looked for. Either way no key gets into Terraform's state: it holds
# paths and host names.

terraform {
  required_version = ">= 1.11.0, < 2.0.0"
}

locals {
  script = "${path.module}/issue.sh"
  made   = var.existing ? {} : var.certificates
}

resource "terraform_data" "authority" {
  count = var.existing ? 0 : 1
  input = { script = abspath(local.script), directory = var.directory }

  provisioner "local-exec" {
    command = "\"$SCRIPT\" authority \"$DIRECTORY\" && \"$SCRIPT\" token \"$DIRECTORY\""
    environment = {
      SCRIPT    = abspath(local.script)
      DIRECTORY = var.directory
    }
  }
  provisioner "local-exec" {
    when    = destroy
    command = "\"$SCRIPT\" remove \"$DIRECTORY\" ca.pem ca-key.pem token"
    environment = {
      SCRIPT    = self.input.script
      DIRECTORY = self.input.directory
    }
  }
}

resource "terraform_data" "certificate" {
  for_each         = local.made
  input            = { script = abspath(local.script), directory = var.directory, name = each.value.name }
  triggers_replace = [each.value, var.generation]

  provisioner "local-exec" {
    command = "\"$SCRIPT\" certificate \"$DIRECTORY\" \"$NAME\" \"$URI\" \"$HOSTS\" \"$DAYS\""
    environment = {
      SCRIPT    = abspath(local.script)
      DIRECTORY = var.directory
      NAME      = each.value.name
      URI       = each.value.uri
      HOSTS     = join(",", each.value.hosts)
      DAYS      = var.days
    }
  }
  depends_on = [terraform_data.authority]
}

# Apart from the certificate itself: a renewal replaces the file while brokers look at it, and must not remove it before.
resource "terraform_data" "file" {
  for_each = local.made
  input    = { script = abspath(local.script), directory = var.directory, name = each.value.name }

  provisioner "local-exec" {
    when    = destroy
    command = "\"$SCRIPT\" remove \"$DIRECTORY\" \"$NAME.pem\""
    environment = {
      SCRIPT    = self.input.script
      DIRECTORY = self.input.directory
      NAME      = self.input.name
    }
  }
  depends_on = [terraform_data.authority]
}

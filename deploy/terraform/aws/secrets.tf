# Files that only the machines read. Keys and tokens go to SSM by write-only arguments: they are neither in the plan nor in
# the state. The version by which Terraform sees that one has changed is made of something public, the certificate, or of a
# digest.

locals {
  pairs = module.certificates.pairs
  # As a number of 48 bits.
  versions = { for id, path in local.pairs : id => parseint(substr(filesha256(path), 0, 12), 16) }
  tokens   = "${var.certificates}/token"
}

resource "aws_ssm_parameter" "config" {
  for_each = module.config.configurations
  name     = "${local.path}/config/${each.key}"
  type     = "String"
  value    = each.value
}

resource "aws_ssm_parameter" "ca" {
  name  = "${local.path}/ca"
  type  = "String"
  value = file(module.certificates.ca)
}

resource "aws_ssm_parameter" "pair" {
  for_each         = local.pairs
  name             = "${local.path}/pair/${each.key}"
  type             = "SecureString"
  key_id           = var.kms_key_arn
  value_wo         = file(each.value)
  value_wo_version = local.versions[each.key]
}

resource "aws_ssm_parameter" "tokens" {
  name             = "${local.path}/tokens"
  type             = "SecureString"
  key_id           = var.kms_key_arn
  value_wo         = file(local.tokens)
  value_wo_version = parseint(substr(filesha256(local.tokens), 0, 12), 16)
}

# A role for each broker: it reads its own key and nobody else's.
resource "aws_iam_role" "broker" {
  for_each = local.active
  name     = "${var.cluster}-broker-${each.key}"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy" "parameters" {
  for_each = local.active
  name     = "parameters"
  role     = aws_iam_role.broker[each.key].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([{
      Effect = "Allow"
      Action = "ssm:GetParameter"
      Resource = [
        aws_ssm_parameter.ca.arn, aws_ssm_parameter.tokens.arn, aws_ssm_parameter.pair[each.key].arn, aws_ssm_parameter.config[each.key].arn,
      ]
      }], var.kms_key_arn == null ? [] : [{
      Effect   = "Allow"
      Action   = "kms:Decrypt"
      Resource = [var.kms_key_arn]
    }])
  })
}

# For `aws ssm send-command` and sessions: there is no SSH.
resource "aws_iam_role_policy_attachment" "session" {
  for_each   = local.active
  role       = aws_iam_role.broker[each.key].name
  policy_arn = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "broker" {
  for_each = local.active
  name     = "${var.cluster}-broker-${each.key}"
  role     = aws_iam_role.broker[each.key].name
}

resource "aws_placement_group" "spread" {
  name     = "${var.cluster}-spread" # no two brokers on one rack: seven in each zone at most
  strategy = "spread"
}

# The data survive the machine. A broker whose volume is lost never comes back under its ID.
resource "aws_ebs_volume" "data" {
  for_each          = local.active
  availability_zone = local.subnets[each.value.zone].az
  type              = "gp3"
  size              = var.volume.gib
  iops              = var.volume.iops
  throughput        = var.volume.throughput
  encrypted         = true
  kms_key_id        = var.kms_key_arn
  final_snapshot    = var.volume.final_snapshot
  tags              = { Name = "${var.cluster}-${each.key}-data" }
}

resource "aws_instance" "broker" {
  for_each               = local.active
  ami                    = each.value.ami == null ? var.ami : each.value.ami
  instance_type          = each.value.instance_type == null ? var.instance_type : each.value.instance_type
  subnet_id              = local.subnets[each.value.zone].id
  vpc_security_group_ids = [aws_security_group.brokers.id]
  placement_group        = aws_placement_group.spread.name
  iam_instance_profile   = aws_iam_instance_profile.broker[each.key].name
  user_data              = module.config.cloud_init[each.key]
  ebs_optimized          = true
  monitoring             = true

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
  }
  root_block_device {
    volume_type = "gp3"
    volume_size = 16
    encrypted   = true
  }
  tags = { Name = "${var.cluster}-${each.key}" }

  lifecycle {
    # A new image, package or type would replace all machines at once. They are replaced one by one: -replace.
    ignore_changes = [ami, user_data, instance_type]
  }
  depends_on = [aws_iam_role_policy.parameters, aws_ssm_parameter.config, aws_ssm_parameter.pair, aws_route.nat]
}

resource "aws_volume_attachment" "data" {
  for_each    = local.active
  device_name = "/dev/sdf"
  volume_id   = aws_ebs_volume.data[each.key].id
  instance_id = aws_instance.broker[each.key].id
  # The machine stops its broker, which drains, and leaves the file system clean.
  stop_instance_before_detaching = true
}

locals {
  own_vpc   = var.vpc == null
  own_cidr  = try(var.new_vpc.cidr, null)
  own_zones = { for i, zone in try(var.new_vpc.zones, []) : zone => i } # to its number

  # Zone to subnet: one of our own in each, or those that were given.
  subnets = local.own_vpc ? {
    for zone, i in local.own_zones : zone => { id = aws_subnet.own[zone].id, cidr = cidrsubnet(local.own_cidr, 4, i), az = zone }
    } : {
    for zone, s in data.aws_subnet.given : zone => { id = s.id, cidr = s.cidr_block, az = s.availability_zone }
  }
  vpc_id = local.own_vpc ? aws_vpc.own[0].id : var.vpc.id
}

data "aws_subnet" "given" {
  for_each = try(var.vpc.subnets, {})
  id       = each.value
}

resource "aws_vpc" "own" {
  count                = local.own_vpc ? 1 : 0
  cidr_block           = local.own_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.cluster }
}

resource "aws_subnet" "own" {
  for_each          = local.own_zones
  vpc_id            = aws_vpc.own[0].id
  availability_zone = each.key
  cidr_block        = cidrsubnet(local.own_cidr, 4, each.value)
  tags              = { Name = "${var.cluster}-${each.key}" }
}

# The machines have no public address. They reach SSM and the package through one NAT gateway: what goes through it is needed
# at a machine's start and for renewed certificates, not for the brokers' work.
resource "aws_subnet" "public" {
  count             = local.own_vpc ? 1 : 0
  vpc_id            = aws_vpc.own[0].id
  availability_zone = try(var.new_vpc.zones[0], null)
  cidr_block        = cidrsubnet(local.own_cidr, 4, 15)
  tags              = { Name = "${var.cluster}-public" }
}

resource "aws_internet_gateway" "own" {
  count  = local.own_vpc ? 1 : 0
  vpc_id = aws_vpc.own[0].id
  tags   = { Name = var.cluster }
}

resource "aws_route_table" "public" {
  count  = local.own_vpc ? 1 : 0
  vpc_id = aws_vpc.own[0].id
  tags   = { Name = "${var.cluster}-public" }
}

resource "aws_route" "internet" {
  count                  = local.own_vpc ? 1 : 0
  route_table_id         = aws_route_table.public[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.own[0].id
}

resource "aws_route_table_association" "public" {
  count          = local.own_vpc ? 1 : 0
  subnet_id      = aws_subnet.public[0].id
  route_table_id = aws_route_table.public[0].id
}

resource "aws_eip" "nat" {
  count  = local.own_vpc ? 1 : 0
  domain = "vpc"
  tags   = { Name = "${var.cluster}-nat" }
}

resource "aws_nat_gateway" "own" {
  count         = local.own_vpc ? 1 : 0
  allocation_id = aws_eip.nat[0].id
  subnet_id     = aws_subnet.public[0].id
  tags          = { Name = var.cluster }
  depends_on    = [aws_internet_gateway.own]
}

resource "aws_route_table" "brokers" {
  count  = local.own_vpc ? 1 : 0
  vpc_id = aws_vpc.own[0].id
  tags   = { Name = var.cluster }
}

resource "aws_route" "nat" {
  count                  = local.own_vpc ? 1 : 0
  route_table_id         = aws_route_table.brokers[0].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.own[0].id
}

resource "aws_route_table_association" "brokers" {
  for_each       = aws_subnet.own
  subnet_id      = each.value.id
  route_table_id = aws_route_table.brokers[0].id
}

resource "aws_security_group" "brokers" {
  name        = "${var.cluster}-brokers"
  description = "Trunkline brokers of cluster ${var.cluster}"
  vpc_id      = local.vpc_id
  tags        = { Name = "${var.cluster}-brokers" }
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each          = toset(var.client_cidrs)
  security_group_id = aws_security_group.brokers.id
  description       = "clients, QUIC"
  cidr_ipv4         = each.value
  ip_protocol       = "udp"
  from_port         = 7400
  to_port           = 7400
}

resource "aws_vpc_security_group_ingress_rule" "raft" {
  security_group_id            = aws_security_group.brokers.id
  description                  = "the other brokers"
  referenced_security_group_id = aws_security_group.brokers.id
  ip_protocol                  = "tcp"
  from_port                    = 7401
  to_port                      = 7401
}

resource "aws_vpc_security_group_ingress_rule" "admin" {
  for_each          = toset(var.admin_cidrs)
  security_group_id = aws_security_group.brokers.id
  description       = "metrics and health"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 7402
  to_port           = 7402
}

# QUIC's answers, the other brokers, SSM and the package.
resource "aws_vpc_security_group_egress_rule" "all" {
  security_group_id = aws_security_group.brokers.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

# Names instead of a load balancer: a client must reach the very broker that leads a partition.
resource "aws_route53_zone" "own" {
  count = var.zone_id == null ? 1 : 0
  name  = var.domain
  vpc {
    vpc_id = local.vpc_id
  }
}

resource "aws_route53_record" "broker" {
  for_each = local.active
  zone_id  = var.zone_id == null ? aws_route53_zone.own[0].zone_id : var.zone_id
  name     = local.hosts[each.key]
  type     = "A"
  ttl      = 30
  records  = [aws_instance.broker[each.key].private_ip]
}

# Renders what every broker of a cluster is given. Pure: it reads no file, has no provider and makes no resource.

locals {
  active   = { for id, b in var.brokers : id => b if !b.retired }
  founders = { for id, b in var.brokers : id => b if b.founder }

  # host:port, an IPv6 address in brackets.
  hosts = { for id, b in var.brokers : id => strcontains(b.host, ":") ? "[${b.host}]" : b.host }
  members = { for id, b in var.brokers : id => {
    id     = tonumber(id)
    listen = "${local.hosts[id]}:${b.client_port}"
    raft   = "${local.hosts[id]}:${b.raft_port}"
    admin  = "${local.hosts[id]}:${b.admin_port}"
  } }
  binds = { for id, b in var.brokers : id => { for k, v in {
    listen       = b.bind == "" ? null : { address = b.bind, port = b.client_port }
    raft_listen  = b.bind == "" ? null : { address = b.bind, port = b.raft_port }
    admin_listen = b.admin_bind == "" ? null : { address = b.admin_bind, port = b.admin_port }
  } : k => "${strcontains(v.address, ":") ? "[${v.address}]" : v.address}:${v.port}" if v != null } }

  # Only what differs from the broker's defaults is written.
  settings = { for section, keys in var.settings : section => { for k, v in keys : k => v if v != null } }

  # What a running broker goes by: a change of these needs its restart.
  lasting = { for id, b in local.active : id => merge(
    { cluster = var.cluster, broker = tonumber(id), data_dir = replace(var.data_dir, "{id}", id) },
    b.zone == "" ? {} : { zone = b.zone },
    local.binds[id],
    var.tls == null ? {} : { tls = { for k, v in var.tls : k => replace(v, "{id}", id) if v != null } },
    var.tokens_file == null ? {} : { auth = { tokens_file = replace(var.tokens_file, "{id}", id) } },
    { for section, keys in local.settings : section => keys if length(keys) > 0 },
  ) }

  # What it goes by at the first start of its data directory only. A founder names all founders, retired ones as well, so
  # that the text stays what it was; one that joins names itself and asks all others.
  first = { for id, b in local.active : id => b.founder ? {
    members = [for f in sort(keys(local.founders)) : local.members[f]]
    join    = []
    } : {
    members = [local.members[id]]
    join    = [for o in sort(keys(local.active)) : local.members[o].raft if o != id]
  } }
  configs = { for id in keys(local.active) : id => merge(
    local.lasting[id], { members = local.first[id].members }, length(local.first[id].join) == 0 ? {} : { join = local.first[id].join },
  ) }

  # First and last address of every zone, as numbers.
  ranges = { for name, z in var.zones : name => {
    first = sum([for i, octet in split(".", cidrhost(z.cidr, 0)) : tonumber(octet) * pow(256, 3 - i)])
    size  = pow(2, 32 - tonumber(split("/", z.cidr)[1]))
  } }
  overlaps = flatten([for a, ra in local.ranges : [for b, rb in local.ranges : "${a} (${var.zones[a].cidr}) and ${b} (${var.zones[b].cidr})"
  if index(keys(local.ranges), a) < index(keys(local.ranges), b) && ra.first < rb.first + rb.size && rb.first < ra.first + ra.size]])
  strangers = [for id, b in local.active : "${id} in ${b.zone}" if length(var.zones) > 0 && !contains(keys(var.zones), b.zone)]
  outside = [for id, b in local.active : "${id} (${b.host}, not in ${var.zones[b.zone].cidr})"
    if contains(keys(var.zones), b.zone) && can(cidrhost("${b.host}/32", 0)) &&
    try(cidrhost("${b.host}/${split("/", var.zones[b.zone].cidr)[1]}", 0) != cidrhost(var.zones[b.zone].cidr, 0), false)
  ]
}

output "configurations" {
  description = "The configuration file (YAML) of every broker that is not retired, by ID."
  value       = { for id, c in local.configs : id => yamlencode(c) }

  precondition {
    condition     = length(local.overlaps) == 0
    error_message = "zones overlap: ${join("; ", local.overlaps)}. An address would be in two zones; give each zone a block of its own."
  }
  precondition {
    condition     = length(local.strangers) == 0
    error_message = "brokers in zones that are not among zones: broker ${join(", broker ", local.strangers)}. The zones are ${join(", ", keys(var.zones))}."
  }
  precondition {
    condition     = length(local.outside) == 0
    error_message = "brokers outside of their zone's block: broker ${join(", broker ", local.outside)}."
  }
  precondition {
    condition     = local.amounts.max_record <= local.amounts.max_batch
    error_message = "settings.limits.max_record (${local.texts.max_record}) is above limits.max_batch (${local.texts.max_batch}): a record must fit into a batch."
  }
  precondition {
    condition     = local.amounts.max_batch <= 16777216
    error_message = "settings.limits.max_batch (${local.texts.max_batch}) is above the protocol's 16MiB."
  }
  precondition {
    condition     = local.amounts.connection_in_flight >= local.amounts.max_batch && local.amounts.partition_pending >= local.amounts.max_batch
    error_message = "settings.limits: connection_in_flight (${local.texts.connection_in_flight}) and partition_pending (${local.texts.partition_pending}) must be at least max_batch (${local.texts.max_batch})."
  }
  precondition {
    condition     = local.amounts.segment_bytes >= local.amounts.max_batch
    error_message = "settings.topics.segment_bytes (${local.texts.segment_bytes}) is below limits.max_batch (${local.texts.max_batch}): a batch never crosses a segment."
  }
  precondition {
    condition     = min(local.amounts.compact_bytes, local.amounts.snapshot_rate, local.amounts.scrub_rate, local.amounts.move_rate) >= 1048576
    error_message = "settings: raft.compact_bytes (${local.texts.compact_bytes}), raft.snapshot_rate (${local.texts.snapshot_rate}), topics.scrub_rate (${local.texts.scrub_rate}) and moves.rate (${local.texts.move_rate}) must be at least 1MiB."
  }
  precondition {
    condition     = local.amounts.tick >= 10 && local.amounts.tick <= 1000
    error_message = "settings.raft.tick (${local.texts.tick}) is outside 10ms to 1s."
  }
  precondition {
    condition     = local.amounts.silent_after >= 100 && local.amounts.silent_after < 5 * local.amounts.tick
    error_message = "settings.raft.silent_after (${local.texts.silent_after}) must be at least 100ms and below five ticks of ${local.texts.tick}, the election timeout it comes before."
  }
  precondition {
    condition     = local.amounts.retain_every >= 100 && min(local.amounts.scrub_every, local.amounts.repair_after) >= 1000
    error_message = "settings: topics.retain_every (${local.texts.retain_every}) must be at least 100ms, topics.scrub_every (${local.texts.scrub_every}) and moves.repair_after (${local.texts.repair_after}) at least 1s."
  }
}

output "restart_keys" {
  description = "A digest by ID of what a running broker goes by: restart it when this changes. A broker that joins or retires does not change those of the others, though their files may."
  value       = { for id, c in local.lasting : id => sha256(jsonencode([c, local.members[id]])) }
}

output "certificates" {
  description = "The certificate that each broker needs, by ID: common name, the hosts (names and addresses) and the URI it must carry, for server and client usage. The URI makes it good for this broker only."
  value = { for id, b in local.active : id => {
    name  = "broker-${id}"
    uri   = "trunkline://broker-${id}"
    hosts = distinct([b.host, "localhost", "127.0.0.1", "::1"])
  } }
}

output "members" {
  description = "Addresses (host:port) of every broker that is not retired, by ID: listen for clients (UDP), raft for brokers and admin for operators (TCP)."
  value       = { for id in keys(local.active) : id => local.members[id] }
}

output "data_dirs" {
  description = "The data directory of every broker that is not retired, by ID."
  value       = { for id, c in local.lasting : id => c.data_dir }
}

output "zones" {
  description = "The zone of every broker that is not retired, by ID."
  value       = { for id, b in local.active : id => b.zone }
}

output "context" {
  description = "The client's context file (JSON), for --context or TRUNKLINE_CONTEXT."
  value = jsonencode({ for k, v in {
    brokers    = [for id in sort(keys(local.active)) : local.members[id].listen]
    ca         = var.client.ca
    token_file = var.client.token_file
  } : k => v if v != null })
}

variable "settings" {
  description = "Keys of the broker's configuration that differ from their defaults; docs/OPERATIONS.md has them all. Sizes are a whole number with B, kB, KiB, MB, MiB, GB, GiB, TB or TiB, durations a whole number with ms, s, m or h."
  type = object({
    limits = optional(object({
      max_record           = optional(string)
      max_batch            = optional(string)
      max_connections      = optional(number)
      handshake_rate       = optional(number)
      max_streams          = optional(number)
      connection_in_flight = optional(string)
      partition_pending    = optional(string)
      tail_cache           = optional(string)
      disk_reserve         = optional(string)
    }), {})
    log = optional(object({
      level  = optional(string)
      format = optional(string)
    }), {})
    raft = optional(object({
      tick          = optional(string)
      silent_after  = optional(string)
      compact_bytes = optional(string)
      snapshot_rate = optional(string)
    }), {})
    topics = optional(object({
      segment_bytes = optional(string)
      retain_every  = optional(string)
      scrub_every   = optional(string)
      scrub_rate    = optional(string)
    }), {})
    moves = optional(object({
      concurrent   = optional(number)
      per_broker   = optional(number)
      rate         = optional(string)
      repair_after = optional(string)
      keep_leaders = optional(bool)
      calm_after   = optional(string)
    }), {})
  })
  default  = {}
  nullable = false

  validation {
    condition = alltrue([for k, v in {
      "limits.max_record"           = var.settings.limits.max_record, "limits.max_batch" = var.settings.limits.max_batch,
      "limits.connection_in_flight" = var.settings.limits.connection_in_flight, "limits.partition_pending" = var.settings.limits.partition_pending,
      "limits.tail_cache"           = var.settings.limits.tail_cache, "limits.disk_reserve" = var.settings.limits.disk_reserve,
      "raft.compact_bytes"          = var.settings.raft.compact_bytes, "raft.snapshot_rate" = var.settings.raft.snapshot_rate,
      "topics.segment_bytes"        = var.settings.topics.segment_bytes, "topics.scrub_rate" = var.settings.topics.scrub_rate,
      "moves.rate"                  = var.settings.moves.rate,
    } : can(regex("^[1-9][0-9]*(B|kB|KiB|MB|MiB|GB|GiB|TB|TiB)$", coalesce(v, "1B")))])
    error_message = "settings: a size is a whole number above 0 with its unit, for instance 64MiB: ${join(", ", [for k, v in merge(var.settings.limits, { compact_bytes = var.settings.raft.compact_bytes, snapshot_rate = var.settings.raft.snapshot_rate, segment_bytes = var.settings.topics.segment_bytes, scrub_rate = var.settings.topics.scrub_rate, rate = var.settings.moves.rate }) : "${k} = \"${v}\"" if v != null && !startswith(k, "max_conn") && !startswith(k, "max_str") && !can(regex("^[1-9][0-9]*(B|kB|KiB|MB|MiB|GB|GiB|TB|TiB)$", v))])}."
  }
  validation {
    condition = alltrue([for v in [
      var.settings.raft.tick, var.settings.raft.silent_after, var.settings.topics.retain_every, var.settings.topics.scrub_every,
      var.settings.moves.repair_after, var.settings.moves.calm_after,
    ] : can(regex("^[0-9]+(ms|s|m|h)$", coalesce(v, "1s")))])
    error_message = "settings: raft.tick, raft.silent_after, topics.retain_every, topics.scrub_every, moves.repair_after and moves.calm_after are durations: a whole number with ms, s, m or h, for instance 400ms."
  }
  validation {
    condition     = contains(["debug", "info", "warn", "error"], coalesce(var.settings.log.level, "info"))
    error_message = "settings: log.level is none of debug, info, warn, error."
  }
  validation {
    condition     = contains(["text", "json"], coalesce(var.settings.log.format, "text"))
    error_message = "settings: log.format is neither text nor json."
  }
  validation {
    condition     = alltrue([for n in [var.settings.limits.max_connections, var.settings.moves.per_broker] : coalesce(n, 1) >= 1 && floor(coalesce(n, 1)) == coalesce(n, 1)])
    error_message = "settings: limits.max_connections and moves.per_broker are whole numbers above 0."
  }
  validation {
    condition     = coalesce(var.settings.limits.handshake_rate, 0) >= 0 && floor(coalesce(var.settings.limits.handshake_rate, 0)) == coalesce(var.settings.limits.handshake_rate, 0)
    error_message = "settings: limits.handshake_rate is a whole number, not negative."
  }
  validation {
    condition     = coalesce(var.settings.limits.max_streams, 2) >= 2
    error_message = "settings: limits.max_streams must be above 1: the control stream counts."
  }
  validation {
    condition     = coalesce(var.settings.moves.concurrent, 1) >= 1 && coalesce(var.settings.moves.concurrent, 1) <= 512
    error_message = "settings: moves.concurrent is outside 1 to 512."
  }
}

# What the broker would take, to refuse contradictions here: it does the same at its start, when the machine is there already.
locals {
  unit_sizes = {
    B  = 1, kB = 1e3, KiB = 1024, MB = 1e6, MiB = 1048576, GB = 1e9, GiB = 1073741824, TB = 1e12, TiB = 1099511627776
    ms = 1, s = 1e3, m = 6e4, h = 36e5
  }
  texts = {
    max_record           = coalesce(var.settings.limits.max_record, "1MiB")
    max_batch            = coalesce(var.settings.limits.max_batch, "4MiB")
    connection_in_flight = coalesce(var.settings.limits.connection_in_flight, "32MiB")
    partition_pending    = coalesce(var.settings.limits.partition_pending, "8MiB")
    compact_bytes        = coalesce(var.settings.raft.compact_bytes, "64MiB")
    snapshot_rate        = coalesce(var.settings.raft.snapshot_rate, "64MiB")
    segment_bytes        = coalesce(var.settings.topics.segment_bytes, "64MiB")
    scrub_rate           = coalesce(var.settings.topics.scrub_rate, "16MiB")
    move_rate            = coalesce(var.settings.moves.rate, "16MiB")
    tick                 = coalesce(var.settings.raft.tick, "500ms")
    silent_after         = coalesce(var.settings.raft.silent_after, "400ms")
    retain_every         = coalesce(var.settings.topics.retain_every, "30s")
    scrub_every          = coalesce(var.settings.topics.scrub_every, "24h")
    repair_after         = coalesce(var.settings.moves.repair_after, "10m")
  }
  # Bytes, or milliseconds.
  amounts = { for k, v in local.texts : k => parseint(regex("^[0-9]+", v), 10) * local.unit_sizes[regex("[A-Za-z]+$", v)] }
}

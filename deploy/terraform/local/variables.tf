variable "cluster" {
  description = "Name of the cluster."
  type        = string
  default     = "local"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]{1,249}$", var.cluster))
    error_message = "cluster = \"${var.cluster}\" is not a name: write 1 to 249 letters, digits, '.', '_' or '-'."
  }
}

variable "founders" {
  description = "How many brokers form the cluster at its first start; they vote in the metadata. It cannot change later: further brokers join."
  type        = number
  default     = 3
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7], var.founders)
    error_message = "founders = ${var.founders}: found with 1, 3, 5 or 7 brokers. They vote, and an even number survives no more losses than the odd one below it (two none at all). Further brokers join: joined = [${var.founders + 1}]."
  }
}

variable "joined" {
  description = "IDs of the brokers that joined later, above those of the founders. An ID is used once."
  type        = list(number)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for id in var.joined : id > var.founders && id <= 999 && floor(id) == id]) && length(distinct(var.joined)) == length(var.joined)
    error_message = "joined: IDs are whole numbers above founders (${var.founders}) and at most 999, each there once."
  }
}

variable "retired" {
  description = "IDs that are to be decommissioned, or were. They stay in founders and joined, so that nobody uses them again."
  type        = list(number)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for id in var.retired : id >= 1 && (id <= var.founders || contains(var.joined, id))])
    error_message = "retired: ${join(", ", [for id in var.retired : tostring(id) if !(id >= 1 && (id <= var.founders || contains(var.joined, id)))])}: neither among the founders nor in joined."
  }
}

variable "zones" {
  description = "Zones that the brokers are put into in turn; none by default."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for z in var.zones : z != ""]) && length(distinct(var.zones)) == length(var.zones)
    error_message = "zones: each needs a name of its own."
  }
}

variable "host" {
  description = "Address of this machine that the brokers listen on."
  type        = string
  default     = "127.0.0.1"
  nullable    = false

  validation {
    condition     = can(cidrhost("${var.host}/32", 0)) || can(cidrhost("${var.host}/128", 0))
    error_message = "host = \"${var.host}\" is not an address."
  }
}

variable "base_port" {
  description = "First port: broker N has base_port + 10 (N - 1) for clients (UDP), the next for brokers and the one after for operators (TCP)."
  type        = number
  default     = 7400
  nullable    = false

  validation {
    condition     = var.base_port >= 1 && floor(var.base_port) == var.base_port && var.base_port + 10 * (max(concat([var.founders], var.joined)...) - 1) + 2 <= 65535
    error_message = "base_port = ${var.base_port}: the ports of all brokers must lie between 1 and 65535."
  }
}

variable "directory" {
  description = "Directory for everything: data, certificates, logs, context file. It is removed with the cluster."
  type        = string
  default     = "cluster"
  nullable    = false

  validation {
    condition     = !contains(["", "/", ".", ".."], var.directory)
    error_message = "directory = \"${var.directory}\": name a directory of the cluster's own; destroying the cluster removes it."
  }
}

variable "binaries" {
  description = "Directory of trunklined and trunkline."
  type        = string
  default     = "../../../bin"
  nullable    = false

  validation {
    condition     = fileexists("${var.binaries}/trunklined") && fileexists("${var.binaries}/trunkline")
    error_message = "binaries = \"${var.binaries}\" lacks trunklined or trunkline: build them with `make build`, or name the directory that has them."
  }
}

variable "settings" {
  description = "Keys of the brokers' configuration that differ from their defaults, as in modules/cluster-config, which checks them. A change restarts the brokers one by one."
  type        = any
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for section in try(keys(var.settings), ["?"]) : contains(["limits", "log", "raft", "topics", "moves"], section)])
    error_message = "settings has the sections limits, log, raft, topics and moves."
  }
}

variable "certificate_generation" {
  description = "Count it up to renew all certificates of the brokers."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.certificate_generation >= 1 && floor(var.certificate_generation) == var.certificate_generation
    error_message = "certificate_generation is a whole number from 1."
  }
}

variable "wait" {
  description = "Bound of every wait in seconds: until a broker serves, is drained, is decommissioned."
  type        = number
  default     = 600
  nullable    = false

  validation {
    condition     = var.wait >= 10 && var.wait <= 86400 && floor(var.wait) == var.wait
    error_message = "wait must be a whole number of seconds from 10 to 86400."
  }
}

variable "accept_pauses" {
  description = "Restart brokers for changed settings also if partitions with fewer than 3 replicas stop meanwhile."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = contains([true, false], var.accept_pauses)
    error_message = "accept_pauses must be true or false."
  }
}

variable "directory" {
  description = "Directory of this machine for the context file (context.json) and the notes of what was done (.membership)."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.directory, "/") && var.directory != "/"
    error_message = "directory = \"${var.directory}\": write an absolute path; it is needed again when things are destroyed, wherever that is started."
  }
}

variable "context" {
  description = "Text of the context file: the output context of modules/cluster-config."
  type        = string
  nullable    = false

  validation {
    condition     = can(length(jsondecode(var.context).brokers) > 0)
    error_message = "context is not a context file: JSON with a list of brokers."
  }
}

variable "trunkline" {
  description = "Path of the program trunkline, or its name if it is in PATH."
  type        = string
  default     = "trunkline"
  nullable    = false

  validation {
    condition     = var.trunkline != ""
    error_message = "trunkline is empty: name the program."
  }
}

variable "members" {
  description = "The brokers by ID: `machine` names what each runs on, and changes when that is replaced; `restart_key` changes when a running one must be restarted (output restart_keys of modules/cluster-config), which `restart_command` does."
  type = map(object({
    machine         = string
    restart_key     = string
    restart_command = string
  }))
  nullable = false

  validation {
    condition     = length(var.members) > 0 && alltrue([for id in keys(var.members) : can(regex("^[1-9][0-9]{0,8}$", id))])
    error_message = "members: give at least one broker; an ID is a number from 1 to 999999999."
  }
}

variable "wait" {
  description = "Bound of every wait in seconds: until a broker serves, is drained, is decommissioned. What the cluster began goes on when it is over; apply again."
  type        = number
  default     = 600
  nullable    = false

  validation {
    condition     = var.wait >= 10 && var.wait <= 86400 && floor(var.wait) == var.wait
    error_message = "wait must be a whole number of seconds from 10 to 86400."
  }
}

variable "accept_pauses" {
  description = "Restart brokers for a new configuration also if partitions with fewer than 3 replicas stop meanwhile."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = contains([true, false], var.accept_pauses)
    error_message = "accept_pauses must be true or false."
  }
}

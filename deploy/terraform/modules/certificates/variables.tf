variable "directory" {
  description = "Directory of this machine for ca.pem, ca-key.pem, token (a client's) and NAME.pem of every broker, its certificate and key in one file."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.directory, "/") && var.directory != "/"
    error_message = "directory = \"${var.directory}\": write an absolute path; it is needed again when things are destroyed, wherever that is started."
  }
}

variable "certificates" {
  description = "What is needed, by broker ID: the output certificates of modules/cluster-config."
  type = map(object({
    name  = string
    uri   = string
    hosts = list(string)
  }))
  nullable = false

  validation {
    condition     = alltrue([for c in var.certificates : can(regex("^[A-Za-z0-9._-]+$", c.name)) && !contains(["ca", "ca-key", "token"], c.name)])
    error_message = "certificates: a name becomes a file name: letters, digits, '.', '_' and '-', and not ca, ca-key or token."
  }
  validation {
    condition     = alltrue([for c in var.certificates : startswith(c.uri, "trunkline://") && length(c.hosts) > 0])
    error_message = "certificates: every one needs its URI trunkline://broker-N and at least one host."
  }
}

variable "existing" {
  description = "The files are in the directory already, made by your own authority. Nothing is made or removed."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !var.existing || alltrue([for f in concat(["ca"], [for c in var.certificates : c.name]) : fileexists("${var.directory}/${f}.pem")])
    error_message = "existing: certificates are missing in ${var.directory}: ${join(", ", [for f in concat(["ca"], [for c in var.certificates : c.name]) : "${f}.pem" if !fileexists("${var.directory}/${f}.pem")])}. Each broker's file has its certificate and key, for server and client usage, with the names, addresses and URI of the plan; ca.pem is the authority's certificate."
  }
}

variable "days" {
  description = "Days that a broker's certificate is good for."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = var.days >= 1 && var.days <= 3650 && floor(var.days) == var.days
    error_message = "days must be a whole number from 1 to 3650; the authority itself ends after 3650."
  }
}

variable "generation" {
  description = "Count it up to have all certificates made anew. Brokers take the new files before their next handshake, without a restart."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.generation >= 1 && floor(var.generation) == var.generation
    error_message = "generation is a whole number from 1."
  }
}

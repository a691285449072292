variable "domain" {
  description = "Domain of the brokers' names: broker N is bN.DOMAIN."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?[.])+[a-z]{2,63}$", var.domain))
    error_message = "domain = \"${var.domain}\" is no domain, as trunkline.internal is one."
  }
}

variable "ids" {
  description = "IDs of the brokers."
  type        = list(number)
  default     = [1, 2, 3]
  nullable    = false

  validation {
    condition     = length(var.ids) > 0 && alltrue([for id in var.ids : id >= 1 && floor(id) == id])
    error_message = "ids: at least one whole number above 0."
  }
}

variable "directory" {
  description = "Absolute path of the directory for the files."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.directory, "/") && var.directory != "/"
    error_message = "directory must be an absolute path."
  }
}

variable "days" {
  description = "Days that a broker's certificate is good for."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = var.days >= 1 && var.days <= 3650
    error_message = "days must be from 1 to 3650."
  }
}

variable "generation" {
  description = "Count it up to renew all of them; then apply ../../aws again."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.generation >= 1
    error_message = "generation counts from 1."
  }
}

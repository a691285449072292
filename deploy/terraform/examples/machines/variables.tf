variable "cluster" {
  description = "Name of the cluster."
  type        = string
  default     = "prod"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]{1,249}$", var.cluster))
    error_message = "cluster: letters, digits, '.', '_' and '-'."
  }
}

variable "hosts" {
  description = "Name or address of each machine, by broker ID."
  type        = map(string)
  default     = { "1" = "b1.example", "2" = "b2.example", "3" = "b3.example" }
  nullable    = false

  validation {
    condition     = length(distinct(values(var.hosts))) == length(var.hosts)
    error_message = "hosts: a machine is there twice."
  }
}

variable "zones" {
  description = "Rack or room of each machine, by broker ID."
  type        = map(string)
  default     = { "1" = "a", "2" = "b", "3" = "c" }
  nullable    = false

  validation {
    condition     = length(setsubtract(keys(var.hosts), keys(var.zones))) == 0
    error_message = "zones: the machines ${join(", ", setsubtract(keys(var.hosts), keys(var.zones)))} have none."
  }
}

variable "directory" {
  description = "Directory that the files are written into."
  type        = string
  default     = "machines"
  nullable    = false

  validation {
    condition     = !contains(["", "/"], var.directory)
    error_message = "directory: name one."
  }
}

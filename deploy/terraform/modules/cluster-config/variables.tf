variable "cluster" {
  description = "Name of the cluster. It cannot change later: brokers refuse those of another name."
  type        = string
  default     = "trunkline"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]{1,249}$", var.cluster))
    error_message = "cluster = \"${var.cluster}\" is not a name: write 1 to 249 letters, digits, '.', '_' or '-'."
  }
}

variable "brokers" {
  description = <<-EOT
    The brokers by their IDs. `host` is the name or address at which clients and the other brokers reach one. Those with
    `founder` form the cluster at its first start, the others join it. An ID is used once: set `retired` for a broker
    that was decommissioned and leave its entry, so that nobody gives its ID to another one.
  EOT
  type = map(object({
    host        = string
    zone        = optional(string, "")
    founder     = optional(bool, true)
    retired     = optional(bool, false)
    client_port = optional(number, 7400)
    raft_port   = optional(number, 7401)
    admin_port  = optional(number, 7402)
    bind        = optional(string, "") # address to bind instead of host, for instance 0.0.0.0
    admin_bind  = optional(string, "") # the same for the admin port, which asks nobody who they are
  }))
  nullable = false

  validation {
    condition     = alltrue([for id in keys(var.brokers) : can(regex("^[1-9][0-9]{0,8}$", id))])
    error_message = "brokers: ${join(", ", [for id in keys(var.brokers) : "\"${id}\"" if !can(regex("^[1-9][0-9]{0,8}$", id))])}: a broker's ID is a number from 1 to 999999999."
  }
  validation {
    condition     = length([for b in var.brokers : b if b.founder]) % 2 == 1
    error_message = "brokers: ${length([for b in var.brokers : b if b.founder])} founding brokers: as many vote in the metadata for ever, and it must be an odd number. An even one survives no more losses than the odd one below it: found with 1, 3, 5 or 7, and let further brokers join (founder = false)."
  }
  validation {
    condition     = length([for b in var.brokers : b if b.founder]) <= 7
    error_message = "brokers: ${length([for b in var.brokers : b if b.founder])} founding brokers, but at most 7 vote in the metadata: let the others join (founder = false)."
  }
  validation {
    condition     = !contains([0, 2], length([for b in var.brokers : b if !b.retired]))
    error_message = "brokers: ${length([for b in var.brokers : b if !b.retired])} brokers would be left. Two are worse than one: when either is lost, nothing has a majority. Run one, or at least three."
  }
  validation {
    condition = alltrue([for b in var.brokers :
      can(regex("^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(\\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$", b.host)) || can(cidrhost("${b.host}/128", 0))
    ])
    error_message = "brokers: host must be a DNS name or an address, without port and brackets."
  }
  validation {
    condition     = alltrue([for b in var.brokers : !contains(["0.0.0.0", "::"], b.host)])
    error_message = "brokers: nobody can dial 0.0.0.0 or ::. Give host the name or address that others dial, and bind the address to listen on."
  }
  validation {
    condition     = alltrue([for b in var.brokers : alltrue([for a in [b.bind, b.admin_bind] : a == "" || can(cidrhost("${a}/32", 0)) || can(cidrhost("${a}/128", 0))])])
    error_message = "brokers: bind and admin_bind are addresses of the machine, for instance 0.0.0.0, without port."
  }
  validation {
    condition = alltrue(flatten([for b in var.brokers : [for p in [b.client_port, b.raft_port, b.admin_port] :
    p >= 1 && p <= 65535 && floor(p) == p]]))
    error_message = "brokers: client_port, raft_port and admin_port are whole numbers from 1 to 65535: the others have to know them, so 0 (any free one) will not do."
  }
  validation {
    condition     = length(distinct([for b in var.brokers : "${b.host}/${b.client_port}"])) == length(var.brokers)
    error_message = "brokers: two brokers have the same host and client_port."
  }
  validation {
    condition     = length(distinct(flatten([for b in var.brokers : ["${b.host}/${b.raft_port}", "${b.host}/${b.admin_port}"]]))) == 2 * length(var.brokers)
    error_message = "brokers: a raft_port and an admin_port, or those of two brokers, are the same TCP port of one host."
  }
  validation {
    condition     = alltrue([for b in var.brokers : length(b.zone) <= 255])
    error_message = "brokers: a zone's name is longer than 255 bytes."
  }
  validation {
    condition     = length(distinct([for b in var.brokers : b.zone == "" if !b.retired])) <= 1
    error_message = "brokers: some have a zone and some have none. Give every broker its zone, or none: replicas are spread over zones only if all are known."
  }
}

variable "zones" {
  description = "Address blocks of the zones, if they are known here: IPv4, and without overlap. Then every broker's zone must be one of them, and a host that is an address must lie in its block."
  type        = map(object({ cidr = string }))
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for z in var.zones : can(cidrnetmask(z.cidr))])
    error_message = "zones: ${join(", ", [for n, z in var.zones : "${n} = \"${z.cidr}\"" if !can(cidrnetmask(z.cidr))])}: write an IPv4 block such as 10.0.16.0/20."
  }
}

variable "data_dir" {
  description = "Directory of everything that a broker stores; {id} stands for its ID."
  type        = string
  default     = "/var/lib/trunkline"
  nullable    = false

  validation {
    condition     = startswith(var.data_dir, "/") && var.data_dir != "/"
    error_message = "data_dir = \"${var.data_dir}\": write an absolute path; a relative one would depend on where the process is started."
  }
  validation {
    condition     = strcontains(var.data_dir, "{id}") || length(distinct([for b in var.brokers : b.host])) == length(var.brokers)
    error_message = "data_dir = \"${var.data_dir}\" would belong to several brokers of one host: put {id} into it."
  }
}

variable "tls" {
  description = "PEM files on the brokers' machines; {id} stands for the broker's ID. `cert` and `key` may be one file. With `client_ca` clients must present a certificate of that authority."
  type = object({
    ca        = string
    cert      = string
    key       = string
    client_ca = optional(string)
  })
  default = null

  validation {
    condition     = var.tls == null || alltrue([for f in try([var.tls.ca, var.tls.cert, var.tls.key, coalesce(var.tls.client_ca, "/")], []) : startswith(f, "/")])
    error_message = "tls: ca, cert, key and client_ca are absolute paths of PEM files, and the first three are needed."
  }
  validation {
    condition     = var.tls != null || length(var.brokers) <= 1
    error_message = "tls is missing: without certificates each broker makes an authority of its own, and they refuse each other. Name ca, cert and key (modules/certificates makes them)."
  }
}

variable "tokens_file" {
  description = "File on the brokers' machines with one client token a line; clients must send one. null: everybody who reaches the port may do everything, unless tls.client_ca is set."
  type        = string
  default     = null

  validation {
    condition     = var.tokens_file == null || startswith(coalesce(var.tokens_file, "/"), "/")
    error_message = "tokens_file must be an absolute path."
  }
}

variable "client" {
  description = "Files on a client's machine, for its context file: the authority, and its token if the brokers ask for one. Relative paths are relative to the context file."
  type = object({
    ca         = optional(string)
    token_file = optional(string)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.tokens_file == null || var.client.token_file != null
    error_message = "client.token_file is missing: the brokers ask for a token (tokens_file), and the context file must say where a client finds its own."
  }
  validation {
    condition     = var.tls == null || var.client.ca != null
    error_message = "client.ca is missing: the brokers' certificates are of your own authority (tls.ca), and clients need its file to recognise them."
  }
}

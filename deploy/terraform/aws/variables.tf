variable "region" {
  description = "AWS region."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region = \"${var.region}\" is no region, as eu-central-1 is one."
  }
}

variable "cluster" {
  description = "Name of the cluster and prefix of everything that is made. It cannot change later."
  type        = string
  default     = "trunkline"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,29}$", var.cluster))
    error_message = "cluster = \"${var.cluster}\": write at most 30 small letters, digits and '-', the first one a letter; names of AWS are made of it."
  }
}

variable "domain" {
  description = "Domain of the brokers' names: broker N is bN.DOMAIN. They are in the certificates."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?[.])+[a-z]{2,63}$", var.domain))
    error_message = "domain = \"${var.domain}\" is no domain, as trunkline.internal is one."
  }
}

variable "zone_id" {
  description = "Route 53 zone for these names, if there is one; otherwise a private zone of the VPC is made."
  type        = string
  default     = null

  validation {
    condition     = var.zone_id == null || can(regex("^Z[A-Z0-9]+$", var.zone_id))
    error_message = "zone_id is no ID of a Route 53 zone."
  }
}

variable "brokers" {
  description = "The brokers by ID, as in modules/cluster-config, which checks them. `ami` and `instance_type` differ from the cluster's for one that is replaced earlier than the others."
  type = map(object({
    zone          = string
    founder       = optional(bool, true)
    retired       = optional(bool, false)
    ami           = optional(string)
    instance_type = optional(string)
  }))
  nullable = false

  validation {
    condition     = alltrue([for b in var.brokers : b.ami == null || can(regex("^ami-[0-9a-f]+$", b.ami))])
    error_message = "brokers: an ami is an image's ID, ami-..."
  }
  validation {
    condition     = length(var.brokers) == 1 || length(distinct([for b in var.brokers : b.zone if !b.retired])) >= min(3, length([for b in var.brokers : b if !b.retired]))
    error_message = "brokers: put them into at least three zones. In two, the loss of one of them can take a majority with it."
  }
}

variable "vpc" {
  description = "An existing VPC and in it one subnet (ID) for each zone; it must reach SSM and the package. null: new_vpc is made."
  type = object({
    id      = string
    subnets = map(string)
  })
  default = null

  validation {
    condition     = var.vpc == null || length(setsubtract([for b in var.brokers : b.zone], keys(try(var.vpc.subnets, {})))) == 0
    error_message = "vpc.subnets lacks the zones ${join(", ", setsubtract([for b in var.brokers : b.zone], keys(try(var.vpc.subnets, {}))))} of brokers."
  }
}

variable "new_vpc" {
  description = "Address block and availability zones of the VPC that is made if vpc is null. Zone names are those of the brokers."
  type = object({
    cidr  = string
    zones = list(string)
  })
  default = null

  validation {
    condition     = (var.new_vpc == null) != (var.vpc == null)
    error_message = "Give either vpc, an existing one, or new_vpc."
  }
  validation {
    condition     = var.new_vpc == null || can(cidrsubnet(try(var.new_vpc.cidr, ""), 4, 15))
    error_message = "new_vpc.cidr must be an IPv4 block such as 10.20.0.0/16, which is divided by sixteen."
  }
  validation {
    condition     = var.new_vpc == null || try(length(var.new_vpc.zones), 0) <= 15 && length(setsubtract([for b in var.brokers : b.zone], try(var.new_vpc.zones, []))) == 0
    error_message = "new_vpc.zones lacks zones of brokers, or has more than 15."
  }
}

variable "client_cidrs" {
  description = "IPv4 blocks of the clients, which reach 7400/udp; Terraform's machine is one of them if membership is set."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.client_cidrs) > 0 && alltrue([for c in var.client_cidrs : can(cidrnetmask(c))])
    error_message = "client_cidrs: at least one IPv4 block such as 10.0.0.0/8."
  }
  validation {
    condition     = !contains(var.client_cidrs, "0.0.0.0/0")
    error_message = "client_cidrs: 0.0.0.0/0 is everybody; name the networks of your clients."
  }
}

variable "admin_cidrs" {
  description = "IPv4 blocks that may reach 7402/tcp, metrics and health, which ask nobody who they are. Empty: the port listens on 127.0.0.1."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for c in var.admin_cidrs : can(cidrnetmask(c)) && c != "0.0.0.0/0"])
    error_message = "admin_cidrs are IPv4 blocks, and not everybody (0.0.0.0/0)."
  }
}

variable "ami" {
  description = "Image of the machines: with systemd, cloud-init, the AWS CLI and the SSM agent, as Amazon Linux 2023 has them. Fixed: `latest` would differ from day to day."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^ami-[0-9a-f]+$", var.ami))
    error_message = "ami is an image's ID, ami-..."
  }
}

variable "instance_type" {
  description = "Type of the machines, of a Nitro generation; docs/deploy.md says how to choose."
  type        = string
  default     = "m7g.large"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*[.][a-z0-9-]+$", var.instance_type)) && !startswith(var.instance_type, "t")
    error_message = "instance_type = \"${var.instance_type}\": a type such as m7g.large, and none of the t families: a broker out of CPU credits looks dead to the others."
  }
}

variable "volume" {
  description = "Data volume of each broker: GiB, and IOPS and MB/s of gp3. `final_snapshot` keeps a snapshot when a broker or the cluster is removed."
  type = object({
    gib            = number
    iops           = optional(number, 3000)
    throughput     = optional(number, 125)
    final_snapshot = optional(bool, true)
  })
  nullable = false

  validation {
    condition     = var.volume.gib >= 10 && var.volume.gib <= 16384
    error_message = "volume.gib = ${var.volume.gib} is outside 10 to 16384. Retention decides what is needed: docs/deploy.md."
  }
  validation {
    condition     = var.volume.iops >= 3000 && var.volume.iops <= 16000 && var.volume.throughput >= 125 && var.volume.throughput <= 1000
    error_message = "volume: gp3 has 3000 to 16000 IOPS and 125 to 1000 MB/s."
  }
}

variable "package" {
  description = "Trunkline's .rpm or .deb for the image: an https URL with its SHA-256, or a path on the image."
  type = object({
    url    = string
    sha256 = optional(string, "")
  })
  nullable = false

  validation {
    condition     = can(regex("^(https://|/).*[.](deb|rpm)$", var.package.url))
    error_message = "package.url must be an https URL or an absolute path, and end in .deb or .rpm."
  }
}

variable "certificates" {
  description = "Directory of Terraform's machine with ca.pem, token and broker-N.pem, as ../examples/certificates makes it. Keys are read when they are sent to SSM, and kept nowhere else."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.certificates, "/")
    error_message = "certificates must be an absolute path."
  }
  validation {
    condition     = fileexists("${var.certificates}/token")
    error_message = "certificates: ${var.certificates}/token is missing: a file with one client token a line. ../examples/certificates makes it."
  }
}

variable "kms_key_arn" {
  description = "KMS key for volumes and parameters; null: the account's own for each."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || startswith(coalesce(var.kms_key_arn, "-"), "arn:")
    error_message = "kms_key_arn is the ARN of a key."
  }
}

variable "settings" {
  description = "Keys of the brokers' configuration that differ from their defaults, as in modules/cluster-config, which checks them."
  type        = any
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for section in try(keys(var.settings), ["?"]) : contains(["limits", "log", "raft", "topics", "moves"], section)])
    error_message = "settings has the sections limits, log, raft, topics and moves."
  }
}

variable "membership" {
  description = "Lets Terraform drain, decommission and restart brokers: `directory` (absolute) for its context file and notes, `trunkline` the program. Terraform's machine must reach the brokers' client ports. null: you do it by hand, before Terraform removes or replaces a machine."
  type = object({
    directory     = string
    trunkline     = optional(string, "trunkline")
    wait          = optional(number, 1800)
    accept_pauses = optional(bool, false)
  })
  default = null

  validation {
    condition     = var.membership == null || startswith(try(var.membership.directory, "/"), "/")
    error_message = "membership.directory must be an absolute path."
  }
}

variable "tags" {
  description = "Tags of everything, besides Project and Cluster."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setintersection(keys(var.tags), ["Project", "Cluster", "Name"])) == 0
    error_message = "tags: Project, Cluster and Name are set already."
  }
}

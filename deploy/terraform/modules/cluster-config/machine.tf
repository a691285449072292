variable "machine" {
  description = <<-EOT
    What makes a fresh machine a broker, for the output cloud_init: `package` is the URL (https) or the path on the image of
    trunkline's .deb or .rpm, `sha256` its digest. Each of `files` is what a command prints on the machine, so that no secret
    is in the user data; {id} stands for the broker's ID. The configuration is one of them.
  EOT
  type = object({
    package = string
    sha256  = optional(string, "")
    files = list(object({
      path    = string
      command = string
      mode    = optional(string, "0640")
    }))
  })
  default = null

  validation {
    condition     = var.machine == null || can(regex("^(https://|/).*[.](deb|rpm)$", var.machine.package))
    error_message = "machine.package must be an https URL or an absolute path, and end in .deb or .rpm."
  }
  validation {
    condition     = try(startswith(var.machine.package, "/"), true) || can(regex("^[0-9a-f]{64}$", var.machine.sha256))
    error_message = "machine.sha256 is missing: what is downloaded is installed as root, so give its SHA-256 (64 hexadecimal digits, in SHA256SUMS beside the package)."
  }
  validation {
    condition = alltrue([for f in try(var.machine.files, []) :
      can(regex("^/[^[:space:]]+$", f.path)) && can(regex("^0[0-7]{3}$", f.mode)) && f.command != "" && !strcontains(f.command, "\n")
    ])
    error_message = "machine.files: path is absolute and without spaces, mode four octal digits, command one line."
  }
  validation {
    condition     = var.machine == null || contains([for f in try(var.machine.files, []) : f.path], "/etc/trunkline/trunkline.yaml")
    error_message = "machine.files lacks /etc/trunkline/trunkline.yaml, the configuration that the package's unit names."
  }
  validation {
    condition     = var.machine == null || var.data_dir == "/var/lib/trunkline"
    error_message = "data_dir must be /var/lib/trunkline on a machine of its own: the package's unit allows no other."
  }
}

variable "data_devices" {
  description = "Block device of every broker's data volume on its machine, by ID, for cloud_init. A volume without anything on it gets a file system; one of an earlier machine is left as it is."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for d in var.data_devices : startswith(d, "/dev/")])
    error_message = "data_devices are paths below /dev, best those of /dev/disk/by-id, which stay."
  }
}

locals {
  units = "/etc/systemd/system"
  tools = "/usr/local/lib/trunkline"

  machine_files = var.machine == null ? {} : { for id in keys(local.active) : id => merge(
    {
      "${local.tools}/machine.sh" = file("${path.module}/machine.sh")
      "${local.tools}/machine.conf" = join("", [for k, v in {
        DEVICE = lookup(var.data_devices, id, ""), PACKAGE = var.machine.package, SHA256 = var.machine.sha256, GROUP = "trunkline"
      } : "${k}='${v}'\n"])
      "${local.tools}/files" = join("", [for f in var.machine.files : "${f.mode} ${f.path} ${replace(f.command, "{id}", id)}\n"])
      # With + it may write where the broker may not.
      "${local.units}/trunklined.service.d/files.conf" = "[Service]\nExecStartPre=+${local.tools}/machine.sh fetch\n"
      "${local.units}/trunkline-files.service"         = "[Unit]\nDescription=Trunkline: renew the broker's files\n\n[Service]\nType=oneshot\nExecStart=${local.tools}/machine.sh fetch\n"
      "${local.units}/trunkline-files.timer"           = "[Unit]\nDescription=Trunkline: renew the broker's files every hour\n\n[Timer]\nOnBootSec=1h\nOnUnitActiveSec=1h\nRandomizedDelaySec=10min\n\n[Install]\nWantedBy=timers.target\n"
      "${local.units}/trunkline-machine.service"       = "[Unit]\nDescription=Trunkline: make this machine a broker\nWants=network-online.target\nAfter=network-online.target\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=${local.tools}/machine.sh bootstrap\nTimeoutStartSec=30min\nRestart=on-failure\nRestartSec=15\n\n[Install]\nWantedBy=multi-user.target\n"
    },
    contains(keys(var.data_devices), id) ? {
      "${local.units}/var-lib-trunkline.mount" = "[Unit]\nDescription=Trunkline's data\n\n[Mount]\nWhat=${var.data_devices[id]}\nWhere=/var/lib/trunkline\nType=ext4\nOptions=noatime,nodev,nosuid,noexec,x-systemd.growfs\n\n[Install]\nWantedBy=multi-user.target\n"
    } : {},
  ) }

  cloud_init = { for id, files in local.machine_files : id => join("\n", ["#cloud-config", yamlencode({
    write_files = [for path, content in files : { path = path, content = content, permissions = endswith(path, ".sh") ? "0755" : "0644" }]
    # It does not wait: the volume is attached when the machine runs, and cloud-init is to end before.
    runcmd = [["systemctl", "daemon-reload"], ["systemctl", "enable", "--now", "--no-block", "trunkline-machine.service"]]
  })]) }
}

output "cloud_init" {
  description = "User data (cloud-init) of every broker's machine, by ID: it mounts the volume, installs the package, gets the files and starts the unit trunklined. It has no secret and does not change when brokers come and go."
  value       = local.cloud_init

  precondition {
    condition     = alltrue([for text in local.cloud_init : length(text) <= 16384])
    error_message = "the user data is longer than 16 KiB, the most that clouds take: fewer or shorter machine.files."
  }
}

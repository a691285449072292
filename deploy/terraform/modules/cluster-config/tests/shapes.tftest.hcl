# Every shape of a cluster that is supported, and what each broker is told.

variables {
  tls    = { ca = "/etc/trunkline/tls/ca.pem", cert = "/etc/trunkline/tls/broker.pem", key = "/etc/trunkline/tls/broker.pem" }
  client = { ca = "ca.pem" }
}

run "one" {
  command = plan
  variables {
    tls     = null
    client  = {}
    brokers = { "1" = { host = "127.0.0.1" } }
  }
  assert {
    condition = yamldecode(output.configurations["1"]) == {
      cluster = "trunkline", broker = 1, data_dir = "/var/lib/trunkline"
      members = [{ id = 1, listen = "127.0.0.1:7400", raft = "127.0.0.1:7401", admin = "127.0.0.1:7402" }]
    }
    error_message = "a single broker is told more or less than itself"
  }
  assert {
    condition     = jsondecode(output.context) == { brokers = ["127.0.0.1:7400"] }
    error_message = "the context of a single broker without certificates names its address alone"
  }
}

run "three_in_zones" {
  command = plan
  variables {
    cluster = "prod"
    zones   = { a = { cidr = "10.0.0.0/20" }, b = { cidr = "10.0.16.0/20" }, c = { cidr = "10.0.32.0/20" } }
    brokers = {
      "1" = { host = "10.0.0.10", zone = "a" }
      "2" = { host = "10.0.16.10", zone = "b" }
      "3" = { host = "10.0.47.254", zone = "c" }
    }
    tokens_file = "/etc/trunkline/tokens"
    client      = { ca = "ca.pem", token_file = "token" }
  }
  assert {
    condition     = alltrue([for id in ["1", "2", "3"] : [for m in yamldecode(output.configurations[id]).members : m.id] == [1, 2, 3]])
    error_message = "every founding broker must be told the same members"
  }
  assert {
    condition     = [for id in ["1", "2", "3"] : yamldecode(output.configurations[id]).zone] == ["a", "b", "c"]
    error_message = "zones are not those given"
  }
  assert {
    condition     = alltrue([for c in output.configurations : !can(yamldecode(c).join) && yamldecode(c).auth.tokens_file == "/etc/trunkline/tokens"])
    error_message = "founding brokers join nobody, and ask for tokens"
  }
  assert {
    condition     = output.certificates["2"] == { name = "broker-2", uri = "trunkline://broker-2", hosts = tolist(["10.0.16.10", "localhost", "127.0.0.1", "::1"]) }
    error_message = "the certificate of broker 2 must be bound to it and its address"
  }
  assert {
    condition     = jsondecode(output.context) == { brokers = ["10.0.0.10:7400", "10.0.16.10:7400", "10.0.47.254:7400"], ca = "ca.pem", token_file = "token" }
    error_message = "the context must name all brokers, the authority and the token"
  }
}

run "five_by_name" {
  command = plan
  variables {
    brokers = { for n in range(1, 6) : n => { host = "b${n}.example", bind = "0.0.0.0", admin_bind = "127.0.0.1" } }
  }
  assert {
    condition     = length(yamldecode(output.configurations["5"]).members) == 5
    error_message = "five founding brokers are told of five"
  }
  assert {
    condition = (yamldecode(output.configurations["4"]).listen == "0.0.0.0:7400" && yamldecode(output.configurations["4"]).raft_listen == "0.0.0.0:7401"
    && yamldecode(output.configurations["4"]).admin_listen == "127.0.0.1:7402")
    error_message = "bind and admin_bind must say where to listen"
  }
}

run "ipv6" {
  command = plan
  variables {
    brokers = { "1" = { host = "2001:db8::1", bind = "::" } }
  }
  assert {
    condition     = output.members["1"].raft == "[2001:db8::1]:7401" && yamldecode(output.configurations["1"]).listen == "[::]:7400"
    error_message = "an IPv6 address needs brackets before its port"
  }
}

# Three that founded; 4 and 5 joined; 2 was decommissioned.
run "joined_and_retired" {
  command = plan
  variables {
    brokers = {
      "1" = { host = "b1.example" }
      "2" = { host = "b2.example", retired = true }
      "3" = { host = "b3.example" }
      "4" = { host = "b4.example", founder = false }
      "5" = { host = "b5.example", founder = false }
    }
  }
  assert {
    condition     = keys(output.configurations) == ["1", "3", "4", "5"]
    error_message = "a retired broker gets no configuration"
  }
  assert {
    condition     = [for m in yamldecode(output.configurations["1"]).members : m.id] == [1, 2, 3]
    error_message = "the text of a founding broker does not change because another one has retired"
  }
  assert {
    condition     = [for m in yamldecode(output.configurations["4"]).members : m.id] == [4] && yamldecode(output.configurations["4"]).join == ["b1.example:7401", "b3.example:7401", "b5.example:7401"]
    error_message = "one that joins names itself and asks all others that are left"
  }
  assert {
    condition     = !strcontains(output.context, "b2.example")
    error_message = "clients are not sent to a retired broker"
  }
}

run "before_that" {
  command = plan
  variables {
    brokers = { for n in range(1, 4) : n => { host = "b${n}.example" } }
  }
  assert {
    condition     = output.restart_keys["1"] == run.joined_and_retired.restart_keys["1"] && output.restart_keys["3"] == run.joined_and_retired.restart_keys["3"]
    error_message = "brokers that come and go must not restart the others"
  }
}

run "a_setting_restarts" {
  command = plan
  variables {
    brokers  = { for n in range(1, 4) : n => { host = "b${n}.example" } }
    settings = { limits = { max_connections = 500, max_batch = "8MiB" }, raft = { silent_after = "1s" }, moves = { leaders = false } }
  }
  assert {
    condition     = output.restart_keys["1"] != run.before_that.restart_keys["1"]
    error_message = "a running broker has to be restarted for a setting"
  }
  assert {
    condition = (yamldecode(output.configurations["1"]).limits == { max_connections = 500, max_batch = "8MiB" }
    && yamldecode(output.configurations["1"]).moves == { leaders = false } && !can(yamldecode(output.configurations["1"]).topics))
    error_message = "what is set is written, and nothing else"
  }
}

run "several_on_one_host" {
  command = plan
  variables {
    brokers  = { for n in range(1, 4) : n => { host = "127.0.0.1", client_port = 7390 + 10 * n, raft_port = 7391 + 10 * n, admin_port = 7392 + 10 * n } }
    data_dir = "/srv/broker-{id}"
    tls      = { ca = "/srv/pki/ca.pem", cert = "/srv/pki/broker-{id}.pem", key = "/srv/pki/broker-{id}.pem", client_ca = "/srv/pki/clients.pem" }
  }
  assert {
    condition     = output.data_dirs["3"] == "/srv/broker-3" && yamldecode(output.configurations["3"]).tls == { ca = "/srv/pki/ca.pem", cert = "/srv/pki/broker-3.pem", key = "/srv/pki/broker-3.pem", client_ca = "/srv/pki/clients.pem" }
    error_message = "{id} must become the broker's ID"
  }
}

run "machines" {
  command = plan
  variables {
    brokers = { for n in range(1, 4) : n => { host = "b${n}.example" } }
    machine = {
      package = "https://packages.example/trunkline_1_amd64.deb"
      sha256  = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
      files   = [{ path = "/etc/trunkline/trunkline.yaml", command = "secret get broker-{id}/config" }]
    }
    data_devices = { "2" = "/dev/disk/by-id/volume-2" }
  }
  assert {
    condition = alltrue([for id, text in output.cloud_init : startswith(text, "#cloud-config\n")
    && yamldecode(text).runcmd[1] == ["systemctl", "enable", "--now", "--no-block", "trunkline-machine.service"]])
    error_message = "user data must be a cloud-config that starts the bootstrap"
  }
  assert {
    condition = contains([for f in yamldecode(output.cloud_init["2"]).write_files : f.content if endswith(f.path, "/files")],
    "0640 /etc/trunkline/trunkline.yaml secret get broker-2/config\n")
    error_message = "the files of a machine are those of its broker"
  }
  assert {
    condition = (contains([for f in yamldecode(output.cloud_init["2"]).write_files : f.path], "/etc/systemd/system/var-lib-trunkline.mount")
    && !contains([for f in yamldecode(output.cloud_init["1"]).write_files : f.path], "/etc/systemd/system/var-lib-trunkline.mount"))
    error_message = "only a machine with a volume mounts one"
  }
}

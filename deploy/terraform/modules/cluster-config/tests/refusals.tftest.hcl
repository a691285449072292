# Wrong input is refused at plan time.

variables {
  tls     = { ca = "/etc/trunkline/tls/ca.pem", cert = "/etc/trunkline/tls/broker.pem", key = "/etc/trunkline/tls/broker.pem" }
  client  = { ca = "ca.pem" }
  brokers = { "1" = { host = "b1.example" }, "2" = { host = "b2.example" }, "3" = { host = "b3.example" } }
}

run "two_brokers" {
  command = plan
  variables {
    brokers = { "1" = { host = "b1.example" }, "2" = { host = "b2.example" } }
  }
  expect_failures = [var.brokers]
}

run "two_left" {
  command = plan
  variables {
    brokers = { "1" = { host = "b1.example" }, "2" = { host = "b2.example" }, "3" = { host = "b3.example", retired = true } }
  }
  expect_failures = [var.brokers]
}

run "one_and_one_joined" {
  command = plan
  variables {
    brokers = { "1" = { host = "b1.example" }, "2" = { host = "b2.example", founder = false } }
  }
  expect_failures = [var.brokers]
}

run "four_voters" {
  command = plan
  variables {
    brokers = { for n in range(1, 5) : n => { host = "b${n}.example" } }
  }
  expect_failures = [var.brokers]
}

run "nine_voters" {
  command = plan
  variables {
    brokers = { for n in range(1, 10) : n => { host = "b${n}.example" } }
  }
  expect_failures = [var.brokers]
}

run "none" {
  command = plan
  variables {
    brokers = {}
  }
  expect_failures = [var.brokers]
}

run "an_id_that_is_none" {
  command = plan
  variables {
    brokers = { "0" = { host = "b1.example" } }
  }
  expect_failures = [var.brokers]
}

run "a_host_with_a_port" {
  command = plan
  variables {
    brokers = { "1" = { host = "b1.example" }, "2" = { host = "b2.example" }, "3" = { host = "b3.example:7400" } }
  }
  expect_failures = [var.brokers]
}

run "a_host_that_nobody_dials" {
  command = plan
  variables {
    brokers = { "1" = { host = "b1.example" }, "2" = { host = "b2.example" }, "3" = { host = "0.0.0.0" } }
  }
  expect_failures = [var.brokers]
}

run "a_bind_that_is_a_name" {
  command = plan
  variables {
    brokers = { "1" = { host = "b1.example" }, "2" = { host = "b2.example" }, "3" = { host = "b3.example", bind = "eth0" } }
  }
  expect_failures = [var.brokers]
}

run "port_zero" {
  command = plan
  variables {
    brokers = { "1" = { host = "b1.example" }, "2" = { host = "b2.example" }, "3" = { host = "b3.example", raft_port = 0 } }
  }
  expect_failures = [var.brokers]
}

run "one_address_twice" {
  command = plan
  variables {
    brokers = { "1" = { host = "b1.example" }, "2" = { host = "b2.example" }, "3" = { host = "b2.example", raft_port = 1, admin_port = 2 } }
  }
  expect_failures = [var.brokers]
}

run "one_tcp_port_twice" {
  command = plan
  variables {
    brokers = { "1" = { host = "b1.example" }, "2" = { host = "b2.example" }, "3" = { host = "b3.example", raft_port = 7402 } }
  }
  expect_failures = [var.brokers]
}

run "a_zone_for_some" {
  command = plan
  variables {
    brokers = { "1" = { host = "b1.example" }, "2" = { host = "b2.example" }, "3" = { host = "b3.example", zone = "c" } }
  }
  expect_failures = [var.brokers]
}

run "a_zone_too_long" {
  command = plan
  variables {
    brokers = { "1" = { host = "b1.example", zone = join("", [for n in range(256) : "z"]) } }
  }
  expect_failures = [var.brokers]
}

run "a_block_that_is_none" {
  command = plan
  variables {
    zones = { a = { cidr = "10.0.0.0" } }
  }
  expect_failures = [var.zones]
}

run "overlapping_zones" {
  command = plan
  variables {
    zones   = { a = { cidr = "10.0.0.0/16" }, b = { cidr = "10.0.16.0/20" }, c = { cidr = "10.1.0.0/16" } }
    brokers = { "1" = { host = "10.0.0.1", zone = "a" }, "2" = { host = "10.0.16.1", zone = "b" }, "3" = { host = "10.1.0.1", zone = "c" } }
  }
  expect_failures = [output.configurations]
}

run "a_zone_unknown" {
  command = plan
  variables {
    zones   = { a = { cidr = "10.0.0.0/16" } }
    brokers = { "1" = { host = "10.0.0.1", zone = "z" } }
  }
  expect_failures = [output.configurations]
}

run "an_address_outside_its_zone" {
  command = plan
  variables {
    zones   = { a = { cidr = "10.0.0.0/16" } }
    brokers = { "1" = { host = "10.1.0.1", zone = "a" } }
  }
  expect_failures = [output.configurations]
}

run "no_certificates" {
  command = plan
  variables {
    tls = null
  }
  expect_failures = [var.tls]
}

run "a_relative_certificate" {
  command = plan
  variables {
    tls = { ca = "ca.pem", cert = "/a", key = "/b" }
  }
  expect_failures = [var.tls]
}

run "a_client_without_the_authority" {
  command = plan
  variables {
    client = {}
  }
  expect_failures = [var.client]
}

run "a_client_without_its_token" {
  command = plan
  variables {
    tokens_file = "/etc/trunkline/tokens"
  }
  expect_failures = [var.client]
}

run "relative_tokens" {
  command = plan
  variables {
    tokens_file = "tokens"
    client      = { ca = "ca.pem", token_file = "token" }
  }
  expect_failures = [var.tokens_file]
}

run "a_name_that_is_none" {
  command = plan
  variables {
    cluster = "my cluster"
  }
  expect_failures = [var.cluster]
}

run "a_relative_data_dir" {
  command = plan
  variables {
    data_dir = "data"
  }
  expect_failures = [var.data_dir]
}

run "one_data_dir_for_several" {
  command = plan
  variables {
    brokers = { for n in range(1, 4) : n => { host = "127.0.0.1", client_port = 7390 + 10 * n, raft_port = 7391 + 10 * n, admin_port = 7392 + 10 * n } }
  }
  expect_failures = [var.data_dir]
}

run "a_size_without_unit" {
  command = plan
  variables {
    settings = { limits = { max_batch = "4194304" } }
  }
  expect_failures = [var.settings]
}

run "a_size_of_nothing" {
  command = plan
  variables {
    settings = { raft = { compact_bytes = "0MiB" } }
  }
  expect_failures = [var.settings]
}

run "a_duration_without_unit" {
  command = plan
  variables {
    settings = { raft = { tick = "500" } }
  }
  expect_failures = [var.settings]
}

run "a_log_level_unknown" {
  command = plan
  variables {
    settings = { log = { level = "trace" } }
  }
  expect_failures = [var.settings]
}

run "a_log_format_unknown" {
  command = plan
  variables {
    settings = { log = { format = "xml" } }
  }
  expect_failures = [var.settings]
}

run "no_connections" {
  command = plan
  variables {
    settings = { limits = { max_connections = 0 } }
  }
  expect_failures = [var.settings]
}

run "one_stream" {
  command = plan
  variables {
    settings = { limits = { max_streams = 1 } }
  }
  expect_failures = [var.settings]
}

run "too_many_moves" {
  command = plan
  variables {
    settings = { moves = { concurrent = 513 } }
  }
  expect_failures = [var.settings]
}

run "a_record_above_a_batch" {
  command = plan
  variables {
    settings = { limits = { max_record = "5MiB" } }
  }
  expect_failures = [output.configurations]
}

run "a_batch_above_the_protocol" {
  command = plan
  variables {
    settings = { limits = { max_batch = "17MiB", connection_in_flight = "64MiB", partition_pending = "64MiB" } }
  }
  expect_failures = [output.configurations]
}

run "room_for_less_than_a_batch" {
  command = plan
  variables {
    settings = { limits = { partition_pending = "1MiB" } }
  }
  expect_failures = [output.configurations]
}

run "a_segment_below_a_batch" {
  command = plan
  variables {
    settings = { topics = { segment_bytes = "1MiB" } }
  }
  expect_failures = [output.configurations]
}

run "a_rate_too_low" {
  command = plan
  variables {
    settings = { topics = { scrub_rate = "1kB" } }
  }
  expect_failures = [output.configurations]
}

run "a_tick_too_slow" {
  command = plan
  variables {
    settings = { raft = { tick = "2s" } }
  }
  expect_failures = [output.configurations]
}

run "silence_after_the_election" {
  command = plan
  variables {
    settings = { raft = { silent_after = "2500ms" } }
  }
  expect_failures = [output.configurations]
}

run "moves_too_slow" {
  command = plan
  variables {
    settings = { moves = { rate = "1kB" } }
  }
  expect_failures = [output.configurations]
}

run "repair_too_soon" {
  command = plan
  variables {
    settings = { moves = { repair_after = "10ms" } }
  }
  expect_failures = [output.configurations]
}

run "a_package_of_another_kind" {
  command = plan
  variables {
    machine = { package = "/opt/trunkline.tar.gz", files = [{ path = "/etc/trunkline/trunkline.yaml", command = "get" }] }
  }
  expect_failures = [var.machine]
}

run "a_download_without_digest" {
  command = plan
  variables {
    machine = { package = "https://packages.example/trunkline.deb", files = [{ path = "/etc/trunkline/trunkline.yaml", command = "get" }] }
  }
  expect_failures = [var.machine]
}

run "a_machine_without_configuration" {
  command = plan
  variables {
    machine = { package = "/opt/trunkline.deb", files = [] }
  }
  expect_failures = [var.machine]
}

run "a_command_of_two_lines" {
  command = plan
  variables {
    machine = { package = "/opt/trunkline.deb", files = [{ path = "/etc/trunkline/trunkline.yaml", command = "a\nb" }] }
  }
  expect_failures = [var.machine]
}

run "a_machine_with_its_data_elsewhere" {
  command = plan
  variables {
    data_dir = "/srv/data"
    machine  = { package = "/opt/trunkline.deb", files = [{ path = "/etc/trunkline/trunkline.yaml", command = "get" }] }
  }
  expect_failures = [var.machine]
}

run "a_device_that_is_none" {
  command = plan
  variables {
    data_devices = { "1" = "sdf" }
  }
  expect_failures = [var.data_devices]
}


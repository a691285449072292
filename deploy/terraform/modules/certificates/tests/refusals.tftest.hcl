# Wrong input is refused at plan time. What is made is tested by ../../check, with brokers that use it.

variables {
  directory    = "/nowhere/tls"
  certificates = { "1" = { name = "broker-1", uri = "trunkline://broker-1", hosts = ["b1.example"] } }
}

run "missing" {
  command = plan
  variables {
    existing = true
  }
  expect_failures = [var.existing]
}

run "a_relative_directory" {
  command = plan
  variables {
    directory = "tls"
  }
  expect_failures = [var.directory]
}

run "a_name_that_is_the_authority_s" {
  command = plan
  variables {
    certificates = { "1" = { name = "ca", uri = "trunkline://broker-1", hosts = ["b1.example"] } }
  }
  expect_failures = [var.certificates]
}

run "no_host" {
  command = plan
  variables {
    certificates = { "1" = { name = "broker-1", uri = "trunkline://broker-1", hosts = [] } }
  }
  expect_failures = [var.certificates]
}

run "for_ever" {
  command = plan
  variables {
    days = 36500
  }
  expect_failures = [var.days]
}

run "no_generation" {
  command = plan
  variables {
    generation = 0
  }
  expect_failures = [var.generation]
}

run "planned" {
  command = plan
  assert {
    condition     = output.pairs == { "1" = "/nowhere/tls/broker-1.pem" } && output.ca == "/nowhere/tls/ca.pem" && output.token_file == "/nowhere/tls/token"
    error_message = "paths are not those of the directory"
  }
}

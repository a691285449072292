# The ruleset that tflint brings along; the one for AWS is a plugin from the network.
plugin "terraform" {
  enabled = true
  preset  = "all"
}

# Modules are small: README.md has what the files are for.
rule "terraform_standard_module_structure" {
  enabled = false
}

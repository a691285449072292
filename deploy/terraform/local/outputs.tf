output "context_file" {
  description = "The client's context file: export TRUNKLINE_CONTEXT=$(terraform output -raw context_file)."
  value       = module.membership.context_file
}

output "brokers" {
  description = "Addresses of every broker by ID."
  value       = module.config.members
}

output "logs" {
  description = "Log file of every broker by ID."
  value       = { for id, home in local.homes : id => "${home}/log" }
}

output "context" {
  description = "The client's context file (JSON); its paths are those of Terraform's machine. Write it beside copies of ca.pem and token for others."
  value       = module.config.context
}

output "brokers" {
  description = "Addresses of every broker by ID."
  value       = module.config.members
}

output "instances" {
  description = "Instance of every broker by ID."
  value       = { for id, i in aws_instance.broker : id => i.id }
}

output "security_group_id" {
  description = "Security group of the brokers."
  value       = aws_security_group.brokers.id
}

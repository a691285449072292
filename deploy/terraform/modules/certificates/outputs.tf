output "ca" {
  description = "Path of the authority's certificate."
  value       = "${var.directory}/ca.pem"
  depends_on  = [terraform_data.authority]
}

output "pairs" {
  description = "Path of every broker's certificate and key, in one file, by ID."
  value       = { for id, c in var.certificates : id => "${var.directory}/${c.name}.pem" }
  depends_on  = [terraform_data.certificate, terraform_data.file]
}

output "token_file" {
  description = "Path of the client token that was made; null with your own files."
  value       = var.existing ? null : "${var.directory}/token"
  depends_on  = [terraform_data.authority]
}

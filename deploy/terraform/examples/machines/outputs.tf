output "files" {
  description = "The files that were written, certificates apart."
  value       = [for f in terraform_data.file : f.input.FILE]
}

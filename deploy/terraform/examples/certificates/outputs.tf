output "directory" {
  description = "The directory, for the variable certificates of ../../aws."
  value       = var.directory
  depends_on  = [module.certificates]
}

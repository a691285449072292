output "context_file" {
  description = "Path of the context file, for --context or TRUNKLINE_CONTEXT. It is there, and the cluster is well, when this output is."
  value       = "${var.directory}/context.json"
  depends_on  = [terraform_data.member, terraform_data.cluster]
}

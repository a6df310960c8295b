output "database_admin_secret_arn" {
  description = "The Secrets Manager secret with the administrator's password, to make the roles with."
  value       = aws_db_instance.this.master_user_secret[0].secret_arn
}

output "database_address" {
  description = "Where the database listens, as host:port."
  value       = aws_db_instance.this.endpoint
}

output "role_passwords" {
  description = "The passwords of the roles."
  value       = { for role in local.roles : role => random_password.role[role].result }
  sensitive   = true
}

output "store_secret" {
  description = "The data of the Secret that the chart's store.existingSecret names."
  sensitive   = true
  value = {
    for role in local.roles : replace(role, "_", "-") =>
    "postgres://slipway_${role}:${random_password.role[role].result}@${aws_db_instance.this.endpoint}/slipway?sslmode=require"
  }
}

output "helm_values" {
  description = "Values for the chart, beside infra/helm/values-scale.yaml: terraform output -raw helm_values > values-aws.yaml"
  value = yamlencode({
    store = { existingSecret = "slipway-store" }
    fileStore = {
      s3 = {
        bucket                    = aws_s3_bucket.blobs.bucket
        region                    = aws_s3_bucket.blobs.region
        serviceAccountAnnotations = { "eks.amazonaws.com/role-arn" = aws_iam_role.file_store.arn }
      }
    }
  })
}

# What Slipway needs from AWS to run at scale: PostgreSQL, a bucket, a key for both, and the role that may use the bucket.
# NATS and Qdrant run in the cluster, by charts of their own.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  tags   = merge({ "app.kubernetes.io/part-of" = "slipway" }, var.tags)
  bucket = var.bucket_name != "" ? var.bucket_name : "${var.name}-blobs-${data.aws_caller_identity.current.account_id}"
  roles  = ["owner", "conversation", "planner", "file_store", "embedding", "inference"]
}

resource "aws_kms_key" "this" {
  description             = "${var.name}: file contents and database"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = local.tags
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}

variable "name" {
  description = "What the names of all resources begin with."
  type        = string
  default     = "slipway"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "Lower-case letters, digits and hyphens, 3 to 32 of them, a letter first."
  }
}

variable "vpc_id" {
  description = "The VPC of the cluster."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets for the database, in two availability zones or more."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "A database that survives a zone needs subnets in two."
  }
}

variable "client_security_group_ids" {
  description = "Security groups of the nodes or pods that may reach the database."
  type        = list(string)
}

variable "oidc_provider_arn" {
  description = "The cluster's OIDC provider, by which the file store's pods take their role."
  type        = string
}

variable "namespace" {
  description = "The Kubernetes namespace of the release."
  type        = string
  default     = "slipway"
}

variable "service_account" {
  description = "The file store's service account, as the chart names it: <release>-file-store."
  type        = string
  default     = "slipway-file-store"
}

variable "database" {
  description = "The size and care of the PostgreSQL server."
  type = object({
    engine_version         = optional(string, "17")
    instance_class         = optional(string, "db.m7g.large")
    allocated_gib          = optional(number, 50)
    max_allocated_gib      = optional(number, 500)
    multi_az               = optional(bool, true)
    backup_retention_days  = optional(number, 14)
    deletion_protection    = optional(bool, true)
    max_connections        = optional(number, 400)
    performance_insights   = optional(bool, true)
    apply_immediately      = optional(bool, false)
    auto_minor_upgrade     = optional(bool, true)
    maintenance_window_utc = optional(string, "sun:03:00-sun:04:00")
  })
  default = {}
}

variable "bucket_name" {
  description = "The bucket of the file contents; empty: made from the name and the account."
  type        = string
  default     = ""
}

variable "noncurrent_days" {
  description = "For how many days an overwritten or deleted object can be brought back. Longer than the file store's grace period."
  type        = number
  default     = 30

  validation {
    condition     = var.noncurrent_days >= 2
    error_message = "Two days at least: a blob that was collected by mistake must outlive the mistake."
  }
}

variable "force_destroy" {
  description = "Whether `terraform destroy` deletes a bucket that is not empty. Only to try things out."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
}

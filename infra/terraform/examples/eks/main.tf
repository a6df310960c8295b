# An existing EKS cluster: the module makes the managed pieces, and the Secret that the chart reads is made from its output.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws        = { source = "hashicorp/aws", version = ">= 5.60, < 7.0" }
    kubernetes = { source = "hashicorp/kubernetes", version = ">= 2.30, < 3.0" }
  }
}

variable "region" {
  description = "The AWS region."
  type        = string
}

variable "cluster_name" {
  description = "The EKS cluster."
  type        = string
}

provider "aws" {
  region = var.region
}

data "aws_eks_cluster" "this" {
  name = var.cluster_name
}

data "aws_eks_cluster_auth" "this" {
  name = var.cluster_name
}

data "aws_iam_openid_connect_provider" "this" {
  url = data.aws_eks_cluster.this.identity[0].oidc[0].issuer
}

provider "kubernetes" {
  host                   = data.aws_eks_cluster.this.endpoint
  cluster_ca_certificate = base64decode(data.aws_eks_cluster.this.certificate_authority[0].data)
  token                  = data.aws_eks_cluster_auth.this.token
}

module "slipway" {
  source = "../.."

  vpc_id                    = data.aws_eks_cluster.this.vpc_config[0].vpc_id
  subnet_ids                = tolist(data.aws_eks_cluster.this.vpc_config[0].subnet_ids)
  client_security_group_ids = [data.aws_eks_cluster.this.vpc_config[0].cluster_security_group_id]
  oidc_provider_arn         = data.aws_iam_openid_connect_provider.this.arn
}

resource "kubernetes_namespace_v1" "slipway" {
  metadata {
    name = "slipway"
  }
}

resource "kubernetes_secret_v1" "store" {
  metadata {
    name      = "slipway-store"
    namespace = kubernetes_namespace_v1.slipway.metadata[0].name
  }

  data = module.slipway.store_secret
}

output "helm_values" {
  description = "Values for the chart, beside infra/helm/values-scale.yaml."
  value       = module.slipway.helm_values
}

output "role_passwords" {
  description = "The passwords of the roles."
  value       = module.slipway.role_passwords
  sensitive   = true
}

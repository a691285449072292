# terraform -chdir=../aws apply -var-file ../examples/aws.tfvars, with your own values.
region  = "eu-central-1"
cluster = "prod"
domain  = "trunkline.internal"
new_vpc = { cidr = "10.20.0.0/16", zones = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
brokers = {
  "1" = { zone = "eu-central-1a" }
  "2" = { zone = "eu-central-1b" }
  "3" = { zone = "eu-central-1c" }
}
client_cidrs = ["10.0.0.0/8"]
ami          = "ami-0123456789abcdef0" # aws ssm get-parameter --name /aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64
volume       = { gib = 200 }
package = {
  url    = "https://packages.example/trunkline-1.0.0-1.aarch64.rpm"
  sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
}
certificates = "/srv/trunkline/tls"
membership   = { directory = "/srv/trunkline/prod" }

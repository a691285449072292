# Words for deploy/terraform; the main Makefile includes this file.
TERRAFORM_TOOLS := $(abspath $(BIN))/tools
TFLINT          := github.com/terraform-linters/tflint@v0.61.0
TERRAFORM_NEEDS := 1.11

.PHONY: deploy-terraform deploy-terraform-docs terraform-tools terraform

deploy-terraform: build terraform-tools ## check deploy/terraform, and bring a cluster up, change it and take it down with it; some minutes (installs what it lacks, but terraform)
	$(TERRAFORM_TOOLS)/tflint --chdir deploy/terraform --config $(abspath deploy/terraform/.tflint.hcl) --recursive --format compact
	shellcheck deploy/terraform/*/*.sh deploy/terraform/modules/*/*.sh
	cd deploy/terraform/check && $(GO) vet ./... && $(GO) test -count 1 -timeout 5m -v ./...

deploy-terraform-docs: ## write the generated parts of the READMEs below deploy/terraform
	cd deploy/terraform/check && $(GO) test -count 1 -run TestReadmesAreCurrent . -update

# Terraform itself comes from no registry that CI reaches: it is no Go module that can be installed (its go.mod replaces others),
# and Debian has none.
terraform:
	@command -v terraform >/dev/null || { echo 'terraform $(TERRAFORM_NEEDS) or newer is not installed: https://developer.hashicorp.com/terraform/install'; exit 1; }

terraform-tools: terraform
	@for tool in shellcheck openssl; do command -v $$tool >/dev/null || lacking="$$lacking $$tool"; done; \
	test -z "$$lacking" || { apt-get update -qq && apt-get install -y -qq --no-install-recommends $$lacking; }
	@test -x $(TERRAFORM_TOOLS)/tflint || GOBIN=$(TERRAFORM_TOOLS) $(GO) install $(TFLINT)

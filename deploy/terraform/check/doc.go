// Package check looks after deploy/terraform: it writes the tables of every README from the code, and its tests hold the
// modules to what they say, with terraform itself.
//
// It is a module of its own, so that nothing that runs in production depends on a parser of HCL.
//
// What the tests need: terraform, and the programs in bin/ (`make deploy-terraform` builds them). They keep Terraform's
// data and state in temporary directories, take free ports of 127.0.0.1, and end every process that they started.
package check

// Package client is the SDK of Trunkline.
package client

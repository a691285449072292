// Package chaos harms the brokers of a local cluster under full load and proves from outside that every promise held.
package chaos

package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ContextFile says how to reach a cluster. As a JSON file it is what TRUNKLINE_CONTEXT names:
//
//	{"brokers": ["127.0.0.1:7400"], "ca": "pki/ca.pem", "cert": "client.pem", "key": "client-key.pem", "token_file": "token"}
//
// Relative paths are relative to the file. cert and key are for clusters that ask for a client's certificate, token_file for those
// that ask for a token.
type ContextFile struct {
	Brokers    []string `json:"brokers"`
	CA         string   `json:"ca,omitempty"`
	Cert       string   `json:"cert,omitempty"`
	Key        string   `json:"key,omitempty"`
	ServerName string   `json:"server_name,omitempty"`
	TokenFile  string   `json:"token_file,omitempty"`
}

// LoadContext reads a context file.
func LoadContext(path string) (*ContextFile, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("context: %w", err)
	}
	var c ContextFile
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return nil, fmt.Errorf("context %s: %w", path, err)
	}
	if len(c.Brokers) == 0 {
		return nil, fmt.Errorf("context %s: brokers is empty: name at least one host:port", path)
	}
	for _, p := range []*string{&c.CA, &c.Cert, &c.Key, &c.TokenFile} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(filepath.Dir(path), *p)
		}
	}
	return &c, nil
}

// Options returns the options for Connect to c.Brokers.
func (c *ContextFile) Options() ([]Option, error) {
	var opts []Option
	if c.CA != "" {
		opts = append(opts, WithCA(c.CA))
	}
	if c.Cert != "" || c.Key != "" {
		opts = append(opts, WithClientCertificate(c.Cert, c.Key))
	}
	if c.ServerName != "" {
		opts = append(opts, WithServerName(c.ServerName))
	}
	if c.TokenFile != "" {
		token, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("context: token_file: %w", err)
		}
		if token = bytes.TrimSpace(token); len(token) == 0 {
			return nil, errors.New("context: token_file " + c.TokenFile + " is empty")
		}
		opts = append(opts, WithToken(token))
	}
	return opts, nil
}

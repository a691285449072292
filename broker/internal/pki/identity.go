package pki

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/trunkline/trunkline/protocol"
)

const (
	uriScheme    = "trunkline"
	brokerPrefix = "broker-"
)

// BrokerName is the certificate name that binds a certificate to one broker.
func BrokerName(id protocol.BrokerID) string {
	return brokerPrefix + strconv.FormatUint(uint64(id), 10)
}

// brokerURI is the subject alternative name trunkline://broker-N of a name made by BrokerName.
func brokerURI(name string) []*url.URL {
	if !strings.HasPrefix(name, brokerPrefix) {
		return nil
	}
	return []*url.URL{{Scheme: uriScheme, Host: name}}
}

// CheckBroker refuses a certificate that is bound to another broker. One without any binding (an operator's own)
// is accepted: then the authority's signature alone admits a broker.
func CheckBroker(cert *x509.Certificate, id protocol.BrokerID) error {
	for _, u := range cert.URIs {
		if u.Scheme == uriScheme && u.Host != BrokerName(id) {
			return fmt.Errorf("certificate %q was issued to %s, not to broker %d", cert.Subject.CommonName, u.Host, id)
		}
	}
	return nil
}

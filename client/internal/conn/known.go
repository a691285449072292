package conn

import (
	"sync"

	"github.com/quic-go/quic-go"
)

// Known keeps the address token that each broker gave last (RFC 9000, 8.1.3). A client that shows one comes before those who were never
// connected when a broker rations handshakes. A token is shown again until the broker gives a new one: attempts at a broker that is
// down must not use it up. Its zero value is empty. It holds one token for each address that was ever connected.
type Known struct {
	mu     sync.Mutex
	tokens map[string]*quic.ClientToken // guarded by mu; by address
}

// at returns the tokens of one address.
func (k *Known) at(addr string) quic.TokenStore { return knownAt{k, addr} }

// knownAt is a quic.TokenStore of one address. Its key, the name in a certificate, may be that of all brokers.
type knownAt struct {
	known *Known
	addr  string
}

// Pop returns the token to show.
func (k knownAt) Pop(string) *quic.ClientToken {
	k.known.mu.Lock()
	defer k.known.mu.Unlock()
	return k.known.tokens[k.addr]
}

// Put keeps a token.
func (k knownAt) Put(_ string, t *quic.ClientToken) {
	k.known.mu.Lock()
	defer k.known.mu.Unlock()
	if k.known.tokens == nil {
		k.known.tokens = make(map[string]*quic.ClientToken)
	}
	k.known.tokens[k.addr] = t
}

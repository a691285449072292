package chaos

import (
	"errors"
	"net"
	"net/netip"
	"strconv"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/proxy"
)

// fronts are proxies before every broker, one for its clients and one for the other brokers. Faults of the network of one run
// share them. They belong to the goroutine of the run.
type fronts struct {
	seed uint64
	dir  string // of the cluster
	udp  map[int]*proxy.UDP
	tcp  map[int]*proxy.TCP
}

// shape puts the fronts before the brokers of a cluster that is to be made, once.
func (f *fronts) shape(spec *cluster.Spec) {
	if f.udp != nil {
		return
	}
	f.dir, f.udp, f.tcp = spec.Dir, map[int]*proxy.UDP{}, map[int]*proxy.TCP{}
	spec.Front = f.open
}

func (f *fronts) open(b cluster.Broker) (listen, raft string, err error) {
	u, err := proxy.NewUDP(proxy.UDPConfig{Listen: "127.0.0.1:0", Target: b.Listen, Seed: f.seed<<8 | uint64(b.ID)})
	if err != nil {
		return "", "", err
	}
	f.udp[b.ID] = u
	var t *proxy.TCP
	t, err = proxy.NewTCP(proxy.TCPConfig{
		Listen: "127.0.0.1:0", Target: b.Raft,
		Who: func(from netip.AddrPort) int { return f.dialler(from, t.Addr()) },
	})
	if err != nil {
		return "", "", err
	}
	f.tcp[b.ID] = t
	return u.Addr(), t.Addr(), nil
}

// dialler returns the broker that has a connection from one address to a front; 0: not known. Its process is found by its
// socket, since a broker dials from any port, and what it says of itself is encrypted.
func (f *fronts) dialler(from netip.AddrPort, front string) int {
	c, err := cluster.Open(f.dir)
	if err != nil {
		return 0
	}
	to, err := netip.ParseAddrPort(front)
	if err != nil {
		return 0
	}
	ids, pids := map[int]int{}, []int{}
	for _, b := range c.Brokers() {
		if b.PID != 0 {
			ids[b.PID] = b.ID
			pids = append(pids, b.PID)
		}
	}
	pid, err := proxy.DialledBy(from, to, pids)
	if err != nil {
		return 0
	}
	return ids[pid]
}

// heal lets everything pass.
func (f *fronts) heal() error {
	var errs []error
	for id := range f.udp {
		f.udp[id].Set(proxy.UDPSettings{})
		errs = append(errs, f.tcp[id].Set(proxy.TCPSettings{}))
	}
	return errors.Join(errs...)
}

// counts returns the counters of all fronts, summed, those for clients with "udp_" before the name and the others with "tcp_".
func (f *fronts) counts() map[string]int64 {
	all := map[string]int64{}
	for id := range f.udp {
		for name, n := range f.udp[id].Counts() {
			all["udp_"+name] += n
		}
		for name, n := range f.tcp[id].Counts() {
			all["tcp_"+name] += n
		}
	}
	return all
}

func (f *fronts) close() error {
	var errs []error
	for id := range f.udp {
		errs = append(errs, f.udp[id].Close())
		if t := f.tcp[id]; t != nil {
			errs = append(errs, t.Close())
		}
	}
	f.udp, f.tcp = nil, nil
	return errors.Join(errs...)
}

// between sets what happens to the connections between two brokers: there to what a sends to b, back to what b sends to a.
func (f *fronts) between(a, b int, there, back proxy.Way) error {
	return errors.Join(
		f.tcp[b].Set(proxy.TCPSettings{From: map[int]proxy.Ways{a: {ToTarget: there, ToClient: back}}}),
		f.tcp[a].Set(proxy.TCPSettings{From: map[int]proxy.Ways{b: {ToTarget: back, ToClient: there}}}),
	)
}

// silence lets nothing pass from and to one broker.
func (f *fronts) silence(victim int) error {
	hole, stall := proxy.Road{Blackhole: true}, proxy.Way{Stall: true}
	f.udp[victim].Set(proxy.UDPSettings{ToTarget: hole, ToClient: hole})
	both := proxy.Ways{ToTarget: stall, ToClient: stall}
	var errs []error
	for id, t := range f.tcp {
		s := proxy.TCPSettings{From: map[int]proxy.Ways{victim: both}}
		if id == victim {
			s = proxy.TCPSettings{Ways: both}
		}
		errs = append(errs, t.Set(s))
	}
	return errors.Join(errs...)
}

// rebind gives all clients another source port, and another address if host is not 0: 127.0.0.host.
func (f *fronts) rebind(host int) error {
	addr := ""
	if host != 0 {
		addr = net.IPv4(127, 0, 0, byte(host)).String()
	}
	for id, u := range f.udp {
		if err := u.Rebind(addr); err != nil {
			return errors.Join(errors.New("clients of broker "+strconv.Itoa(id)), err)
		}
	}
	return nil
}

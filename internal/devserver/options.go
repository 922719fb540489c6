// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"cmp"
	"fmt"
	"net"
	"time"

	"github.com/go-logr/logr"
)

// Default addresses of a development server.
const (
	DefaultDBProxyAddress = "127.0.0.1:10600"
	DefaultRouterAddress  = "127.0.0.1:8200"
	DefaultInboxAddress   = "127.0.0.1:10680"
)

// DevelopmentKey is the key of TeamTalk's documentation. It is public.
const DevelopmentKey = "12345678901234567890123456789012"

// Options of a development server; the zero value works.
type Options struct {
	// Addresses are host:port. Without a host, they are on loopback. Port 0 selects a free port.
	DBProxyAddress, RouterAddress, InboxAddress string
	// AllowRemote permits addresses that are not on loopback. Any client that can connect to them can read and write
	// everything.
	AllowRemote bool
	// Database is an SQLite file. If empty, the database is in memory.
	Database string
	// AESKey is the message key (32 bytes), which only the inbox and Messages use. If empty, it is DevelopmentKey.
	AESKey []byte
	// LaxSQL truncates values that are too long for their columns.
	LaxSQL bool
	// Faults are there from the start.
	Faults []Fault
	// FaultSeed seeds the choices of faults with a probability.
	FaultSeed uint64
	// Seed fills an empty database; the zero value is DefaultSeed.
	Seed Seed
	Log  logr.Logger

	// Workers is the number of workers that execute db_proxy's requests, in no order. 1 keeps the order. 0 means 48, as in
	// a stock db_proxy.
	Workers int
	// Latency delays every answer.
	Latency time.Duration
	// HeartbeatInterval is the time without traffic from the server after which it sends a heartbeat. 0 means 5 s.
	HeartbeatInterval time.Duration
	// SilenceTimeout is the time after which a connection with a silent peer is closed. 0 means 30 s.
	SilenceTimeout time.Duration
	// Now is the clock of stored rows, replica lag and joining. If nil, it is time.Now.
	Now func() time.Time
}

func (o Options) complete() (Options, error) {
	o.DBProxyAddress = cmp.Or(o.DBProxyAddress, DefaultDBProxyAddress)
	o.RouterAddress = cmp.Or(o.RouterAddress, DefaultRouterAddress)
	o.InboxAddress = cmp.Or(o.InboxAddress, DefaultInboxAddress)
	o.Workers = cmp.Or(o.Workers, 48)
	o.HeartbeatInterval = cmp.Or(o.HeartbeatInterval, 5*time.Second)
	o.SilenceTimeout = cmp.Or(o.SilenceTimeout, 30*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if len(o.AESKey) == 0 {
		o.AESKey = []byte(DevelopmentKey)
	}
	if o.Seed.empty() {
		o.Seed = DefaultSeed()
	}
	if o.Log.GetSink() == nil {
		o.Log = logr.Discard()
	}
	for _, address := range []*string{&o.DBProxyAddress, &o.RouterAddress, &o.InboxAddress} {
		local, err := onLoopback(address)
		if err != nil {
			return o, err
		}
		if !local && !o.AllowRemote {
			return o, fmt.Errorf("address %s is not on loopback: "+
				"any client that can connect to it can read and write everything; "+
				"--allow-remote permits it", *address)
		}
		if !local {
			o.Log.Info("Listening beyond loopback: any client that can connect can read and write everything",
				"address", *address)
		}
	}
	return o, nil
}

// onLoopback puts an address without a host on loopback, and reports whether
// it is there.
func onLoopback(address *string) (bool, error) {
	host, port, err := net.SplitHostPort(*address)
	if err != nil {
		return false, fmt.Errorf("address %q: want host:port: %w", *address, err)
	}
	if host == "" {
		*address = net.JoinHostPort("127.0.0.1", port)
		return true, nil
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback(), nil
}

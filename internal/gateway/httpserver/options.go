// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/spf13/pflag"
)

// Limits of every connection and request.
const (
	// MaxBody is the longest request body, in bytes.
	MaxBody = 1 << 20
	// maxHeaders makes 16 KiB the limit: net/http adds 4 KiB to it. Headers take up to five times as much memory while
	// they arrive, on each of maxConnections.
	maxHeaders = 12 << 10
	// maxConnections limits the connections without a request in flight, and maxConnectionsPerAddress those of one
	// address, which a proxy may share among callers.
	maxConnections           = 1024
	maxConnectionsPerAddress = maxConnections / 4

	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	// placeTimeout is how long a request waits until it may be in flight.
	placeTimeout = 3 * time.Second
	// handleTimeout ends the request's context before writeTimeout would cut the answer.
	handleTimeout = 9 * time.Second
)

// Options configure a Server.
type Options struct {
	// Address is the host:port to listen on.
	Address string
	// CertFile and KeyFile are PEM files. If empty, the server serves plain HTTP.
	CertFile, KeyFile string
	MaxInFlight       int // requests
	// MaxPerCaller limits the requests in flight of one caller. If 0, it is a quarter of MaxInFlight.
	MaxPerCaller int
	// DrainTimeout limits the wait for requests in flight at shutdown. The process has the flag for it.
	DrainTimeout time.Duration

	// prefix of the flags' names, for errors.
	prefix string
}

// Flags adds the options to a flag set, with their defaults. The flags' names begin with prefix.
func (o *Options) Flags(fs *pflag.FlagSet, prefix, address, usage string) {
	o.prefix = prefix
	fs.StringVar(&o.Address, prefix+"bind-address", address, usage)
	fs.StringVar(&o.CertFile, prefix+"tls-cert-file", "", "PEM `file` with the certificate. If empty, serve plain HTTP")
	fs.StringVar(&o.KeyFile, prefix+"tls-key-file", "", "PEM `file` with the certificate's key")
	fs.IntVar(&o.MaxInFlight, prefix+"max-in-flight", 256,
		"limit of requests in flight. Further ones wait for 3 seconds, and then get 503")
	fs.IntVar(&o.MaxPerCaller, prefix+"max-in-flight-per-caller", 0,
		"limit of requests in flight of one caller. Further ones get 429, from receivers 503. "+
			"If 0, a quarter of --"+prefix+"max-in-flight, or all of it with --"+prefix+"auth=None")
}

// Validate returns an error of one line that names the flag to change.
func (o *Options) Validate() error {
	_, port, err := net.SplitHostPort(o.Address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("--%sbind-address must be host:port, not %q", o.prefix, o.Address)
	}
	switch {
	case (o.CertFile == "") != (o.KeyFile == ""):
		return fmt.Errorf("--%[1]stls-cert-file and --%[1]stls-key-file must be set together", o.prefix)
	case o.MaxInFlight < 1:
		return fmt.Errorf("--%smax-in-flight must be at least 1, not %d", o.prefix, o.MaxInFlight)
	case o.MaxPerCaller < 0 || o.MaxPerCaller > o.MaxInFlight:
		return fmt.Errorf("--%[1]smax-in-flight-per-caller must be from 0 to --%[1]smax-in-flight (%[2]d), not %[3]d",
			o.prefix, o.MaxInFlight, o.MaxPerCaller)
	case o.DrainTimeout <= 0:
		return fmt.Errorf("--drain-timeout must be positive, not %s", o.DrainTimeout)
	}
	return nil
}

// perCaller returns MaxPerCaller or its default.
func (o *Options) perCaller() int {
	if o.MaxPerCaller > 0 {
		return o.MaxPerCaller
	}
	return max(1, o.MaxInFlight/4)
}

// Loopback reports whether the server can be reached from this machine or pod only.
func (o *Options) Loopback() bool { return IsLoopback(o.Address) }

// IsLoopback reports whether a host:port is on loopback. A host name does not count: its address may change.
func IsLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && net.ParseIP(host).IsLoopback()
}

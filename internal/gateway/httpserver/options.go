package httpserver

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/spf13/pflag"
)

// Bounds of every request, whatever it is for.
const (
	// MaxBody is the longest request body, in bytes.
	MaxBody = 1 << 20
	// maxHeaders is how long a request's headers may be, in bytes. net/http itself
	// adds 4 KiB to what it is told.
	maxHeaders = 64<<10 - 4<<10
	// maxConnections bounds open connections, idle ones included.
	maxConnections = 4096

	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	// handleTimeout ends what a handler waits for, well before writeTimeout would
	// cut its answer.
	handleTimeout = 9 * time.Second
)

// Options configure a Server.
type Options struct {
	// Address is host:port to listen at.
	Address string
	// CertFile and KeyFile are PEM files, read again when they change; empty: no TLS.
	CertFile, KeyFile string
	// MaxInFlight bounds the requests that are handled at once.
	MaxInFlight int
	// DrainTimeout bounds the wait, at shutdown, for requests in flight.
	DrainTimeout time.Duration
}

// Flags adds the options to a flag set, with their defaults.
func (o *Options) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Address, "address", "127.0.0.1:8400", "`host:port` to listen at")
	fs.StringVar(&o.CertFile, "tls-cert-file", "", "PEM `file` with the certificate to serve; left out: no TLS")
	fs.StringVar(&o.KeyFile, "tls-key-file", "", "PEM `file` with the certificate's key")
	fs.IntVar(&o.MaxInFlight, "max-in-flight", 256, "how many requests are handled at once; those beyond it are answered with 503")
	fs.DurationVar(&o.DrainTimeout, "drain-timeout", 25*time.Second,
		"how long a shutdown waits for requests in flight; below the pod's terminationGracePeriodSeconds")
}

// Validate says in one line what is wrong with the options.
func (o *Options) Validate() error {
	_, port, err := net.SplitHostPort(o.Address)
	if n, bad := strconv.Atoi(port); err != nil || bad != nil || n < 0 || n > 65535 {
		return fmt.Errorf("--address must be host:port, not %q", o.Address)
	}
	switch {
	case (o.CertFile == "") != (o.KeyFile == ""):
		return errors.New("--tls-cert-file and --tls-key-file go together")
	case o.MaxInFlight < 1:
		return fmt.Errorf("--max-in-flight must be at least 1, not %d", o.MaxInFlight)
	case o.DrainTimeout <= 0:
		return fmt.Errorf("--drain-timeout must be positive, not %s", o.DrainTimeout)
	}
	return nil
}

// Loopback reports whether the server can be reached from this machine (or pod)
// alone. A name is not believed: what it stands for may change.
func (o *Options) Loopback() bool {
	host, _, err := net.SplitHostPort(o.Address)
	ip := net.ParseIP(host)
	return err == nil && ip != nil && ip.IsLoopback()
}

package httpserver

import (
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
	// MaxPerCaller bounds those of one caller; 0: a quarter of MaxInFlight.
	MaxPerCaller int
	// DrainTimeout bounds the wait, at shutdown, for requests in flight. It has no
	// flag here: more than the server may be waited for.
	DrainTimeout time.Duration

	// prefix of the flags, by which errors name them.
	prefix string
}

// Flags adds the options to a flag set, with their defaults. The names of the flags
// begin with prefix.
func (o *Options) Flags(fs *pflag.FlagSet, prefix, address, usage string) {
	o.prefix = prefix
	fs.StringVar(&o.Address, prefix+"bind-address", address, usage)
	fs.StringVar(&o.CertFile, prefix+"tls-cert-file", "", "PEM `file` with the certificate to serve; left out: no TLS")
	fs.StringVar(&o.KeyFile, prefix+"tls-key-file", "", "PEM `file` with the certificate's key")
	fs.IntVar(&o.MaxInFlight, prefix+"max-in-flight", 256, "`number` of requests that are handled at once; those beyond it are answered with 503")
	fs.IntVar(&o.MaxPerCaller, prefix+"max-in-flight-per-caller", 0,
		"`number` of them that may be one caller's; those beyond it are answered with 429, by receivers with 503; 0: a quarter of --"+prefix+"max-in-flight, or all where everybody is let in")
}

// Validate says in one line what is wrong with the options.
func (o *Options) Validate() error {
	_, port, err := net.SplitHostPort(o.Address)
	if n, bad := strconv.Atoi(port); err != nil || bad != nil || n < 0 || n > 65535 {
		return fmt.Errorf("--%sbind-address must be host:port, not %q", o.prefix, o.Address)
	}
	switch {
	case (o.CertFile == "") != (o.KeyFile == ""):
		return fmt.Errorf("--%[1]stls-cert-file and --%[1]stls-key-file go together", o.prefix)
	case o.MaxInFlight < 1:
		return fmt.Errorf("--%smax-in-flight must be at least 1, not %d", o.prefix, o.MaxInFlight)
	case o.MaxPerCaller < 0 || o.MaxPerCaller > o.MaxInFlight:
		return fmt.Errorf("--%[1]smax-in-flight-per-caller must be from 0 to --%[1]smax-in-flight, which is %[2]d, not %[3]d", o.prefix, o.MaxInFlight, o.MaxPerCaller)
	case o.DrainTimeout <= 0:
		return fmt.Errorf("--drain-timeout must be positive, not %s", o.DrainTimeout)
	}
	return nil
}

// perCaller is MaxPerCaller with its default.
func (o *Options) perCaller() int {
	if o.MaxPerCaller > 0 {
		return o.MaxPerCaller
	}
	return max(1, o.MaxInFlight/4)
}

// Loopback reports whether the server can be reached from this machine (or pod)
// alone. A name is not believed: what it stands for may change.
func (o *Options) Loopback() bool {
	host, _, err := net.SplitHostPort(o.Address)
	ip := net.ParseIP(host)
	return err == nil && ip != nil && ip.IsLoopback()
}

package app

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/httpserver"
)

// Values of ServingOptions.Auth and GatewayOptions.Mode.
const (
	authKubernetes = "Kubernetes"
	authNone       = "None"
	modeRecord     = "record"
	modeDirect     = "direct"
)

// ServingOptions are what a gateway needs wherever it runs.
type ServingOptions struct {
	// Namespace of requests that name none.
	Namespace string
	HTTP      httpserver.Options
	// Auth is Kubernetes, or None: everybody who reaches the listener, which must
	// be on loopback, is let in.
	Auth string
	// Audiences that tokens must be for; none: the API server's own.
	Audiences []string
	// AppKeys names the Secret of the app_keys, in Namespace; empty: none are taken.
	AppKeys string
	// Wait is how long a request waits for its end where it does not say.
	Wait time.Duration
	// TTL deletes messages this long after they have finished; 0: they are kept.
	TTL time.Duration

	// prefix of the flags, by which errors name them.
	prefix string
}

// flags adds the options to a flag set, with their defaults. The names of the flags
// begin with prefix.
func (o *ServingOptions) flags(fs *pflag.FlagSet, prefix, address, usage string) {
	o.prefix = prefix
	o.HTTP.Flags(fs, prefix, address, usage)
	fs.StringVar(&o.Namespace, prefix+"namespace", podNamespace(),
		"`namespace` of requests that name none, and of the Secret of app keys; the pod's own in a cluster")
	fs.StringVar(&o.Auth, prefix+"auth", authKubernetes,
		"`way` to know who may send: Kubernetes (bearer tokens, and app keys if there are any) or None (whoever reaches --"+prefix+"bind-address, which must then be on loopback)")
	fs.StringSliceVar(&o.Audiences, prefix+"token-audience", nil, "`audience` that bearer tokens must be for; may be repeated; left out: the API server's own")
	fs.StringVar(&o.AppKeys, prefix+"app-keys-secret", "", "`name` of the Secret that maps app keys to namespaces and senders; left out: app keys are not taken")
	fs.DurationVar(&o.Wait, prefix+"wait", 2500*time.Millisecond, "how long a request waits for its delivery where it has no ?wait=")
	fs.DurationVar(&o.TTL, prefix+"message-ttl", 24*time.Hour, "how long finished messages are kept; 0: for good")
}

// validate says in one line what is wrong with the options.
func (o *ServingOptions) validate() error {
	if err := o.HTTP.Validate(); err != nil {
		return err
	}
	switch p := o.prefix; {
	case o.Namespace == "":
		return fmt.Errorf("--%snamespace must not be empty", p)
	case o.Auth != authKubernetes && o.Auth != authNone:
		return fmt.Errorf("--%sauth must be %s or %s, not %q", p, authKubernetes, authNone, o.Auth)
	case o.Auth == authNone && !o.HTTP.Loopback():
		return fmt.Errorf("--%[1]sauth %[2]s needs an --%[1]sbind-address on loopback, such as 127.0.0.1:8400, not %[3]q: whoever reaches it could send", p, authNone, o.HTTP.Address)
	case o.Auth == authNone && (o.AppKeys != "" || len(o.Audiences) > 0):
		return fmt.Errorf("--%[1]sauth %[2]s lets everybody in: leave out --%[1]sapp-keys-secret and --%[1]stoken-audience", p, authNone)
	case o.Wait < 0 || o.Wait > 8*time.Second:
		return fmt.Errorf("--%swait must be from 0 to 8s, not %s", p, o.Wait)
	case o.TTL < 0 || o.TTL > 0 && o.TTL < time.Second:
		return fmt.Errorf("--%smessage-ttl must be 0, or at least 1s, not %s", p, o.TTL)
	}
	return nil
}

// httpOptions are the listener's. Where everybody is let in there is one caller, and
// nobody whom it could starve.
func (o *ServingOptions) httpOptions() httpserver.Options {
	h := o.HTTP
	if o.Auth == authNone && h.MaxPerCaller == 0 {
		h.MaxPerCaller = h.MaxInFlight
	}
	return h
}

// GatewayOptions configure the gateway that stands alone.
type GatewayOptions struct {
	Kubeconfig string
	// Mode is record (messages become TeamTalkMessages) or direct (they go straight
	// to TeamTalk).
	Mode    string
	Serving ServingOptions
	// HealthProbeBindAddress and MetricsBindAddress; "0": not at all.
	HealthProbeBindAddress, MetricsBindAddress string
	// MetricsCertPath holds tls.crt and tls.key for /metrics; empty: beyond loopback a
	// certificate is made, which nobody can verify.
	MetricsCertPath     string
	LogFormat, LogLevel string
}

// Flags adds the options to a flag set, with their defaults.
func (o *GatewayOptions) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Kubeconfig, "kubeconfig", "",
		"kubeconfig `file`; left out: $KUBECONFIG, the pod's service account, or ~/.kube/config")
	fs.StringVar(&o.Mode, "mode", modeRecord,
		"`mode` of sending: record (each message becomes a TeamTalkMessage, which the operator delivers) or direct (straight through db_proxy, without a record)")
	o.Serving.flags(fs, "", "127.0.0.1:8400", "`host:port` to listen at")
	fs.DurationVar(&o.Serving.HTTP.DrainTimeout, "drain-timeout", 25*time.Second,
		"how long a shutdown waits for requests in flight; below the pod's terminationGracePeriodSeconds")
	fs.StringVar(&o.HealthProbeBindAddress, "health-probe-bind-address", ":8081", "`host:port` of /healthz and /readyz, which --bind-address serves, too; 0 turns it off")
	fs.StringVar(&o.MetricsBindAddress, "metrics-bind-address", off,
		"`host:port` of /metrics; 0 turns it off. Beyond loopback it is served by TLS, to those who may get the URL /metrics")
	fs.StringVar(&o.MetricsCertPath, "metrics-cert-path", "",
		"`folder` with tls.crt and tls.key for /metrics, read anew when they change, by which it is served by TLS on loopback, too; left out, a self-signed certificate is made")
	fs.StringVar(&o.LogFormat, "log-format", "json", "`format` of the log: json or text")
	fs.StringVar(&o.LogLevel, "log-level", "info", "`level` of the log: debug, info or error")
}

// Validate says in one line what is wrong with the options.
func (o *GatewayOptions) Validate() error {
	if o.Mode != modeRecord && o.Mode != modeDirect {
		return fmt.Errorf("--mode must be %s or %s, not %q", modeRecord, modeDirect, o.Mode)
	}
	if err := o.Serving.validate(); err != nil {
		return err
	}
	if o.MetricsCertPath != "" {
		if o.MetricsBindAddress == off {
			return errors.New("--metrics-cert-path does nothing without --metrics-bind-address")
		}
		if err := checkCertDir(o.MetricsCertPath); err != nil {
			return err
		}
	}
	return o.logging().validateLog()
}

// metricsSecure tells whether /metrics is served by TLS, to those whom the cluster
// permits: on loopback it is in clear, unless there is a certificate.
func (o *GatewayOptions) metricsSecure() bool {
	if o.MetricsCertPath != "" {
		return true
	}
	host, _, err := net.SplitHostPort(o.MetricsBindAddress)
	ip := net.ParseIP(host)
	return err != nil || ip == nil || !ip.IsLoopback()
}

// logging are the options of the log alone.
func (o *GatewayOptions) logging() *Options {
	return &Options{LogFormat: o.LogFormat, LogLevel: o.LogLevel}
}

// gatewayPrefix is how the flags of the gateway in the operator's process begin.
const gatewayPrefix = "gateway-"

// gatewayFlags adds the options of the gateway in the operator's process.
func (o *Options) gatewayFlags(fs *pflag.FlagSet) {
	o.Gateway.flags(fs, gatewayPrefix, off,
		"`host:port` where this process serves the HTTP gateway, too, in record mode, and TeamTalkReceivers, whether or not it leads; 0: it does not")
	o.given = func() (names []string) {
		fs.Visit(func(f *pflag.Flag) { names = append(names, f.Name) })
		return names
	}
}

// validateGateway says in one line what is wrong with the options of the gateway in
// the operator's process.
func (o *Options) validateGateway() error {
	if o.servesGateway() {
		o.Gateway.HTTP.DrainTimeout = o.DrainTimeout / 2 // see parts.drain
		return o.Gateway.validate()
	}
	if o.given == nil {
		return nil
	}
	for _, name := range o.given() {
		if strings.HasPrefix(name, gatewayPrefix) && name != gatewayPrefix+"bind-address" {
			return errors.New("--" + name + " does nothing without --" + gatewayPrefix + "bind-address")
		}
	}
	return nil
}

func (o *Options) servesGateway() bool {
	return o.Gateway.HTTP.Address != "" && o.Gateway.HTTP.Address != off
}

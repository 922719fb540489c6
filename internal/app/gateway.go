package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/access"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/direct"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/httpserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/legacy"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/record"
	"github.com/teamtalk-io/teamtalk-operator/internal/objectwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/wake"
)

// Values of GatewayOptions.Auth and Mode.
const (
	authKubernetes = "Kubernetes"
	authNone       = "None"
	modeRecord     = "record"
	modeDirect     = "direct"
)

// GatewayOptions configure the gateway that stands alone.
type GatewayOptions struct {
	Kubeconfig string
	// Namespace of requests that name none.
	Namespace string
	HTTP      httpserver.Options
	// Mode is record (messages become TeamTalkMessages) or direct (they go straight
	// to TeamTalk).
	Mode string
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
	// HealthAddress and MetricsAddress; "0": not at all.
	HealthAddress, MetricsAddress string
	LogFormat, LogLevel           string
}

// Flags adds the options to a flag set, with their defaults.
func (o *GatewayOptions) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Kubeconfig, "kubeconfig", "",
		"kubeconfig `file`; left out: $KUBECONFIG, the pod's service account, or ~/.kube/config")
	fs.StringVar(&o.Namespace, "namespace", defaultLeaseNamespace(),
		"`namespace` of requests that name none, and of the Secret of app keys; the pod's own in a cluster")
	fs.StringVar(&o.Mode, "mode", modeRecord,
		"how messages are sent: `record` (each becomes a TeamTalkMessage, which the operator delivers) or direct (straight through db_proxy, without a record)")
	o.HTTP.Flags(fs)
	fs.StringVar(&o.Auth, "auth", authKubernetes,
		"who may send: `Kubernetes` (bearer tokens, and app keys if there are any) or None (whoever reaches --address, which must then be on loopback)")
	fs.StringSliceVar(&o.Audiences, "token-audience", nil, "`audience` that bearer tokens must be for; may be repeated; left out: the API server's own")
	fs.StringVar(&o.AppKeys, "app-keys-secret", "", "`name` of the Secret that maps app keys to namespaces and senders; left out: app keys are not taken")
	fs.DurationVar(&o.Wait, "wait", 2500*time.Millisecond, "how long a request waits for its delivery where it has no ?wait=")
	fs.DurationVar(&o.TTL, "message-ttl", 24*time.Hour, "how long finished messages are kept; 0: for good")
	fs.StringVar(&o.HealthAddress, "health-address", ":8081", "`host:port` of /healthz and /readyz, which --address serves, too; 0 turns it off")
	fs.StringVar(&o.MetricsAddress, "metrics-address", "0",
		"`host:port` of /metrics; 0 turns it off. Beyond loopback it is served by TLS, to those who may get the URL /metrics")
	fs.StringVar(&o.LogFormat, "log-format", "json", "`format` of the log: json or text")
	fs.StringVar(&o.LogLevel, "log-level", "info", "`level` of the log: debug, info or error")
}

// Validate says in one line what is wrong with the options.
func (o *GatewayOptions) Validate() error {
	if err := o.HTTP.Validate(); err != nil {
		return err
	}
	switch {
	case o.Namespace == "":
		return errors.New("--namespace must not be empty")
	case o.Mode != modeRecord && o.Mode != modeDirect:
		return fmt.Errorf("--mode must be %s or %s, not %q", modeRecord, modeDirect, o.Mode)
	case o.Auth != authKubernetes && o.Auth != authNone:
		return fmt.Errorf("--auth must be %s or %s, not %q", authKubernetes, authNone, o.Auth)
	case o.Auth == authNone && !o.HTTP.Loopback():
		return fmt.Errorf("--auth %s needs an --address on loopback, such as 127.0.0.1:8400, not %q: whoever reaches it could send", authNone, o.HTTP.Address)
	case o.Auth == authNone && (o.AppKeys != "" || len(o.Audiences) > 0):
		return fmt.Errorf("--auth %s lets everybody in: leave out --app-keys-secret and --token-audience", authNone)
	case o.Wait < 0 || o.Wait > 8*time.Second:
		return fmt.Errorf("--wait must be from 0 to 8s, not %s", o.Wait)
	case o.TTL < 0 || o.TTL > 0 && o.TTL < time.Second:
		return fmt.Errorf("--message-ttl must be 0, or at least 1s, not %s", o.TTL)
	}
	return o.logging().validateLog()
}

// logging are the options of the log alone.
func (o *GatewayOptions) logging() *Options {
	return &Options{LogFormat: o.LogFormat, LogLevel: o.LogLevel}
}

// RunGateway serves the gateway until ctx is done, then answers what is in flight. It
// returns an error for what keeps it from running.
func RunGateway(ctx context.Context, o GatewayOptions) error {
	log, err := newLogger(*o.logging())
	if err != nil {
		return err
	}
	cfg, err := restConfig(o.Kubeconfig)
	if err != nil {
		return err
	}
	mgr, err := newGatewayManager(cfg, o, log)
	if err != nil {
		return err
	}
	s := httpserver.New(o.HTTP, log.WithName("gateway"))
	drain, err := wireGateway(mgr, s, o)
	if err != nil {
		return err
	}
	if _, err := s.Listen(); err != nil {
		return err
	}
	// The manager outlives ctx by the drain: requests in flight need its watches.
	mgrCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	serving, unserve := context.WithCancel(ctx)
	defer unserve()
	ended := make(chan error, 1)
	go func() {
		defer unserve()
		ended <- mgr.Start(mgrCtx)
	}()
	err = s.Start(serving)
	draining, cancel := context.WithTimeout(mgrCtx, o.HTTP.DrainTimeout)
	defer cancel()
	err = errors.Join(err, drain(draining))
	stop()
	if err := errors.Join(err, <-ended); err != nil {
		return fmt.Errorf("the gateway has stopped: %w", err)
	}
	return nil
}

// newGatewayManager returns a manager that leads nothing and caches nothing of itself.
func newGatewayManager(cfg *rest.Config, o GatewayOptions, log logr.Logger) (manager.Manager, error) {
	scheme, err := NewScheme()
	if err != nil {
		return nil, err
	}
	metrics := server.Options{BindAddress: o.MetricsAddress}
	if host, _, err := net.SplitHostPort(o.MetricsAddress); err == nil && !net.ParseIP(host).IsLoopback() {
		metrics.SecureServing = true
		metrics.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: scheme, Logger: log,
		Client: client.Options{Cache: &client.CacheOptions{
			DisableFor: []client.Object{&corev1.Secret{}, &v1alpha1.TeamTalkMessage{}},
		}},
		Metrics:                metrics,
		HealthProbeBindAddress: o.HealthAddress,
	})
	if err != nil {
		return nil, fmt.Errorf("set up the manager: %w", err)
	}
	return mgr, mgr.AddHealthzCheck("ping", healthz.Ping)
}

// wireGateway lists what the gateway serves, and connects it. It returns what ends
// sending, once no more requests come.
func wireGateway(mgr manager.Manager, s *httpserver.Server, o GatewayOptions) (drain func(context.Context) error, err error) {
	guard, err := gatewayGuard(mgr, s, o)
	if err != nil {
		return nil, err
	}
	handlers := &legacy.Handlers{Guard: guard, Wait: o.Wait}
	if o.Mode == modeDirect {
		sender, err := wireDirect(mgr)
		if err != nil {
			return nil, err
		}
		handlers.Sender, handlers.Groups, drain = sender, sender, sender.Drain
	} else {
		sender, err := wireRecord(mgr, o)
		if err != nil {
			return nil, err
		}
		handlers.Sender, drain = sender, func(context.Context) error { return nil }
		s.Check("messages", func(ctx context.Context) error { return sender.Ready(ctx, o.Namespace) })
	}
	handlers.Mount(s)
	if err := serveReceivers(mgr, s, guard); err != nil {
		return nil, err
	}
	s.Check("caches", func(ctx context.Context) error {
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("they have not synced yet")
		}
		return nil
	})
	return drain, mgr.AddReadyzCheck("gateway", func(r *http.Request) error { return s.Ready(r.Context()) })
}

// wireRecord has messages put on record.
func wireRecord(mgr manager.Manager, o GatewayOptions) (*record.Sender, error) {
	open := func(opts cache.Options) (cache.Cache, error) {
		opts.Scheme, opts.Mapper, opts.HTTPClient = mgr.GetScheme(), mgr.GetRESTMapper(), mgr.GetHTTPClient()
		return cache.New(mgr.GetConfig(), opts)
	}
	sender, err := record.New(mgr.GetClient(), open, record.Options{TTL: o.TTL}, mgr.GetLogger().WithName("gateway"))
	if err != nil {
		return nil, fmt.Errorf("set up the gateway: %w", err)
	}
	return sender, mgr.Add(sender)
}

// wireDirect has messages sent from here.
func wireDirect(mgr manager.Manager) (*direct.Sender, error) {
	clients, err := kubernetes.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("set up the API client: %w", err)
	}
	awake := &wake.Source{}
	ignore := func(types.NamespacedName) {} // requests wait on the session itself
	open := func() error { return nil }     // no Lease: one process sends for one TeamTalk
	servers := &direct.Servers{
		Client:   mgr.GetClient(),
		Sessions: connection.NewManager(mgr.GetLogger().WithName("connection"), open, connection.Events{Connection: ignore, Usable: ignore}),
		Secrets:  objectwatch.New(clients.CoreV1().RESTClient(), "secrets", &corev1.Secret{}, awake.Wake),
		Wake:     awake,
	}
	sender := direct.New(servers)
	for _, r := range []manager.Runnable{servers.Secrets, servers.Sessions, sender} {
		if err := mgr.Add(r); err != nil {
			return nil, fmt.Errorf("add to the manager: %w", err)
		}
	}
	if err := servers.SetupWithManager(mgr); err != nil {
		return nil, fmt.Errorf("set up the gateway: %w", err)
	}
	return sender, nil
}

// gatewayGuard decides who may send.
func gatewayGuard(mgr manager.Manager, s *httpserver.Server, o GatewayOptions) (*access.Guard, error) {
	guard := &access.Guard{Namespace: o.Namespace}
	if o.Auth == authNone {
		return guard, nil
	}
	var err error
	if guard.Reviewer, err = access.NewReviewer(mgr.GetConfig(), mgr.GetHTTPClient(), o.Audiences); err != nil {
		return nil, err
	}
	if o.AppKeys == "" {
		return guard, nil
	}
	clients, err := kubernetes.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("set up the API client: %w", err)
	}
	keys := access.NewAppKeys(mgr.GetAPIReader(), types.NamespacedName{Namespace: o.Namespace, Name: o.AppKeys}, mgr.GetLogger().WithName("gateway"))
	watcher := objectwatch.New(clients.CoreV1().RESTClient(), "secrets", &corev1.Secret{}, func(types.NamespacedName) { keys.Changed() })
	guard.Keys = keys
	s.Check("app keys", keys.Ready)
	follow := manager.RunnableFunc(func(ctx context.Context) error { return keys.Start(ctx, watcher) })
	return guard, errors.Join(mgr.Add(watcher), mgr.Add(follow))
}

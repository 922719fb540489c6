package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/teamtalk-io/teamtalk-operator/controllers/teamtalkmessage"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/internal/metrics"
	"github.com/teamtalk-io/teamtalk-operator/internal/readreceipt"
	"github.com/teamtalk-io/teamtalk-operator/internal/tracing"
)

// off is the address of what is not served.
const off = "0"

// validateObservation says in one line what is wrong with the options of what
// shows the operator from outside.
func (o *Options) validateObservation() error {
	if o.MetricsCertPath != "" {
		if !o.MetricsSecure {
			return errors.New("--metrics-cert-path needs --metrics-secure: without it /metrics is served in clear")
		}
		if err := checkCertDir(o.MetricsCertPath); err != nil {
			return err
		}
	}
	if err := o.tracing(logr.Discard()).Validate(); err != nil || o.PprofBindAddress == off {
		return err
	}
	host, _, err := net.SplitHostPort(o.PprofBindAddress)
	if err != nil {
		return fmt.Errorf("--pprof-bind-address must be host:port, or 0: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--pprof-bind-address must be a loopback address such as 127.0.0.1:6060, not %q: profiles show memory, keys included", o.PprofBindAddress)
	}
	return nil
}

// checkCertDir says in one line what is wrong with the folder of --metrics-cert-path.
func checkCertDir(dir string) error {
	for _, name := range []string{"tls.crt", "tls.key"} {
		// The server would make a certificate of its own where one is missing.
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("--metrics-cert-path must hold tls.crt and tls.key: %w", err)
		}
	}
	return nil
}

// tracing configures traces.
func (o *Options) tracing(log logr.Logger) tracing.Options {
	return tracing.Options{Endpoint: o.OTLPEndpoint, Ratio: o.TraceSamplingRatio, Service: Name, Log: log}
}

// observe has metrics, and traces if they are wanted, told of what happens, and
// follows what is read. It returns what is to be told of every status that has been
// written.
func observe(ctx context.Context, mgr manager.Manager, o Options, engine *delivery.Engine, sessions *connection.Manager, unread *readreceipt.Tracker, gate *leadership.FencingGate) (func(teamtalkmessage.StatusWrite), error) {
	m, err := measure(engine, sessions, gate)
	if err != nil {
		return nil, err
	}
	unread.Listener = m
	if err := mgr.Add(unread); err != nil {
		return nil, fmt.Errorf("add to the manager: %w", err)
	}
	engine.Observer = delivery.Observers{m, unread}
	counted := recorded(m, mgr.GetLogger().WithName("delivery"))
	wanted := o.tracing(mgr.GetLogger().WithName("tracing"))
	if !wanted.Wanted() {
		return counted, nil
	}
	t, err := tracing.New(ctx, wanted)
	if err != nil {
		return nil, err
	}
	if err := mgr.Add(t); err != nil {
		return nil, fmt.Errorf("add to the manager: %w", err)
	}
	engine.Observer = delivery.Observers{m, unread, t}
	return func(r teamtalkmessage.StatusWrite) {
		counted(r)
		t.Recorded(r.Server, r.Message, r.Began, r.Ended, r.Finished)
	}, nil
}

// measure registers the operator's own metrics, and has them told of what happens.
func measure(engine *delivery.Engine, sessions *connection.Manager, gate *leadership.FencingGate) (*metrics.Metrics, error) {
	m := metrics.New(metrics.Sources{
		Load: engine.Load, Servers: sessions.Stats, Leads: func() bool { return gate.Open() == nil },
	})
	if err := ctrlmetrics.Registry.Register(m); err != nil {
		return nil, fmt.Errorf("register the metrics: %w", err)
	}
	return m, nil
}

// recorded returns what counts, and logs, by every status that has been written.
func recorded(m *metrics.Metrics, log logr.Logger) func(teamtalkmessage.StatusWrite) {
	return func(r teamtalkmessage.StatusWrite) {
		sayEnd(log, r)
		m.RecipientsEnded(r.Server, r.Done)
		if r.Finished {
			m.Finished(r.Server, r.Message, r.Ended)
		}
	}
}

package app

import (
	"bytes"
	stdlog "log"
	"os"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/controllers/teamtalkmessage"
	"github.com/teamtalk-io/teamtalk-operator/internal/metrics"
)

// newLogger makes the process's logger, for the libraries too. The keys of its
// lines are documented in docs/operations.md.
func newLogger(o Options) (logr.Logger, error) {
	level, err := o.level()
	if err != nil {
		return logr.Logger{}, err
	}
	log := zap.New(zap.UseDevMode(o.LogFormat == "text"), zap.Level(level), zap.WriteTo(os.Stderr))
	ctrl.SetLogger(log)
	klog.SetLogger(log.WithName("client-go"))
	// HTTP servers say there what their clients did wrong.
	stdlog.SetFlags(0)
	stdlog.SetOutput(lines{log.WithName("net-http")})
	return log, nil
}

// lines logs what is written to it, which is one line at a time.
type lines struct{ log logr.Logger }

// Write implements io.Writer.
func (l lines) Write(b []byte) (int, error) {
	l.log.Info(string(bytes.TrimRight(b, "\n")))
	return len(b), nil
}

// sayEnd logs how a message has ended: at the level info if somebody has not got it.
func sayEnd(log logr.Logger, r teamtalkmessage.Recorded) {
	if !r.Finished {
		return
	}
	m := r.Message
	outcome, reason := metrics.Outcome(m)
	say := log.Info
	if outcome == v1alpha1.ReasonDelivered {
		say = log.V(1).Info
	}
	server := ""
	if r.Server.Name != "" {
		server = r.Server.String()
	}
	say("message finished", "message", m.Namespace+"/"+m.Name, "uid", string(m.UID), "server", server,
		"outcome", outcome, "reason", reason, "recipients", len(m.Status.Recipients))
}

package app

import (
	"bytes"
	"errors"
	stdlog "log"
	"os"

	"github.com/go-logr/logr"
	"go.uber.org/zap/zapcore"
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

// said is an error that the log tells of.
type said struct{ error }

func (s said) Unwrap() error { return s.error }

// Said reports whether the log tells of what has ended the process.
func Said(err error) bool { return errors.As(err, &said{}) }

// lastLine has the log say why the process ends, where all of its lines are JSON. For
// people it is said without a time and a level, by whoever gets the error.
func lastLine(o Options, err error) error {
	if err == nil || o.LogFormat != "json" {
		return err
	}
	// Not where in the code: what went wrong is in the error.
	log := zap.New(zap.UseDevMode(false), zap.WriteTo(os.Stderr), zap.StacktraceLevel(zapcore.PanicLevel))
	log.Error(err, "the process ends")
	return said{err}
}

// lines logs what is written to it, which is one line at a time.
type lines struct{ log logr.Logger }

// Write implements io.Writer.
func (l lines) Write(b []byte) (int, error) {
	l.log.Info(string(bytes.TrimRight(b, "\n")))
	return len(b), nil
}

// sayEnd logs how a message has ended: at the level info if somebody has not got it.
func sayEnd(log logr.Logger, r teamtalkmessage.StatusWrite) {
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

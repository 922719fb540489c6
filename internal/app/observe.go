// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/controllers/teamtalkmessage"
	"github.com/teamtalk-io/teamtalk-operator/controllers/teamtalkschedule"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/internal/metrics"
	"github.com/teamtalk-io/teamtalk-operator/internal/readreceipt"
	"github.com/teamtalk-io/teamtalk-operator/internal/tracing"
)

// statusCallbacks are called for each status of a message that is written, or that the API server has refused.
type statusCallbacks struct {
	written func(teamtalkmessage.StatusWrite)
	refused func(server types.NamespacedName)
	// read is called for each readPolicy that is decided.
	read func(server types.NamespacedName, reason string)
	// scheduled is called for each scheduled time of a TeamTalkSchedule.
	scheduled func(teamtalkschedule.Result)
}

// observe connects metrics, and traces if enabled, to the components that they observe. It returns the callbacks for
// statuses.
func observe(
	ctx context.Context, mgr manager.Manager, o Options, engine *delivery.Engine, sessions *connection.Manager,
	receipts *readreceipt.Tracker, gate *leadership.FencingGate,
) (statusCallbacks, error) {
	m := metrics.New(metrics.Sources{
		Load: engine.Load, Servers: sessions.Stats, Leads: func() bool { return gate.Open() == nil },
	})
	ctrlmetrics.Registry.MustRegister(m)
	receipts.Listener = m
	observers := delivery.Observers{m, receipts}
	log := mgr.GetLogger().WithName("delivery")
	engine.Deleted = func(message types.NamespacedName, uid types.UID, s delivery.Snapshot) {
		logDeleted(log, message, uid, s)
	}
	onStatusWrite := func(w teamtalkmessage.StatusWrite) {
		m.RecipientsEnded(w.Server, w.Done)
		switch {
		case w.Finished && w.Escalation:
			m.EscalationFinished(w.Server, w.Message)
		case w.Finished:
			logFinished(log, w)
			m.Finished(w.Server, w.Message, w.Ended)
		}
	}
	options := o.tracing(mgr.GetLogger().WithName("tracing"))
	callbacks := statusCallbacks{
		written: onStatusWrite, refused: m.StatusRefused, read: m.ReadDecided,
		scheduled: func(r teamtalkschedule.Result) { m.Scheduled(string(r)) },
	}
	if !options.Enabled() {
		engine.Observer = observers
		return callbacks, nil
	}
	tracer, err := tracing.New(ctx, options)
	if err != nil {
		return callbacks, err
	}
	if err := mgr.Add(tracer); err != nil {
		return callbacks, fmt.Errorf("add to the manager: %w", err)
	}
	engine.Observer = append(observers, tracer)
	callbacks.written = func(w teamtalkmessage.StatusWrite) {
		onStatusWrite(w)
		tracer.Recorded(w.Server, w.Message, w.Began, w.Ended, w.Finished)
	}
	return callbacks, nil
}

// logFinished logs the outcome of a message, at level debug if every recipient has it.
func logFinished(log logr.Logger, w teamtalkmessage.StatusWrite) {
	m := w.Message
	outcome, reason := metrics.Outcome(m)
	if outcome == v1alpha1.ReasonDelivered {
		log = log.V(1)
	}
	server := ""
	if w.Server.Name != "" {
		server = w.Server.String()
	}
	log.Info("message finished", "message", m.Namespace+"/"+m.Name, "uid", string(m.UID), "server", server,
		"outcome", outcome, "reason", reason, "recipients", m.Spec.To.Len())
}

// logDeleted logs the progress of a message that was deleted while it was sent. No status shows it.
func logDeleted(log logr.Logger, message types.NamespacedName, uid types.UID, s delivery.Snapshot) {
	stored, inDoubt := 0, 0
	for _, p := range s.Recipients {
		switch p.State {
		case v1alpha1.StateStored, v1alpha1.StateRouted:
			stored++
		case v1alpha1.StateInDoubt, v1alpha1.StateAcknowledged:
			inDoubt++
		}
	}
	log.Info("message deleted while it was sent", "message", message.String(), "uid", string(uid),
		"server", s.ServerKey.String(), "recipients", len(s.Recipients), "stored", stored, "inDoubt", inDoubt)
}

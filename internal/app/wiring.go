// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/teamtalk-io/teamtalk-operator/controllers/teamtalkgroup"
	"github.com/teamtalk-io/teamtalk-operator/controllers/teamtalkmessage"
	"github.com/teamtalk-io/teamtalk-operator/controllers/teamtalkreceiver"
	"github.com/teamtalk-io/teamtalk-operator/controllers/teamtalkschedule"
	"github.com/teamtalk-io/teamtalk-operator/controllers/teamtalkserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/app/gateway"
	"github.com/teamtalk-io/teamtalk-operator/internal/app/process"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/internal/readreceipt"
	"github.com/teamtalk-io/teamtalk-operator/internal/tenancy"
)

// components are the components that the shutdown drains.
type components struct {
	engine *delivery.Engine
	terms  *leadership.TermTracker
	// drainGateway does nothing if this process serves no gateway.
	drainGateway func(timeout time.Duration)
}

// wire creates what runs in the manager, and connects it. identity is that of this process in the Lease.
func wire(ctx context.Context, mgr manager.Manager, o Options, lease types.NamespacedName, identity string,
	gate *leadership.FencingGate,
) (*components, error) {
	live, err := process.LiveClient(mgr)
	if err != nil {
		return nil, err
	}
	recorder, log := mgr.GetEventRecorder(process.Name), mgr.GetLogger()
	caches, err := newCaches(ctx, mgr.GetCache(), log.WithName("caches"), controllerTypes())
	if err != nil {
		return nil, err
	}
	serverWake, sessionWake := &apiwatch.Trigger{}, &apiwatch.Trigger{}
	messageWake := &apiwatch.Trigger{}
	watchLog := log.WithName("apiwatch")
	serverSecrets := apiwatch.NewObjects(live, "Secret", watchLog, serverWake.Wake)
	configMaps := apiwatch.NewObjects(live, "ConfigMap", watchLog, messageWake.Wake)
	receipts := readreceipt.NewTracker()
	engine := delivery.NewEngine(messageWake.Wake)
	engine.Queue.Admits, engine.Queue.Labels = tenancy.Admits(ctx, mgr.GetClient()), tenancy.Labels(ctx, mgr.GetClient())
	groups := &teamtalkgroup.Reconciler{Client: mgr.GetClient(), Engine: engine, Recorder: recorder}
	sessions := connection.NewManager(log.WithName("connection"), o.DBProxy.Limits(), gate.Open, connection.Events{
		Connection: func(server types.NamespacedName) { serverWake.Wake(server); receipts.Reconsider(server) },
		Usable:     sessionWake.Wake, Read: receipts.Notify, Gone: receipts.Forget, Addresses: engine.SetAddresses,
		Group: groups.Changed,
	})
	statuses, err := observe(ctx, mgr, o, engine, sessions, receipts, gate)
	if err != nil {
		return nil, err
	}
	dog := newWatchdog(engine.Probe, mgr.Elected(), gate.Open)
	terms := leadership.NewTermTracker(mgr.GetClient(), live, lease, identity, delivery.PeerPatience)
	claims := leadership.NewClaims(terms, gate.Open)
	groups.Term, groups.Claims, groups.Session = terms.Term, claims, sessionOf(sessions)

	servers := &teamtalkserver.Reconciler{
		Client: mgr.GetClient(), Sessions: sessions, Secrets: serverSecrets, Wake: serverWake, MessageWake: sessionWake,
		Claims: claims, Endpoints: o.Endpoints.Endpoints(), Recorder: recorder,
	}
	messages := &teamtalkmessage.Reconciler{
		Client: mgr.GetClient(), Live: live, Sessions: sessions, Engine: engine, ConfigMaps: configMaps,
		Wake: messageWake, SessionWake: sessionWake, Recorder: recorder, Term: terms, Claims: claims, Receipts: receipts,
		Gate: gate.Open, OnStatusWrite: statuses.written, OnStatusRefused: statuses.refused, OnReadDecided: statuses.read,
	}
	engine.Recorded = messages.ReadRecorded
	err = errors.Join(
		addAll(mgr, terms, serverSecrets, configMaps, sessions, receipts, engine, dog),
		servers.SetupWithManager(mgr), messages.SetupWithManager(ctx, mgr), groups.SetupWithManager(ctx, mgr),
		setUpReceivers(mgr, live, recorder, sessions, watchLog), setUpSchedules(mgr, live, recorder, statuses.scheduled),
		mgr.AddReadyzCheck("caches", caches.Check), mgr.AddHealthzCheck("watchdog", dog.Check),
	)
	if err != nil {
		return nil, fmt.Errorf("set up the manager: %w", err)
	}
	c := &components{engine: engine, terms: terms, drainGateway: func(time.Duration) {}}
	if o.servesGateway() {
		c.drainGateway, err = gateway.InProcess(mgr, o.Gateway)
	}
	return c, err
}

func setUpReceivers(
	mgr manager.Manager, live client.WithWatch, recorder events.EventRecorder, sessions *connection.Manager,
	log logr.Logger,
) error {
	wake := &apiwatch.Trigger{}
	secrets := apiwatch.NewObjects(live, "Secret", log, wake.Wake)
	receivers := &teamtalkreceiver.Reconciler{
		Client: mgr.GetClient(), Live: live, Secrets: secrets, Wake: wake, Recorder: recorder,
		LoginName: loginNames(sessions),
	}
	return errors.Join(addAll(mgr, secrets), receivers.SetupWithManager(mgr))
}

// loginNames returns a function for teamtalkreceiver.Reconciler.LoginName.
func loginNames(sessions *connection.Manager) func(context.Context, types.NamespacedName, uint32) string {
	return func(ctx context.Context, server types.NamespacedName, user uint32) string {
		session, ok := sessions.Get(server)
		if !ok {
			return ""
		}
		path, done, err := session.Path()
		if err != nil {
			return ""
		}
		defer done()
		users, err := path.Users(ctx, user, []uint32{user})
		if err != nil {
			return ""
		}
		return users[user].GetUserRealName()
	}
}

// sessionOf returns a function for teamtalkgroup.Reconciler.Session.
func sessionOf(sessions *connection.Manager) func(types.NamespacedName) (teamtalkgroup.Session, bool) {
	return func(server types.NamespacedName) (teamtalkgroup.Session, bool) {
		session, ok := sessions.Get(server)
		return session, ok
	}
}

func setUpSchedules(
	mgr manager.Manager, live client.WithWatch, recorder events.EventRecorder, onTime func(teamtalkschedule.Result),
) error {
	return (&teamtalkschedule.Reconciler{
		Client: mgr.GetClient(), Live: live, Clock: clock.RealClock{}, Recorder: recorder, OnTime: onTime,
	}).SetupWithManager(mgr)
}

func addAll(mgr manager.Manager, runnables ...manager.Runnable) error {
	for _, r := range runnables {
		if err := mgr.Add(r); err != nil {
			return fmt.Errorf("add to the manager: %w", err)
		}
	}
	return nil
}

// drain stops sending. If all requests are answered in time, it marks the Lease, so that the next leader searches the
// store only for unrecorded messages.
func (c *components) drain(elected <-chan struct{}, timeout time.Duration, log logr.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	// Callers of the gateway wait for messages that this process sends. Half of the time is left for the rest.
	c.drainGateway(timeout / 2)
	select {
	case <-elected:
	default:
		return // a standby has sent nothing
	}
	log.Info("draining: nothing new is sent, what is in flight is recorded")
	deadline, _ := ctx.Deadline()
	unrecorded, err := c.engine.Drain(ctx, time.Until(deadline)*3/4) // the rest of the time is for the mark
	if err != nil {
		log.Error(err, "not drained in time; the next leader searches the store first")
		return
	}
	if err := c.terms.MarkDrained(ctx, unrecorded); err != nil {
		log.Info("drained, but the Lease is not marked; the next leader searches the store first", "reason", err.Error())
		return
	}
	log.Info("drained", "unrecorded", len(unrecorded))
}

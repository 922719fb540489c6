package app

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/teamtalk-io/teamtalk-operator/controllers/teamtalkmessage"
	"github.com/teamtalk-io/teamtalk-operator/controllers/teamtalkreceiver"
	"github.com/teamtalk-io/teamtalk-operator/controllers/teamtalkserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/app/gateway"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/internal/objectwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/readreceipt"
	"github.com/teamtalk-io/teamtalk-operator/internal/wake"
)

// parts are what the shutdown needs.
type parts struct {
	engine *delivery.Engine
	terms  *leadership.TermTracker
	// gateway is nil where this process serves none.
	gateway *gateway.InProcess
}

// wire lists what runs in the manager, and connects it. holder is the name of this
// process on the Lease.
func wire(ctx context.Context, mgr manager.Manager, o Options, lease types.NamespacedName, holder string, gate *leadership.FencingGate) (*parts, error) {
	clients, err := kubernetes.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("set up the API client: %w", err)
	}
	core := clients.CoreV1().RESTClient()
	recorder := mgr.GetEventRecorder(Name)
	known, err := newCaches(ctx, mgr.GetCache(), mgr.GetLogger().WithName("caches"), ofLeaders())
	if err != nil {
		return nil, err
	}

	serverWake, messageWake := &wake.Source{}, &wake.Source{}
	secrets := objectwatch.New(core, "secrets", &corev1.Secret{}, serverWake.Wake)
	configMaps := objectwatch.New(core, "configmaps", &corev1.ConfigMap{}, messageWake.Wake)
	sessionWake := &wake.Source{}
	unread := readreceipt.NewTracker()
	sessions := connection.NewManager(mgr.GetLogger().WithName("connection"), gate.Open,
		connection.Events{Connection: serverWake.Wake, Usable: sessionWake.Wake, Read: unread.Notify, Gone: unread.Forget})
	engine := delivery.NewEngine(messageWake.Wake)
	recorded, err := observe(ctx, mgr, o, engine, sessions, unread, gate)
	if err != nil {
		return nil, err
	}
	dog := newWatchdog(engine.Probe, mgr.Elected(), gate.Open)
	terms := leadership.NewTermTracker(mgr.GetClient(), mgr.GetAPIReader(), lease, holder, delivery.PeerPatience)

	receiverWake := &wake.Source{}
	receiverSecrets := objectwatch.New(core, "secrets", &corev1.Secret{}, receiverWake.Wake)

	for _, r := range []manager.Runnable{terms, secrets, receiverSecrets, configMaps, sessions, engine, dog} {
		if err := mgr.Add(r); err != nil {
			return nil, fmt.Errorf("add to the manager: %w", err)
		}
	}
	servers := &teamtalkserver.Reconciler{
		Client: mgr.GetClient(), Sessions: sessions, Secrets: secrets, Wake: serverWake, Recorder: recorder,
	}
	if err := servers.SetupWithManager(mgr); err != nil {
		return nil, fmt.Errorf("set up the TeamTalkServer controller: %w", err)
	}
	messages := &teamtalkmessage.Reconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Sessions: sessions, Engine: engine, ConfigMaps: configMaps,
		Wake: messageWake, SessionWake: sessionWake, Recorder: recorder, Term: terms,
		OnStatusWrite: recorded,
	}
	if err := messages.SetupWithManager(ctx, mgr); err != nil {
		return nil, fmt.Errorf("set up the TeamTalkMessage controller: %w", err)
	}
	receivers := &teamtalkreceiver.Reconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Secrets: receiverSecrets, Wake: receiverWake, Recorder: recorder,
	}
	if err := receivers.SetupWithManager(mgr); err != nil {
		return nil, fmt.Errorf("set up the TeamTalkReceiver controller: %w", err)
	}
	// A standby is ready, too, where it has read all that a leader works with.
	if err := mgr.AddReadyzCheck("caches", known.Check); err != nil {
		return nil, err
	}
	if err := mgr.AddHealthzCheck("watchdog", dog.Check); err != nil {
		return nil, err
	}
	p := &parts{engine: engine, terms: terms}
	if o.servesGateway() {
		if p.gateway, err = gateway.NewInProcess(mgr, o.Gateway); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// drain ends what this process sends. Where everything is recorded in time, the
// Lease says so, and the next leader need not ask the store first.
func (p *parts) drain(elected <-chan struct{}, timeout time.Duration, log logr.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	// The requests of the gateway's callers wait for messages that are sent here, as
	// long as this one leads: that must leave time enough for what follows.
	p.gateway.Drain(timeout / 2)
	select {
	case <-elected:
	default:
		// A standby has sent nothing, and the Lease is not its own.
		return
	}
	log.Info("draining: nothing new is sent, what is in flight is recorded")
	if err := p.engine.Drain(ctx); err != nil {
		log.Error(err, "not drained in time; the next leader asks the store first")
		return
	}
	if err := p.terms.MarkDrained(ctx); err != nil {
		log.Info("drained, but the Lease is not marked; the next leader asks the store first", "reason", err.Error())
		return
	}
	log.Info("drained")
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// Times that the scenarios' TeamTalkServer declares. The proxies keep to them.
const (
	settle = 3 * time.Second
	lag    = 2 * time.Second
)

// world is the state of one scenario.
type world struct {
	scenario
	id        string // names the run in every text
	size      int    // how many messages it is to send, at least
	cluster   *cluster
	namespace string
	// elsewhere are other namespaces with TeamTalkServers.
	elsewhere []string
	*target
	db, route *faultproxy.Proxy
	peer      *peer
	began     time.Time
	// settled: every message is finished.
	settled bool
	// leader is the first operator; operators are all that were started.
	leader    *operator
	operators []*operator

	mu       sync.Mutex
	messages []*message
	counters []func() int
	// segments is into how many segments each text is split; below 2: it is not. fan is to
	// how many users each message goes; below 2: to one user or group.
	segments, fan int
	// onlyGroups sends to groups alone, few to so many users alone.
	onlyGroups bool
	few        int
	// inOrder: messages are declared one after the other, and stored in that order.
	inOrder bool
	// deal, where set, makes of a message what the scenario is about, and shape of its resource.
	deal  func(*message)
	shape func(*message, *v1alpha1.TeamTalkMessage)
	// misdirect chooses messages that are first declared to a user who does not exist.
	misdirect func(*message) bool
	// unrouted are messages whose announcement the proxy has lost.
	unrouted map[piece]bool
	// foreign are the rows, by id, that the scenario has written itself.
	foreign map[recipient]map[uint32]bool
	// early is how many pieces were sent before their time; odd is what else was wrong.
	early int
	odd   []string
	wire  *onWire
}

// setup gives a scenario its proxies, namespace and server. Without op it starts an operator of its own.
func (w *world) setup(ctx context.Context, op *operator) {
	w.began, w.unrouted, w.foreign = time.Now(), map[piece]bool{}, map[recipient]map[uint32]bool{}
	w.wire = &onWire{world: w, by: map[*faultproxy.Conn]map[piece]bool{}}
	w.db = framework.MustGet(faultproxy.Start(ctx, w.dbProxy))
	w.route = framework.MustGet(faultproxy.Start(ctx, w.router))
	w.route.OnPass(w.wire.passed)
	w.peer = listen(ctx, w)
	w.warmUp(ctx)
	admin := w.cluster.admin
	framework.Must(framework.CreateNamespace(ctx, admin, framework.OperatorUser, w.namespace))
	switch w.leader = op; {
	case w.firstBuild != "":
		w.leader = w.startVariant(ctx, w.firstBuild)
	case op == nil:
		w.leader = w.replace(ctx)
	}
	framework.Must(admin.Create(ctx, w.secret(w.keys[0], w.olderKey())))
	framework.Must(admin.Create(ctx, w.server()))
	framework.Must(framework.Await(ctx, "the TeamTalkServer is Ready", framework.ServerReady(admin, w.namespace)))
}

// olderKey is what an earlier scenario may have left rows under, in a TeamTalk of the user's own.
func (w *world) olderKey() string {
	if w.dev == nil {
		return secondKey
	}
	return ""
}

func (w *world) secret(current, previous string) *corev1.Secret {
	s := framework.KeySecret(w.namespace, []byte(current))
	if previous != "" {
		s.Data["aesKey"+v1alpha1.PreviousKeySuffix] = []byte(previous)
	}
	return s
}

func (w *world) server() *v1alpha1.TeamTalkServer {
	seconds := int32(lag / time.Second)
	s := framework.Server(w.namespace, w.db.Addr(), w.route.Addr(), w.sender)
	s.Spec.DBProxy.Connections = 4
	s.Spec.SettleSeconds, s.Spec.MaxReplicaLagSeconds = int32(settle/time.Second), &seconds
	return s
}

func (w *world) start() *operator {
	o := w.cluster.startOperator(w.flags...)
	w.operators = append(w.operators, o)
	return o
}

// leading waits until an operator's term has begun.
func (w *world) leading(ctx context.Context, o *operator) {
	err := o.Await(ctx, "an operator's term has begun", func(context.Context) (string, bool, error) {
		return "no term", strings.Contains(o.log.String(), "term begun"), nil
	})
	log := o.log.String()
	framework.Mustf(err, "%s", log[max(0, len(log)-4000):])
}

// replace starts an operator and waits until it leads.
func (w *world) replace(ctx context.Context) *operator {
	o := w.start()
	w.leading(ctx, o)
	return o
}

// kill ends an operator as a node failure does, at once.
func (w *world) kill(o *operator) {
	_ = o.Signal(syscall.SIGKILL) // it may have ended
	<-o.Ended()
}

func (w *world) teardown(ctx context.Context) error {
	var errs []error
	for _, o := range w.operators {
		errs = append(errs, o.end())
	}
	if w.peer != nil {
		w.peer.stop()
	}
	for _, p := range []*faultproxy.Proxy{w.db, w.route} {
		if p != nil {
			p.Stop()
		}
	}
	if w.target != nil && w.dev != nil {
		w.dev.Stop()
	}
	for _, namespace := range append(w.elsewhere, w.namespace) {
		errs = append(errs, w.cluster.clear(ctx, namespace, !w.settled))
	}
	if w.alone {
		errs = append(errs, w.cluster.forgetLeader(ctx))
	}
	return errors.Join(errs...)
}

// counts adds a count of faults that have really happened.
func (w *world) counts(fired func() int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counters = append(w.counters, fired)
}

// onDB, onRoute put a fault between the operators and db_proxy or the router.
func (w *world) onDB(r faultproxy.Rule) *faultproxy.Armed { return w.arm(w.db, r) }

func (w *world) onRoute(r faultproxy.Rule) *faultproxy.Armed { return w.arm(w.route, r) }

func (w *world) arm(p *faultproxy.Proxy, r faultproxy.Rule) *faultproxy.Armed {
	a := p.Add(r)
	w.counts(a.Fired)
	return a
}

// faults is how many have happened.
func (w *world) faults() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fired := range w.counters {
		n += fired()
	}
	return n
}

// after lets a time pass that a fault is to last.
func after(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
		framework.Must(context.Cause(ctx))
	}
}

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

// These times are in the spec of the scenarios' TeamTalkServer. The proxies keep to them.
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
	// settled is set when every message is finished.
	settled bool
	// leader is the first operator. operators has all that were started.
	leader    *operator
	operators []*operator

	mu       sync.Mutex
	messages []*message
	counters []func() int
	// segments is into how many segments each text is split. Below 2, it is not split. fan is to how many users each
	// message goes. Below 2, it goes to one user or group.
	segments, fan int
	// onlyGroups sends only to groups. few is the number of users if messages go only to some.
	onlyGroups bool
	few        int
	// inOrder is set if messages are declared one after the other, and must be stored in that order.
	inOrder bool
	// deal, if set, changes each message of the scenario, and shape changes its resource.
	deal  func(*message)
	shape func(*message, *v1alpha1.TeamTalkMessage)
	// misdirect chooses messages that are first declared to a user who does not exist.
	misdirect func(*message) bool
	// unrouted has messages whose announcement the proxy has dropped.
	unrouted map[piece]bool
	// foreign has the rows, by id, that the scenario has written itself.
	foreign map[recipient]map[uint32]bool
	// early is how many pieces were sent before their time. odd has other errors.
	early int
	odd   []string
	wire  *onWire
}

// setup creates a scenario's proxies, namespace and server. Without op it also starts an operator.
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

// olderKey is a key of rows that an earlier scenario may have left in the user's own TeamTalk.
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

// counts adds a count of faults that have happened.
func (w *world) counts(fired func() int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counters = append(w.counters, fired)
}

// onDB and onRoute add a fault between the operators and db_proxy or the router.
func (w *world) onDB(r faultproxy.Rule) *faultproxy.Armed { return w.arm(w.db, r) }

func (w *world) onRoute(r faultproxy.Rule) *faultproxy.Armed { return w.arm(w.route, r) }

func (w *world) arm(p *faultproxy.Proxy, r faultproxy.Rule) *faultproxy.Armed {
	a := p.Add(r)
	w.counts(a.Fired)
	return a
}

// faults returns how many faults have happened.
func (w *world) faults() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fired := range w.counters {
		n += fired()
	}
	return n
}

// after waits for the duration of a fault.
func after(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
		framework.Must(context.Cause(ctx))
	}
}

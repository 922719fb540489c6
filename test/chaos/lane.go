// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
	"github.com/teamtalk-io/teamtalk-operator/test/framework/controlplane"
)

// user is who the operators are to the API server; leases is where their Lease is.
const (
	user   = "teamtalk-operator"
	leases = "leases"
)

// lane is a Kubernetes of its own: an operator sends every message that it sees,
// so two that are not to share them need two.
type lane struct {
	plane *controlplane.ControlPlane
	admin client.WithWatch
	// seen is what a watch has shown of the messages: asking for them all again and
	// again would be the most that the API server has to do.
	seen   cache.Cache
	cancel context.CancelFunc
	cfg    *rest.Config
	dir    string
	binary string
}

func newLane(ctx context.Context, binary string, log func(string, ...any)) (_ *lane, err error) {
	l := &lane{binary: binary}
	defer func() {
		if err != nil {
			l.stop()
		}
	}()
	if l.dir, err = os.MkdirTemp("", "teamtalk-chaos-"); err != nil {
		return nil, err
	}
	if l.plane, l.admin, err = framework.StartPlane(ctx, controlplane.Options{Log: log}); err != nil {
		return nil, err
	}
	if err := l.watch(); err != nil {
		return nil, err
	}
	if err := l.admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: leases}}); err != nil {
		return nil, err
	}
	if err := framework.BindOperator(ctx, l.admin, user, leases); err != nil {
		return nil, err
	}
	l.cfg, err = l.plane.User(user)
	return l, err
}

func (l *lane) watch() (err error) {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.seen, err = cache.New(l.plane.Config(), cache.Options{DefaultTransform: cache.TransformStripManagedFields()})
	if err != nil {
		return err
	}
	go func() { _ = l.seen.Start(ctx) }() // ends with the lane
	_, err = l.seen.GetInformer(ctx, &v1alpha1.TeamTalkMessage{})
	return err
}

func (l *lane) stop() {
	if l.cancel != nil {
		l.cancel()
	}
	if l.plane != nil {
		_ = l.plane.Stop() // a folder that stays behind is no result
	}
	_ = os.RemoveAll(l.dir)
}

// clear makes the Kubernetes look as if no operator had been at work in it. What
// is finished stays: nobody looks at it again.
func (l *lane) clear(ctx context.Context, namespace string, all bool) error {
	errs := []error{l.admin.DeleteAllOf(ctx, &v1alpha1.TeamTalkServer{}, client.InNamespace(namespace))}
	if all {
		errs = append(errs, l.admin.DeleteAllOf(ctx, &v1alpha1.TeamTalkMessage{}, client.InNamespace(namespace)))
	}
	return errors.Join(errs...)
}

// forgetLeader removes the Lease: the next operator is the first.
func (l *lane) forgetLeader(ctx context.Context) error {
	return l.admin.DeleteAllOf(ctx, &coordinationv1.Lease{}, client.InNamespace(leases))
}

// operator is one operator process, with its own way to the API server.
type operator struct {
	*framework.Process
	api *apiproxy.Proxy
	log *framework.Log
}

// startOperator starts an operator.
func (l *lane) startOperator(ctx context.Context) (*operator, error) {
	api, err := apiproxy.Start(ctx, l.cfg)
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(l.dir, "kubeconfig-")
	if err != nil {
		return nil, err
	}
	_ = file.Close() // only its name is needed
	if err := framework.WriteKubeconfig(file.Name(), api.Config()); err != nil {
		return nil, err
	}
	o := &operator{api: api, log: &framework.Log{}}
	o.Process, err = framework.Start(l.binary, o.log, "--kubeconfig", file.Name(),
		"--leader-election-namespace", leases, "--health-probe-bind-address", "0", "--metrics-bind-address", "0")
	if err != nil {
		api.Stop()
		return nil, fmt.Errorf("start an operator: %w", err)
	}
	return o, nil
}

// sound returns an error where the operator's log shows that it is broken.
func (o *operator) sound() error {
	log := o.log.String()
	for _, bad := range []string{"DATA RACE", "panic:", "Observed a panic"} {
		if i := strings.Index(log, bad); i >= 0 {
			return fmt.Errorf("an operator's log: %.4000s", log[i:])
		}
	}
	return nil
}

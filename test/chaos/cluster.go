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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
	"github.com/teamtalk-io/teamtalk-operator/test/framework/controlplane"
)

// leases is the namespace of the operators' Lease.
const leases = "leases"

// cluster is a separate Kubernetes API. An operator sends every message that it sees, so two operators with different
// messages need two clusters.
type cluster struct {
	framework.Cleanups
	admin client.WithWatch
	// seen has the messages as a watch has shown them, so that no lists are needed.
	seen   cache.Cache
	cfg    *rest.Config
	plane  *controlplane.ControlPlane
	dir    string
	binary string
}

func newCluster(ctx context.Context, binary string, log func(string, ...any)) *cluster {
	c := &cluster{binary: binary}
	started := false
	defer func() {
		if !started {
			c.Stop()
		}
	}()
	c.dir = framework.MustGet(os.MkdirTemp("", "teamtalk-chaos-"))
	c.Cleanup(func() { _ = os.RemoveAll(c.dir) })
	plane, admin, err := framework.StartPlane(ctx, controlplane.Options{Log: log})
	framework.Must(err)
	c.Cleanup(func() { _ = plane.Stop() }) // a folder that stays behind is no result
	c.admin, c.plane = admin, plane
	options := cache.Options{DefaultTransform: cache.TransformStripManagedFields()}
	c.seen = framework.MustGet(cache.New(plane.Config(), options))
	watching, cancel := context.WithCancel(context.Background())
	c.Cleanup(cancel)
	go func() { _ = c.seen.Start(watching) }() // ends with the cluster
	framework.MustGet(c.seen.GetInformer(watching, &v1alpha1.TeamTalkMessage{}))
	framework.Must(admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: leases}}))
	framework.Must(framework.BindOperator(ctx, admin, framework.OperatorUser, leases))
	c.cfg = framework.MustGet(plane.User(framework.OperatorUser))
	started = true
	return c
}

// clear removes the servers, receivers, schedules and all messages, because the next operator must not work on them.
func (c *cluster) clear(ctx context.Context, namespace string, all bool) error {
	err := errors.Join(c.admin.DeleteAllOf(ctx, &v1alpha1.TeamTalkGroup{}, client.InNamespace(namespace)),
		c.admin.DeleteAllOf(ctx, &v1alpha1.TeamTalkServer{}, client.InNamespace(namespace)),
		c.admin.DeleteAllOf(ctx, &v1alpha1.TeamTalkReceiver{}, client.InNamespace(namespace)),
		c.admin.DeleteAllOf(ctx, &v1alpha1.TeamTalkSchedule{}, client.InNamespace(namespace)))
	if all {
		err = errors.Join(err, c.admin.DeleteAllOf(ctx, &v1alpha1.TeamTalkMessage{}, client.InNamespace(namespace)))
	}
	return err
}

// forgetLeader removes the Lease, so that the next operator is the first one.
func (c *cluster) forgetLeader(ctx context.Context) error {
	return errors.Join(c.admin.DeleteAllOf(ctx, &coordinationv1.Lease{}, client.InNamespace(leases)),
		c.admin.DeleteAllOf(ctx, &coordinationv1.Lease{}, client.InNamespace(otherLeases)))
}

// operator is one operator process, with its own proxy to the API server.
type operator struct {
	*framework.Process
	api *apiproxy.Proxy
	log *framework.Log
}

func (c *cluster) startOperator(flags ...string) *operator {
	return c.startOperatorAs(c.binary, leases, flags...)
}

// allowLease permits operators to have their Lease in another namespace.
func (c *cluster) allowLease(ctx context.Context, namespace string) error {
	err := c.admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return errors.Join(err, framework.BindLease(ctx, c.admin, framework.OperatorUser, namespace))
}

// startOperatorAs starts an operator of a build, with its Lease in a namespace.
func (c *cluster) startOperatorAs(binary, namespace string, flags ...string) *operator {
	o := &operator{api: framework.MustGet(apiproxy.Start(c.cfg)), log: &framework.Log{}}
	file := framework.MustGet(os.CreateTemp(c.dir, "kubeconfig-"))
	_ = file.Close() // only its name is needed
	framework.Must(framework.WriteKubeconfig(file.Name(), o.api.Config()))
	var err error
	args := framework.OperatorArgs(file.Name(), namespace, flags...)
	if o.Process, err = framework.Start(binary, o.log, args...); err != nil {
		o.api.Stop()
		framework.Mustf(err, "start an operator")
	}
	return o
}

// end kills the operator and returns an error if its log shows that it is broken.
func (o *operator) end() error {
	o.Kill()
	o.api.Stop()
	log := o.log.String()
	for _, bad := range []string{"DATA RACE", "panic:", "Observed a panic"} {
		if i := strings.Index(log, bad); i >= 0 {
			return fmt.Errorf("an operator's log: %.4000s", log[i:])
		}
	}
	return nil
}

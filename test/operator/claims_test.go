// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// installation is a second operator of the cluster, with a Lease of its own.
type installation struct {
	*framework.Process
	namespace string
	log       framework.Log
}

// install starts a second operator, which may do for the tenant what the first one may.
func (x *tenant) install(name string) *installation {
	x.Helper()
	i := &installation{namespace: name}
	x.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	x.Must(framework.BindOperator(x.Context(), x.Cluster.Admin, name, name))
	x.Must(framework.GrantNamespace(x.Context(), x.Cluster.Admin, name, x.Namespace))
	kubeconfig, err := x.Cluster.KubeconfigOf(name)
	x.Must(err)
	i.Process, err = x.Cluster.StartOperatorWith(nil, &i.log, "--kubeconfig", kubeconfig, "--leader-election-namespace", name)
	x.Must(err)
	x.Cleanup(i.Kill)
	return i
}

// handsOver waits until the second operator has ended, and the first one may send again.
func (x *tenant) handsOver(i *installation) {
	x.Helper()
	ctx, cancel := context.WithTimeout(x.Context(), framework.Timeout)
	defer cancel()
	if err := i.Stop(ctx); err != nil {
		x.Fatalf("%v; it said: %s", err, i.log.String())
	}
	x.awaitManager(framework.LeaseNamespace)
}

// awaitManager waits until the operator with the Lease of a namespace manages the server.
func (x *tenant) awaitManager(namespace string) {
	x.Helper()
	x.AwaitServer("managed by "+namespace, func(s *v1alpha1.TeamTalkServer) bool {
		return s.Status.ManagedBy != nil && s.Status.ManagedBy.LeaseNamespace == namespace
	})
}

// declareMany declares numbered messages to two users, and returns their texts.
func (x *tenant) declareMany(name string, n int) (messages []*v1alpha1.TeamTalkMessage, texts []string) {
	x.Helper()
	for number := range n {
		to := []uint32{x.Alice, x.Bob}[number%2]
		texts = append(texts, fmt.Sprintf("%s %d", name, number))
		messages = append(messages, x.Declare(fmt.Sprintf("%s-%d", name, number), texts[number], toUsers(to)))
	}
	return messages, texts
}

// TestSecondInstallation: of two installations one sends. The other one takes over when that one has ended, as after
// a move to another namespace or under another name.
func TestSecondInstallation(t *testing.T) {
	t.Parallel()
	x := newTenantOf(t, newCluster(t))
	x.Timeout = 3 * framework.Timeout
	x.Deliver("first", "first")
	second := x.install("second-installation")
	x.EventuallySeen(func() string { return "it does not refuse: " + second.log.String() }, func() bool {
		return strings.Contains(second.log.String(), "nothing is sent through a server")
	})
	x.AwaitEvent("default", v1alpha1.ReasonManagedByAnother)
	messages, texts := x.declareMany("beside", 20)
	for _, m := range messages {
		x.checkDelivered(x.AwaitDelivered(m))
	}

	x.StopLeader()
	waiting, moreTexts := x.declareMany("moved", 4)
	x.awaitManager(second.namespace)
	x.Deliver("new", "new") // no other operator has seen it
	for _, m := range waiting {
		x.AwaitDelivered(m)
	}
	// The first one comes back, with a Lease that was handed over in order.
	x.StartLeader()
	messages, lastTexts := x.declareMany("back", 6)
	for _, m := range messages {
		x.checkDelivered(x.AwaitDelivered(m))
	}
	x.awaitManager(second.namespace)
	x.handsOver(second)
	x.Deliver("last", "last")
	x.checkOnce(append(append(append(texts, moreTexts...), lastTexts...), "first", "new", "last")...)
	x.CheckRows(33)
}

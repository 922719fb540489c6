// SPDX-License-Identifier: Apache-2.0

// Package operator tests the whole path of a message with nothing faked: a real
// kube-apiserver and etcd, the operator's binary as a process with the rights of its
// role, and teamtalk-dev.
package operator

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// world is what all tests of this package share. Each test has a tenant of its own.
var world *framework.Cluster

// secretText is sent by some test. The operator must not write it anywhere.
const secretText = "Code freeze starts Monday"

type (
	storedMessage = devserver.StoredMessage
	messageEdit   = func(*v1alpha1.TeamTalkMessage)
)

func TestMain(m *testing.M) {
	framework.Suite{
		Parallel: 16, // up to eight have, or wait for, a cluster of their own
		Setup: func(_ context.Context, c *framework.Cluster) error {
			world = c
			return c.StartLeader()
		},
		Secrets: map[string]string{"a message's text": secretText},
		Health:  []string{"TeamTalkMessage", "TeamTalkServer", "TeamTalkSchedule", "TeamTalkGroup"},
		// Of ManagedByAnother the events are seen: the other operator's status replaces it. Package hostile shows the others.
		HealthExceptions: []string{
			v1alpha1.ReasonManagedByAnother, v1alpha1.ReasonEndpointNotPermitted, v1alpha1.ReasonConnectionLimit,
		},
	}.RunTests(m)
}

// tenant is a framework.Tenant with what the tests of this package do to it.
type tenant struct {
	*framework.Tenant
	// owner has the server that a tenant without its own uses.
	owner *tenant
}

// newTenant is a tenant without a server.
func newTenant(t testing.TB) *tenant {
	t.Helper()
	return newTenantIn(t, world, world.TeamTalk)
}

func newTenantIn(t testing.TB, c *framework.Cluster, teamtalk *devserver.Server) *tenant {
	t.Helper()
	x := &tenant{Tenant: c.NewTenant(t, teamtalk)}
	x.GrantOperator()
	return x
}

// newCluster starts a cluster with a leader for one test. What takes long in it, such as a takeover, delays no other
// test. What is quick, such as a shutdown in order, costs less in the shared cluster.
func newCluster(t *testing.T, flags ...string) *framework.Cluster {
	t.Helper()
	c := world.Another(t)
	if err := c.StartLeader(flags...); err != nil {
		t.Fatal(err)
	}
	return c
}

func newTenantWithServer(t testing.TB, edits ...func(*v1alpha1.TeamTalkServer)) *tenant {
	t.Helper()
	x := newTenant(t)
	x.CreateServer(edits...)
	return x
}

// newTenantWithTeamTalk has a server and a TeamTalk whose faults affect no other test.
func newTenantWithTeamTalk(t testing.TB, edits ...func(*v1alpha1.TeamTalkServer)) *tenant {
	t.Helper()
	return newTenantOf(t, world, edits...)
}

// newTenantOf is newTenantWithTeamTalk in a cluster.
func newTenantOf(t testing.TB, c *framework.Cluster, edits ...func(*v1alpha1.TeamTalkServer)) *tenant {
	t.Helper()
	x := newTenantIn(t, c, framework.TeamTalkFor(t))
	x.CreateServer(edits...)
	return x
}

func selector(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

// configMap creates a ConfigMap, which texts and sounds come from.
func (x *tenant) configMap(name string, data map[string]string, binary map[string][]byte) {
	x.Helper()
	x.Create(&corev1.ConfigMap{ObjectMeta: x.Named(name), Data: data, BinaryData: binary})
}

// hasReason reports whether the Ready condition has the reason.
func hasReason(reason string) func(*v1alpha1.TeamTalkMessage) bool {
	return func(m *v1alpha1.TeamTalkMessage) bool {
		c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
		return c != nil && c.Reason == reason
	}
}

// checkOnce checks that the store holds each of some texts once.
func (x *tenant) checkOnce(texts ...string) {
	x.Helper()
	times := x.rowTexts()
	for _, text := range texts {
		if times[text] != 1 {
			x.Errorf("%q is in the store %d times, want once", text, times[text])
		}
	}
}

func serverIsReady(s *v1alpha1.TeamTalkServer) bool {
	return meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionReady)
}

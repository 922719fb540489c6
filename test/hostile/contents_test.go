// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bufio"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	// manyMessages name a ConfigMap that is missing, each another one.
	manyMessages = 300
	// renewals of the Lease are the clock by which requests are counted: the operator renews it every two seconds.
	renewals = 2
)

// TestMissingContents: messages whose ConfigMaps are missing cost neither goroutines nor requests of their own, whether
// the operator may read ConfigMaps in their namespace or not.
func TestMissingContents(t *testing.T) {
	owner := newTenant(t, framework.TeamTalkFor(t))
	owner.GrantOperator()
	owner.Create(owner.KeySecret(devserver.DevelopmentKey))
	owner.Create(owner.Server(func(s *v1alpha1.TeamTalkServer) { s.Spec.AllowedNamespaces.From = v1alpha1.FromAll }))

	api := newCountedAPI(t)
	addresses, err := framework.FreeAddresses(1)
	owner.Must(err)
	startOperator(t, "--kubeconfig", api.kubeconfig, "--metrics-bind-address", addresses[0], "--metrics-secure=false")
	owner.AwaitServer("Ready", func(s *v1alpha1.TeamTalkServer) bool {
		return meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionReady)
	})
	goroutines := func() int { return int(metric(owner, addresses[0], "go_goroutines")) }

	for _, mayRead := range []bool{false, true} {
		t.Run(fmt.Sprintf("may read %v", mayRead), func(t *testing.T) {
			x := newTenant(t, owner.TeamTalk)
			if mayRead {
				x.GrantOperator()
			}
			before := goroutines()
			for i := range manyMessages {
				x.Declare(fmt.Sprintf("m-%d", i), "", func(m *v1alpha1.TeamTalkMessage) {
					m.Spec.ServerRef = &v1alpha1.ServerReference{Namespace: owner.Namespace, Name: v1alpha1.DefaultServerName}
					ref := v1alpha1.ConfigMapKeyRef{Name: fmt.Sprintf("missing-%d", i), Key: "text"}
					m.Spec.Content = v1alpha1.Content{TextFrom: &v1alpha1.TextSource{ConfigMapKeyRef: ref}}
				})
			}
			for i := range manyMessages {
				x.AwaitMessage(x.Message(fmt.Sprintf("m-%d", i), ""), "waiting for its content", func(m *v1alpha1.TeamTalkMessage) bool {
					ready := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
					return ready != nil && ready.Reason == v1alpha1.ReasonContentNotFound
				})
			}
			// What the messages cost once, when they were created, is over.
			api.awaitRenewals(x, 1)
			requests := api.configMaps.Load()
			api.awaitRenewals(x, renewals)
			requests = api.configMaps.Load() - requests
			more := goroutines() - before
			t.Logf("%d messages: %d goroutines more, %d requests for ConfigMaps in the time of %d renewals of the Lease",
				manyMessages, more, requests, renewals)
			if more > manyMessages/3 {
				t.Errorf("%d goroutines more for %d messages", more, manyMessages)
			}
			if requests > renewals*manyMessages/3 {
				t.Errorf("%d requests for ConfigMaps in the time of %d renewals of the Lease", requests, renewals)
			}
		})
	}
}

// countedAPI is a proxy before the API server that counts the operator's requests.
type countedAPI struct {
	kubeconfig         string
	configMaps, leases atomic.Int64
}

func newCountedAPI(t testing.TB) *countedAPI {
	t.Helper()
	a := &countedAPI{kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	cfg, err := world.Plane.User(framework.OperatorUser)
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := apiproxy.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	proxy.Add(apiproxy.Rule{Match: func(r *http.Request) bool {
		switch {
		case strings.Contains(r.URL.Path, "/configmaps"):
			a.configMaps.Add(1)
		case strings.Contains(r.URL.Path, "/leases/") && r.Method == http.MethodPut:
			a.leases.Add(1)
		}
		return false
	}})
	if err := framework.WriteKubeconfig(a.kubeconfig, proxy.Config()); err != nil {
		t.Fatal(err)
	}
	return a
}

// awaitRenewals waits until the operator has renewed its Lease so many times.
func (a *countedAPI) awaitRenewals(x *framework.Tenant, n int64) {
	x.Helper()
	until := a.leases.Load() + n
	x.Eventually("the Lease is not renewed", func() bool { return a.leases.Load() >= until })
}

// metric returns the value of a metric without labels.
func metric(x *framework.Tenant, address, name string) float64 {
	x.Helper()
	_, body, err := framework.Ask(x.Context(), http.DefaultClient, http.MethodGet, "http://"+address+"/metrics", "")
	x.Must(err)
	for lines := bufio.NewScanner(strings.NewReader(body)); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			x.Must(err)
			return n
		}
	}
	x.Fatalf("there is no metric %s", name)
	return 0
}

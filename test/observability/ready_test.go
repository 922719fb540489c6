// SPDX-License-Identifier: Apache-2.0

package observability

import (
	"context"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// probed is an operator of its own, which is asked how it is.
type probed struct {
	*framework.Process
	*framework.Tenant
	health string
	log    framework.Log
}

// startProbed starts an operator that reaches the API server by cfg.
func startProbed(t *testing.T, cfg *rest.Config, flags ...string) *probed {
	t.Helper()
	p := &probed{Tenant: chat(t)}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	p.Must(framework.WriteKubeconfig(file, cfg))
	addresses, err := framework.FreeAddresses(1)
	p.Must(err)
	p.health = addresses[0]
	p.Process, err = world.StartOperatorWith(nil, &p.log, append([]string{
		"--kubeconfig", file, "--health-probe-bind-address", p.health, "--log-format", "json", "--log-level", "info",
	}, flags...)...)
	p.Must(err)
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("its log:\n%s", p.log.String())
		}
	})
	return p
}

// ready returns what /readyz says, and the check of caches alone.
func (p *probed) ready() (status int, caches string) {
	status, _, err := get(p.Context(), "http://"+p.health+"/readyz", "")
	if err != nil {
		return 0, ""
	}
	_, caches, _ = get(p.Context(), "http://"+p.health+"/readyz/caches", "")
	return status, caches
}

func (p *probed) isReady() bool {
	status, _ := p.ready()
	return status == http.StatusOK
}

// works reports whether all controllers have started.
func (p *probed) works() bool {
	for _, c := range []string{"teamtalkmessage", "teamtalkreceiver", "teamtalkserver"} {
		if !p.says("Starting workers", `"controller":"`+c+`"`) {
			return false
		}
	}
	return true
}

// says reports whether the log has a line with all of these.
func (p *probed) says(all ...string) bool { return says(p.log.String(), all...) }

func says(log string, all ...string) bool {
	return slices.ContainsFunc(strings.Split(log, "\n"), func(line string) bool {
		return !slices.ContainsFunc(all, func(s string) bool { return !strings.Contains(line, s) })
	})
}

// stop ends it as Kubernetes does.
func (p *probed) stop() {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), framework.Timeout)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		p.Errorf("it ends with %v", err)
	}
}

// TestNotReadyWithoutRights: a standby without rights says what it lacks, and is ready once it may.
func TestNotReadyWithoutRights(t *testing.T) {
	const user = "poor"
	x := chat(t)
	cfg, err := world.Plane.User(user)
	x.Must(err)
	subjects := framework.Users(user)
	role := func(kind, name string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
	}
	group, verbs := v1alpha1.GroupVersion.Group, []string{"get", "list", "watch"}
	for _, o := range []client.Object{
		&rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: user},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{group}, Resources: []string{"teamtalkmessages"}, Verbs: verbs}},
		},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: user}, Subjects: subjects, RoleRef: role("ClusterRole", user)},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: user, Namespace: framework.LeaseNamespace}, Subjects: subjects,
			RoleRef: role("Role", "teamtalk-operator-leader-election"),
		},
	} {
		x.Create(o)
	}
	lacks := []string{"Namespace", "TeamTalkGroup", "TeamTalkReceiver", "TeamTalkSchedule", "TeamTalkServer"}
	waits := func() *probed {
		t.Helper()
		p := startProbed(t, cfg)
		p.Eventually("it does not say what it lacks", func() bool {
			status, caches := p.ready()
			return status == http.StatusInternalServerError && strings.Contains(caches, ": "+strings.Join(lacks, ", ")+";")
		})
		for _, kind := range lacks {
			p.Eventually("the log does not say why "+kind+" is not read", func() bool {
				return p.says(`"logger":"caches"`, `"kind":"`+kind+`"`, "forbidden")
			})
		}
		return p
	}
	waits().stop()

	p := waits()
	x.Create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user + "-no-more"}, Subjects: subjects, RoleRef: role("ClusterRole", "teamtalk-operator"),
	})
	p.Eventually("it is not ready though it may read all", p.isReady)
	p.stop()
}

// startProxy starts a proxy for a user with the operator's rights, whose Lease is in its own namespace.
func startProxy(t *testing.T, user string) *apiproxy.Proxy {
	t.Helper()
	x := chat(t)
	x.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: user}})
	x.Must(framework.BindOperator(t.Context(), world.Admin, user, user))
	x.Must(framework.GrantNamespace(t.Context(), world.Admin, user, namespace))
	cfg, err := world.Plane.User(user)
	x.Must(err)
	proxy, err := apiproxy.Start(cfg)
	x.Must(err)
	t.Cleanup(proxy.Stop)
	return proxy
}

// TestReadyIsWarm: a standby that is ready has read the cluster, and stays ready without the API server.
func TestReadyIsWarm(t *testing.T) {
	const user = "warm"
	proxy := startProxy(t, user)
	cfg, err := world.Plane.User(user)
	chat(t).Must(err)
	reads := readsOf(proxy)
	leader := startProbed(t, cfg, "--leader-election-namespace", user)
	leader.Eventually("the first one does not come to work", leader.works)
	standby := startProbed(t, proxy.Config(), "--leader-election-namespace", user)
	standby.Eventually("the standby is not ready", standby.isReady)

	before := reads()
	proxy.SetGone(true)
	standby.Eventually("it does not look for the API server", func() bool { return proxy.Refused() >= 10 })
	if !standby.isReady() {
		t.Error("it is not ready while the API server is away")
	}
	proxy.SetGone(false)

	leader.stop()
	standby.Eventually("the standby does not take over", standby.works)
	after := reads()
	for _, resource := range slices.Sorted(maps.Keys(after)) {
		if before[resource] == 0 {
			t.Errorf("%s are first read when the standby has been elected, so it was not ready before", resource)
		}
	}
	if len(before) != 6 || before["teamtalkmessages"] != 1 {
		t.Errorf("lists as a standby: %v, want six kinds, and messages once", before)
	}
	standby.stop()
}

// readsOf counts the lists of the whole cluster that caches begin with, by resource.
func readsOf(proxy *apiproxy.Proxy) func() map[string]int {
	var mu sync.Mutex
	lists := map[string]int{}
	proxy.Add(apiproxy.Rule{Match: func(r *http.Request) bool {
		q, path := r.URL.Query(), strings.Split(strings.Trim(r.URL.Path, "/"), "/")
		// Of the whole cluster: /api/v1/X or /apis/GROUP/VERSION/X, and its first page or a stream of all objects.
		if r.Method != http.MethodGet || len(path) != map[string]int{"api": 3, "apis": 4}[path[0]] ||
			q.Get("limit") != "500" && q.Get("sendInitialEvents") != "true" || q.Get("continue") != "" {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		lists[path[len(path)-1]]++
		return false // it is only looked at
	}})
	return func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(lists)
	}
}

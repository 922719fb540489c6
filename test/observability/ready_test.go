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
	t      *testing.T
	health string
	log    framework.Log
}

// startProbed starts an operator that reaches the API server by cfg.
func startProbed(t *testing.T, cfg *rest.Config, flags ...string) *probed {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := framework.WriteKubeconfig(file, cfg); err != nil {
		t.Fatal(err)
	}
	addresses, err := framework.FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	p := &probed{t: t, health: addresses[0]}
	p.Process, err = world.StartOperatorWith(nil, &p.log, append([]string{
		"--kubeconfig", file, "--health-probe-bind-address", p.health, "--log-format", "json", "--log-level", "info",
	}, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("its log:\n%s", p.log.String())
		}
	})
	return p
}

// eventually waits until something is so.
func (p *probed) eventually(what string, so func(ctx context.Context) bool) {
	p.t.Helper()
	chat(p.t).Eventually(what, func() bool { return so(p.t.Context()) })
}

// ready returns what /readyz says, and the check of caches alone.
func (p *probed) ready(ctx context.Context) (status int, caches string) {
	status, _, err := get(ctx, "http://"+p.health+"/readyz", "")
	if err != nil {
		return 0, ""
	}
	_, caches, _ = get(ctx, "http://"+p.health+"/readyz/caches", "")
	return status, caches
}

// says reports whether the log has a line with all of these.
func (p *probed) says(all ...string) bool {
	return slices.ContainsFunc(strings.Split(p.log.String(), "\n"), func(line string) bool {
		return !slices.ContainsFunc(all, func(s string) bool { return !strings.Contains(line, s) })
	})
}

// stop ends it as Kubernetes does.
func (p *probed) stop() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), framework.Timeout)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		p.t.Errorf("it ends with %v", err)
	}
}

// TestNotReadyWithoutRights has a standby lack what a leader reads: it is not ready, says
// what it lacks, ends when it is told to, and is ready once it may.
func TestNotReadyWithoutRights(t *testing.T) {
	const user = "poor"
	cfg, err := world.Plane.User(user)
	if err != nil {
		t.Fatal(err)
	}
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
		if err := world.Admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	lacks := []string{"Namespace", "TeamTalkReceiver", "TeamTalkServer"}
	waits := func() *probed {
		t.Helper()
		p := startProbed(t, cfg)
		p.eventually("it does not say what it lacks", func(ctx context.Context) bool {
			status, caches := p.ready(ctx)
			return status == http.StatusInternalServerError && strings.Contains(caches, ": "+strings.Join(lacks, ", ")+";")
		})
		for _, kind := range lacks {
			p.eventually("the log does not say why "+kind+" is not read", func(context.Context) bool {
				return p.says(`"logger":"caches"`, `"kind":"`+kind+`"`, "forbidden")
			})
		}
		return p
	}
	waits().stop()

	p := waits()
	if err := world.Admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user + "-no-more"}, Subjects: subjects, RoleRef: role("ClusterRole", "teamtalk-operator"),
	}); err != nil {
		t.Fatal(err)
	}
	p.eventually("it is not ready though it may read all", func(ctx context.Context) bool {
		status, _ := p.ready(ctx)
		return status == http.StatusOK
	})
	p.stop()
}

// startProxy starts a proxy before the API server for a user with the operator's rights,
// whose Lease is in a namespace of the same name.
func startProxy(t *testing.T, user string) *apiproxy.Proxy {
	t.Helper()
	if err := world.Admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: user}}); err != nil {
		t.Fatal(err)
	}
	if err := framework.BindOperator(t.Context(), world.Admin, user, user); err != nil {
		t.Fatal(err)
	}
	if err := framework.GrantNamespace(t.Context(), world.Admin, user, namespace); err != nil {
		t.Fatal(err)
	}
	cfg, err := world.Plane.User(user)
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := apiproxy.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	return proxy
}

// TestReadyIsWarm has a standby take over: what was said to be ready reads nothing of the
// cluster that it had not read before. While the API server is away it stays ready.
func TestReadyIsWarm(t *testing.T) {
	const user = "warm"
	proxy := startProxy(t, user)
	cfg, err := world.Plane.User(user)
	if err != nil {
		t.Fatal(err)
	}
	reads := readsOf(proxy)
	isReady := func(p *probed) func(context.Context) bool {
		return func(ctx context.Context) bool {
			status, _ := p.ready(ctx)
			return status == http.StatusOK
		}
	}
	works := func(p *probed) func(context.Context) bool {
		return func(context.Context) bool {
			for _, c := range []string{"teamtalkmessage", "teamtalkreceiver", "teamtalkserver"} {
				if !p.says("Starting workers", `"controller":"`+c+`"`) {
					return false
				}
			}
			return true
		}
	}
	leader := startProbed(t, cfg, "--leader-election-namespace", user)
	leader.eventually("the first one does not come to work", works(leader))
	standby := startProbed(t, proxy.Config(), "--leader-election-namespace", user)
	standby.eventually("the standby is not ready", isReady(standby))

	before := reads()
	proxy.SetGone(true)
	standby.eventually("it does not look for the API server", func(context.Context) bool { return proxy.Refused() >= 10 })
	if !isReady(standby)(t.Context()) {
		t.Error("it is not ready while the API server is away")
	}
	proxy.SetGone(false)

	leader.stop()
	standby.eventually("the standby does not take over", works(standby))
	after := reads()
	for _, resource := range slices.Sorted(maps.Keys(after)) {
		if before[resource] == 0 {
			t.Errorf("%s are first read when the standby has been elected, so it was not ready before", resource)
		}
	}
	if len(before) != 4 || before["teamtalkmessages"] != 1 {
		t.Errorf("lists as a standby: %v, want four kinds, and messages once", before)
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

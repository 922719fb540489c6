// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// throughProxy returns the kubeconfig of a proxy before the API server.
func (x *tenant) throughProxy() (*apiproxy.Proxy, string) {
	x.Helper()
	proxy, err := apiproxy.Start(world.Plane.Config())
	x.Must(err)
	x.Cleanup(proxy.Stop)
	kubeconfig := filepath.Join(x.home, "kubeconfig-proxy")
	x.Must(framework.WriteKubeconfig(kubeconfig, proxy.Config()))
	return proxy, kubeconfig
}

func isCreate(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/teamtalkmessages")
}

func isWatch(r *http.Request) bool {
	return r.URL.Query().Get("watch") != "" && strings.HasSuffix(r.URL.Path, "/teamtalkmessages")
}

// TestLostAnswer: the user learns that a message may have been created, and which one.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	proxy, kubeconfig := x.throughProxy()
	proxy.Add(apiproxy.Rule{Match: isCreate, Do: apiproxy.CutAfter, Count: 1})
	send := func(name string) *result {
		return runPlugin(t, x.home, kubeconfig, "", "send", "-n", x.Namespace, "--name", name, "--to-user", text(x.Alice), "Hello")
	}
	send("lost").want(1, "it is not known whether message lost was created", "kubectl get ttm lost -n "+x.Namespace)
	x.AwaitDelivered(x.Message("lost", ""))
	proxy.Add(apiproxy.Rule{Match: isCreate, Do: apiproxy.CutBefore, Count: 1})
	send("cut").want(1, "it is not known whether message cut was created")
	send("cut").want(0, "delivered to")
	x.CheckRows(2)
}

// TestWatchInterrupted: the command goes on when the API server does not answer for a while.
func TestWatchInterrupted(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t, framework.Unreachable)
	proxy, kubeconfig := x.throughProxy()
	cut := proxy.Add(apiproxy.Rule{Match: isWatch, Do: apiproxy.CutBefore, Count: 2})
	x.Declare("waits", "Hello")
	log := &framework.Log{}
	p, err := framework.StartWith([]string{"HOME=" + x.home, "KUBECONFIG=" + kubeconfig}, world.plugin, log,
		"status", "-n", x.Namespace, "waits", "--watch")
	x.Must(err)
	x.Cleanup(p.Kill)
	ctx, cancel := context.WithTimeout(t.Context(), framework.Timeout)
	defer cancel()
	x.Must(cut.Await(ctx, 2))
	s := x.Server()
	x.Get(s)
	s.Spec.DBProxy = x.Server().Spec.DBProxy
	x.Update(s)
	if err := p.AwaitEnd(t); err != nil || !strings.Contains(log.String(), "waits: delivered, 1/1") {
		t.Errorf("%v: %s", err, log.String())
	}
}

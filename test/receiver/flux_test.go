// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// flux is a running notification-controller of Flux. It reads the Alerts and Providers of a tenant's namespace.
type flux struct {
	x       *tenant
	address string
	log     framework.Log
	// posted counts events, each of which has a later time than the one before.
	posted int
}

// fluxController builds the controller on first use, and installs the CRDs that its module has.
var fluxController = sync.OnceValues(func() (string, error) {
	ctx := context.Background()
	binary, err := framework.Tool(ctx, "flux", "notification-controller")
	if err != nil {
		return "", err
	}
	sources, err := framework.ToolSources(ctx, "flux", "github.com/fluxcd/notification-controller")
	if err != nil {
		return "", err
	}
	return binary, framework.InstallCRDs(ctx, world.Admin, filepath.Join(sources, "config", "crd", "bases"))
})

// startFlux starts a controller with objects of its API.
func (x *tenant) startFlux(t *testing.T, objects string) *flux {
	t.Helper()
	binary, err := fluxController()
	x.Must(err)
	decoded, err := framework.Decode([]byte(objects))
	x.Must(err)
	x.Must(framework.Apply(t.Context(), world.Admin, decoded...))
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	x.Must(world.Plane.WriteKubeconfig(kubeconfig))
	f := &flux{x: x, address: x.freeAddress()}
	process, err := framework.StartWith(
		[]string{"KUBECONFIG=" + kubeconfig, "RUNTIME_NAMESPACE=" + x.Namespace}, binary, &f.log,
		"--watch-all-namespaces=false", "--no-cross-namespace-refs", "--events-addr", f.address,
		"--receiverAddr", x.freeAddress(), "--health-addr", x.freeAddress(), "--metrics-addr", "0",
		// It drops a repeated event for this long.
		"--rate-limit-interval", "100ms",
	)
	x.Must(err)
	t.Cleanup(func() {
		process.Kill()
		if t.Failed() {
			t.Logf("Flux's log:\n%s", f.log.String())
		}
	})
	x.Must(process.AwaitListening(t.Context(), f.address))
	// It listens before it has read the objects, and answers with 202 to events that it drops.
	x.Must(process.Await(t.Context(), "it has read Alerts and Providers", func(context.Context) (string, bool, error) {
		log := f.log.String()
		return log, startedWorkers("alert").MatchString(log) && startedWorkers("provider").MatchString(log), nil
	}))
	return f
}

// startedWorkers matches what a controller logs once it has read the objects.
func startedWorkers(controller string) *regexp.Regexp {
	return regexp.MustCompile(`"Starting workers",[^\n]*"controller":"` + controller + `"`)
}

// post posts an event about an object as Flux's controllers do.
func (f *flux) post(object, revision, message string, metadata ...string) {
	f.x.Helper()
	const group = "kustomize.toolkit.fluxcd.io"
	of := map[string]string{group + "/revision": revision}
	for i := 0; i+1 < len(metadata); i += 2 {
		of[group+"/"+metadata[i]] = metadata[i+1]
	}
	f.posted++
	b, err := json.Marshal(map[string]any{
		"involvedObject": map[string]string{
			"apiVersion": group + "/v1", "kind": "Kustomization", "namespace": f.x.Namespace, "name": object,
			"uid": "uid-of-" + object,
		},
		"severity": "error", "reason": "HealthCheckFailed", "message": message, "metadata": of,
		"timestamp":           time.Now().Add(time.Duration(f.posted) * time.Minute).Format(time.RFC3339),
		"reportingController": "kustomize-controller", "reportingInstance": "kustomize-controller-0",
	})
	f.x.Must(err)
	f.x.Eventually("Flux takes no event", func() bool {
		resp, _, err := framework.Ask(f.x.Context(), http.DefaultClient, http.MethodPost, "http://"+f.address+"/",
			string(b), "Content-Type", "application/json")
		f.x.Must(err)
		return resp.StatusCode == http.StatusAccepted
	})
}

// fluxProvider is a way in which Flux sends, and the receiver for it. It sends the events of the object with its name.
type fluxProvider struct {
	name, kind string
	// secret is that of the Provider, if the token is not in the URL.
	secret string
	edit   receiverEdit
}

var fluxProviders = []fluxProvider{
	{"slack", "slack", "", slack},
	{"bearer", "slack", "caller", slack},
	{"rocket", "rocket", "", slack},
	{"signed", "generic-hmac", "caller", withSignature},
	{"headers", "generic", "headers", func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Type = v1alpha1.ReceiverGeneric }},
}

// text is that of an event.
func (p fluxProvider) text(x *tenant, message string) string {
	if strings.HasPrefix(p.kind, "generic") {
		return "[error] Kustomization/" + p.name + " in " + x.Namespace + ": HealthCheckFailed: " + message
	}
	return "kustomization/" + p.name + "." + x.Namespace + "\n" + message + "\nrevision: " + fluxRevision
}

const fluxRevision = "main@sha1:6f1e2d3c"

// startFluxWith creates a receiver for each provider, and starts a controller that sends to them at an address.
func (x *tenant) startFluxWith(t *testing.T, address string, providers []fluxProvider, edits ...receiverEdit) *flux {
	t.Helper()
	x.CreateSecret("headers", map[string]string{"headers": "Authorization: Bearer " + secretToken})
	var objects strings.Builder
	for _, p := range providers {
		x.receiver(p.name, append([]receiverEdit{p.edit}, edits...)...)
		url, secret := x.url(address, p.name)+"/"+secretToken, ""
		if p.secret != "" {
			url, secret = x.url(address, p.name), "secretRef: {name: "+p.secret+"}"
		}
		fmt.Fprintf(&objects, `
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Provider
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  type: %[3]s
  address: %[4]s
  channel: oncall
  timeout: 2m
  %[5]s
---
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Alert
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  providerRef: {name: %[1]s}
  eventSources: [{kind: Kustomization, name: %[1]s}]
---`, p.name, x.Namespace, p.kind, url, secret)
	}
	return x.startFlux(t, objects.String())
}

// TestFlux: the events of Flux arrive once, as readable texts: sent to a gateway, and while none serves.
func TestFlux(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	s := x.serve()
	f := x.startFluxWith(t, s.address, fluxProviders)
	f.postToAll(secretText)
	x.awaitFromAll(secretText)
	s.process.Kill()
	f.postToAll("dependency not ready: shop/db")
	s.start()
	x.awaitFromAll("dependency not ready: shop/db")
	x.awaitAnswered()
	x.checkSettled(2 * len(fluxProviders))
}

// postToAll posts an event for each provider.
func (f *flux) postToAll(message string) {
	f.x.Helper()
	for _, p := range fluxProviders {
		f.post(p.name, fluxRevision, message)
	}
}

// awaitFromAll waits until that event has arrived once from each provider.
func (x *tenant) awaitFromAll(message string) {
	x.Helper()
	for _, p := range fluxProviders {
		x.awaitCount(1, p.text(x, message))
	}
}

// awaitAnswered waits until each of the receivers has answered Flux. A killed process may not have counted its posts.
func (x *tenant) awaitAnswered() {
	x.Helper()
	for _, p := range fluxProviders {
		x.awaitReceiver(p.name, func(r *v1alpha1.TeamTalkReceiver) bool { return r.Status.Counts.Received >= 1 })
	}
}

// TestFluxHearsNothing: what Flux posts again, because an answer was lost or the gateway was killed, arrives once.
func TestFluxHearsNothing(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	s := x.serve()
	front, taken := x.losingAnswers(t, s)
	f := x.startFluxWith(t, front, fluxProviders)
	f.postToAll("unheard")
	x.EventuallySeen(func() string { return fmt.Sprintf("%d answers", taken.Load()) }, func() bool { return taken.Load() >= 2 })
	<-s.process.Ended()
	s.start()
	answers := int32(2 + len(fluxProviders))
	x.EventuallySeen(func() string { return fmt.Sprintf("%d answers, want %d", taken.Load(), answers) },
		func() bool { return taken.Load() >= answers })
	x.awaitFromAll("unheard")
	x.checkSettled(len(fluxProviders))
}

// TestFluxGatewayKilledInAPost: the gateway is killed while it creates messages, which the API server still does.
func TestFluxGatewayKilledInAPost(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	s, api := x.throughProxy(t)
	leave := make(chan struct{})
	held := api.Add(apiproxy.Rule{Match: request("POST", "teamtalkmessages"), Do: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		<-leave
		apiproxy.CutAfter(w, r, next)
	}})
	f := x.startFluxWith(t, s.address, fluxProviders)
	f.postToAll("in the middle")
	x.Must(held.Await(t.Context(), len(fluxProviders)))
	s.process.Kill()
	held.Remove()
	close(leave)
	s.start()
	x.awaitAnswered()
	x.awaitFromAll("in the middle")
	x.checkSettled(len(fluxProviders))
}

// TestFluxRepeats: Flux's Slack messages have their fields in any order. With a key, repeats are one message.
func TestFluxRepeats(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	f := x.startFluxWith(t, world.shared, fluxProviders[:1], func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.DedupKey = `payload.attachments[0].author_name + "/" + payload.attachments[0].text`
	})
	const repeats = 6
	for range repeats {
		f.post("slack", "v1", "again", "cluster", "prod", "region", "eu", "team", "shop")
	}
	x.awaitReceiver("slack", func(r *v1alpha1.TeamTalkReceiver) bool { return r.Status.Counts.Received == repeats })
	x.awaitCount(1, "again", "revision: v1", "cluster: prod", "region: eu", "team: shop")
	f.post("slack", "v1", "something else")
	x.awaitCount(1, "something else")
	x.checkSettled(2)
}

// TestFluxSample: config/samples/receiver-flux.yaml and the objects of Flux in its comment. Only the address, ids and
// the token differ. Repeats with new times are one message.
func TestFluxSample(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile(filepath.Join(world.Root, "config", "samples", "receiver-flux.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	x := newTenant(t)
	content := string(file)
	for from, to := range map[string]string{
		"http://teamtalk-gateway.teamtalk-system.svc:8400/v1/receivers/default/flux": x.url(world.shared, "flux"),
		"namespace: default": "namespace: " + x.Namespace,
		"users: [4]":         fmt.Sprintf("users: [%d]", x.Alice),
		"change-me":          secretToken,
	} {
		if !strings.Contains(content, from) {
			t.Fatalf("the sample has no %s", from)
		}
		content = strings.ReplaceAll(content, from, to)
	}
	objects, err := framework.Decode([]byte(content))
	x.Must(err)
	x.Must(framework.Apply(t.Context(), world.Admin, objects...))
	var comment strings.Builder
	for line := range strings.Lines(content) {
		if line, ok := strings.CutPrefix(line, "#   "); ok {
			comment.WriteString(line)
		}
	}
	f := x.startFlux(t, comment.String())
	for range 3 {
		f.post("web", fluxRevision, "kustomize build failed: no such file")
	}
	x.awaitReceiver("flux", func(r *v1alpha1.TeamTalkReceiver) bool { return r.Status.Counts.Received == 3 })
	x.awaitCount(1, "Kustomization "+x.Namespace+"/web: HealthCheckFailed\nkustomize build failed: no such file")
	f.post("web", fluxRevision, "dependency not ready")
	x.awaitCount(1, "dependency not ready")
	f.post("web", "main@sha1:7a2b", "kustomize build failed: no such file")
	x.awaitCount(2, "kustomize build failed")
	x.checkSettled(3)
}

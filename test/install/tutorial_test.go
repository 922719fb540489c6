// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	texttemplate "text/template"

	sprig "github.com/go-task/slim-sprig/v3"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// tutorial returns the path of a sample of docs/tutorials/alerts.md.
func tutorial(name string) string {
	return filepath.Join(shared.root, "config", "samples", "alerts", name)
}

// readTutorial returns all samples by their names.
func readTutorial(t *testing.T) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(tutorial(""))
	must(t, err)
	files := map[string][]byte{}
	for _, e := range entries {
		b, err := os.ReadFile(tutorial(e.Name()))
		must(t, err)
		files[e.Name()] = b
	}
	return files
}

// TestTutorialPage: the page uses each sample, none that is missing, and shows what render prints.
func TestTutorialPage(t *testing.T) {
	t.Parallel()
	page, files := readPage(t, "tutorials/alerts.md"), readTutorial(t)
	named := regexp.MustCompile(`config/samples/alerts/([a-z-]+\.yaml)`).FindAllStringSubmatch(page, -1)
	for _, n := range named {
		if files[n[1]] == nil {
			t.Errorf("there is no sample %s", n[1])
		}
	}
	for name := range files {
		if !slices.ContainsFunc(named, func(n []string) bool { return n[1] == name }) {
			t.Errorf("the page does not use %s", name)
		}
	}
	payload, err := os.ReadFile(filepath.Join(shared.root, "config", "samples", "receiver-payload.json"))
	must(t, err)
	r := &v1alpha1.TeamTalkReceiver{}
	must(t, yaml.UnmarshalStrict(files["receiver-alertmanager.yaml"], r))
	previews, _, err := receiver.PreviewOf(t.Context(), r, payload)
	must(t, err)
	if len(previews) != 1 || !strings.Contains(page, "\n"+previews[0].Text+"\n") {
		t.Errorf("the page does not show what arrives: %+v", previews)
	}
}

// TestTutorialAddresses: the addresses that tools post to are those of the gateway that the values install, and of
// receivers that it may serve. No receiver is unused.
func TestTutorialAddresses(t *testing.T) {
	t.Parallel()
	rendered, err := template(t, name, "--values", tutorial("operator-values.yaml"))
	must(t, err)
	var gateway corev1.Service
	service := findObject(t, rendered, "Service", namespace, "teamtalk-gateway")
	must(t, runtime.DefaultUnstructuredConverter.FromUnstructured(service.Object, &gateway))
	base := fmt.Sprintf("http://%s.%s.svc:%d/v1/receivers/", gateway.Name, gateway.Namespace, gateway.Spec.Ports[0].Port)
	unused := map[string]bool{}
	for file, content := range readTutorial(t) {
		if !strings.HasPrefix(file, "receiver") {
			continue
		}
		objects, err := framework.Decode(content)
		must(t, err)
		for _, r := range objects {
			unused[r.GetNamespace()+"/"+r.GetName()] = true
			findObject(t, rendered, "RoleBinding", r.GetNamespace(), "teamtalk-gateway-receivers")
			findObject(t, rendered, "RoleBinding", r.GetNamespace(), name+"-secrets")
		}
	}
	known := maps.Clone(unused)
	address, found := regexp.MustCompile(`https?://[^\s"]*receivers[^\s"]*`), 0
	for file, content := range readTutorial(t) {
		for _, url := range address.FindAllString(string(content), -1) {
			found++
			path, ours := strings.CutPrefix(url, base)
			parts := regexp.MustCompile(`^([a-z-]+/[a-z-]+)(?:/\$TEAMTALK_TOKEN|\?(?:access_token|key|token)=\$TEAMTALK_TOKEN)?$`).
				FindStringSubmatch(path)
			if !ours || parts == nil || !known[parts[1]] {
				t.Errorf("%s: nothing is served at %s", file, url)
				continue
			}
			delete(unused, parts[1])
		}
	}
	if found < 6 || len(unused) > 0 {
		t.Errorf("%d addresses, and nothing posts to %v", found, unused)
	}
}

// TestTutorialObjects: the API server accepts the server and the receivers.
func TestTutorialObjects(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	bases := filepath.Join(shared.root, "config", "crd", "bases")
	c.Must(c.plane.InstallCRDs(bases))
	c.createNamespace(namespace)
	c.createNamespace("chat")
	b, err := os.ReadFile(filepath.Join(bases, "teamtalk.io_teamtalkreceivers.yaml"))
	must(t, err)
	crd := &apiextensionsv1.CustomResourceDefinition{}
	must(t, yaml.UnmarshalStrict(b, crd))
	spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	for file, content := range readTutorial(t) {
		if !strings.HasPrefix(file, "receiver") && file != "server.yaml" {
			continue
		}
		objects, err := framework.Decode(content)
		must(t, err)
		for _, o := range objects {
			known := true
			if kind, _, _ := unstructured.NestedString(o.Object, "spec", "type"); kind != "" {
				known = slices.ContainsFunc(spec.Properties["type"].Enum, func(v apiextensionsv1.JSON) bool {
					return string(v.Raw) == fmt.Sprintf("%q", kind)
				})
			}
			err := framework.Apply(t.Context(), c.Cluster.Admin, o)
			if known && err != nil || !known && !apierrors.IsInvalid(err) {
				t.Errorf("%s: %s: %v", file, o.GetName(), err)
			}
		}
	}
}

// TestTutorialArgoCD: the bodies of Argo CD's templates are JSON, whatever a sync says, and show it.
func TestTutorialArgoCD(t *testing.T) {
	t.Parallel()
	cm := &corev1.ConfigMap{}
	must(t, yaml.UnmarshalStrict(readTutorial(t)["argocd-notifications.yaml"], cm))
	const failure = "one or more \"objects\" failed\nto apply"
	app := map[string]any{
		"metadata": map[string]any{"name": "shop", "namespace": "argocd"},
		"status": map[string]any{
			"operationState": map[string]any{"phase": "Failed", "message": failure, "startedAt": "2026-11-30T02:00:00Z"},
			"health":         map[string]any{"status": "Degraded"}, "sync": map[string]any{"revision": "3f2a9c1"},
		},
	}
	settings := map[string]string{}
	must(t, yaml.UnmarshalStrict([]byte(cm.Data["context"]), &settings))
	bodies := 0
	for key, text := range cm.Data {
		if !strings.HasPrefix(key, "template.") {
			continue
		}
		var notification struct {
			Webhook map[string]struct{ Method, Body string }
		}
		must(t, yaml.UnmarshalStrict([]byte(text), &notification))
		for service, webhook := range notification.Webhook {
			bodies++
			if cm.Data["service.webhook."+service] == "" {
				t.Errorf("%s: there is no service %s", key, service)
			}
			parsed, err := texttemplate.New(key).Funcs(sprig.TxtFuncMap()).Parse(webhook.Body)
			must(t, err)
			var body bytes.Buffer
			must(t, parsed.Option("missingkey=error").Execute(&body, map[string]any{"app": app, "context": settings}))
			if !json.Valid(body.Bytes()) {
				t.Errorf("%s: %s posts %s", key, service, body.String())
			}
			if service != "teamtalk" {
				continue
			}
			r := &v1alpha1.TeamTalkReceiver{Spec: v1alpha1.TeamTalkReceiverSpec{
				Type: v1alpha1.ReceiverGeneric, To: v1alpha1.NamedRecipients{Users: []v1alpha1.UserID{3}},
			}}
			previews, _, err := receiver.PreviewOf(t.Context(), r, body.Bytes())
			must(t, err)
			shown := previews[0].Text
			if !strings.Contains(shown, "shop") || strings.Contains(key, "failed") != strings.Contains(shown, failure) {
				t.Errorf("%s shows %q", key, shown)
			}
			t.Logf("%s shows:\n%s", key, shown)
		}
	}
	if bodies != 4 {
		t.Errorf("%d bodies", bodies)
	}
}

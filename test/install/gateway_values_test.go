// SPDX-License-Identifier: Apache-2.0

package install

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestGatewayValues renders the chart with a gateway.
func TestGatewayValues(t *testing.T) {
	t.Parallel()
	checkValues(t, map[string]rendering{
		"a gateway": {name, []string{"--set", "gateway.enabled=true,gateway.namespaces={chat},gateway.tlsSecret=tls,gateway.appKeys=true," +
			"gateway.replicas=4,gateway.extraArgs={--wait=1s},metrics.enabled=false"},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				d := findObject(t, objects, "Deployment", namespace, "teamtalk-gateway")
				wantField(t, d, 4, "spec", "replicas")
				c := containerOf(t, d)
				args, _, _ := unstructured.NestedStringSlice(c, "args")
				mounts, _, _ := unstructured.NestedSlice(c, "volumeMounts")
				at := mounts[0].(map[string]any)["mountPath"].(string)
				for _, flag := range []string{
					"--tls-cert-file=" + at + "/tls.crt", "--tls-key-file=" + at + "/tls.key", "--app-keys-secret=teamtalk-app-keys", "--metrics-bind-address=0", "--wait=1s",
				} {
					if args[0] != "gateway" || !slices.Contains(args, flag) {
						t.Errorf("%s is not in %v", flag, args)
					}
				}
				for _, b := range []string{"chat/teamtalk-gateway", namespace + "/teamtalk-gateway", namespace + "/teamtalk-gateway-app-keys"} {
					in, name, _ := strings.Cut(b, "/")
					wantField(t, findObject(t, objects, "RoleBinding", in, name), name, "roleRef", "name")
				}
				findObject(t, objects, "Role", namespace, "teamtalk-gateway-app-keys")
			}},
		"a gateway that sends directly": {name, []string{"--set", "gateway.enabled=true,gateway.mode=direct,gateway.replicas=1,gateway.namespaces={chat}"},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				wantField(t, findObject(t, objects, "Deployment", namespace, "teamtalk-gateway"), map[string]any{"type": "Recreate"}, "spec", "strategy")
				for _, in := range []string{"chat", namespace} {
					wantField(t, findObject(t, objects, "RoleBinding", in, "teamtalk-gateway-secrets"), name+"-secrets", "roleRef", "name")
				}
				wantIDs(t, objects, "ClusterRoleBinding", "/"+name, "/teamtalk-gateway-auth-delegator", "/teamtalk-gateway-direct")
				for _, o := range objects {
					if o.GetKind() == "RoleBinding" && o.GetName() == "teamtalk-gateway" {
						t.Error("it may create messages, and creates none")
					}
				}
			}},
		"a gateway in the operator": {name, []string{"--set", "gateway.enabled=true,gateway.inOperator=true,gateway.namespaces={chat},gateway.receiverNamespaces={ops}," +
			"gateway.tlsSecret=tls,gateway.appKeys=true,gateway.extraArgs={--wait=1s},metrics.certSecret=cert,metrics.serviceMonitor.enabled=true"},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				wantIDs(t, objects, "Deployment", namespace+"/"+name)
				wantIDs(t, objects, "ServiceAccount", namespace+"/"+name)
				wantIDs(t, objects, "PodDisruptionBudget", namespace+"/"+name)
				wantIDs(t, objects, "NetworkPolicy", namespace+"/"+name)
				wantIDs(t, objects, "ServiceMonitor", namespace+"/"+name)
				wantIDs(t, objects, "ClusterRoleBinding", "/"+name)
				c := container(t, objects)
				args, _, _ := unstructured.NestedStringSlice(c, "args")
				mounts, _, _ := unstructured.NestedSlice(c, "volumeMounts")
				at := mounts[1].(map[string]any)["mountPath"].(string)
				for _, flag := range []string{
					"--gateway-bind-address=:8400", "--gateway-tls-cert-file=" + at + "/tls.crt", "--gateway-tls-key-file=" + at + "/tls.key",
					"--gateway-app-keys-secret=teamtalk-app-keys", "--gateway-wait=1s",
				} {
					if !slices.Contains(args, flag) {
						t.Errorf("%s is not in %v", flag, args)
					}
				}
				for _, b := range []string{"chat/teamtalk-gateway", namespace + "/teamtalk-gateway", "ops/teamtalk-gateway-receivers", namespace + "/teamtalk-gateway-app-keys"} {
					in, binding, _ := strings.Cut(b, "/")
					subjects := []any{map[string]any{"kind": "ServiceAccount", "name": name, "namespace": namespace}}
					wantField(t, findObject(t, objects, "RoleBinding", in, binding), subjects, "subjects")
				}
				service := findObject(t, objects, "Service", namespace, "teamtalk-gateway")
				wantField(t, service, "operator", "spec", "selector", "app.kubernetes.io/component")
				wantField(t, service, []any{map[string]any{"name": "http", "port": 8400, "targetPort": "http"}}, "spec", "ports")
				open := []any{map[string]any{"ports": []any{map[string]any{"port": "metrics"}}}, map[string]any{"ports": []any{map[string]any{"port": "http"}}}}
				wantField(t, findObject(t, objects, "NetworkPolicy", namespace, name), open, "spec", "ingress")
			}},
		"its network, in direct mode": {name, []string{"--set", "gateway.enabled=true,gateway.mode=direct,gateway.replicas=1," +
			"networkPolicy.egress[0].ports[0].port=10600,networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.a=b"},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				from := []any{map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{"a": "b"}}}}
				p := findObject(t, objects, "NetworkPolicy", namespace, "teamtalk-gateway")
				wantField(t, p, []any{"Ingress", "Egress"}, "spec", "policyTypes")
				wantField(t, p, []any{
					map[string]any{"ports": []any{map[string]any{"port": "http"}}},
					map[string]any{"from": from, "ports": []any{map[string]any{"port": "metrics"}}},
				}, "spec", "ingress")
				wantField(t, p, []any{map[string]any{"ports": []any{map[string]any{"port": 10600}}}}, "spec", "egress")
			}},
		"its network, other than the operator's": {name, []string{"--set", "gateway.enabled=true,metrics.enabled=false," +
			"networkPolicy.egress[0].ports[0].port=10600,networkPolicy.gatewayEgress[0].ports[0].port=443"},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				p := findObject(t, objects, "NetworkPolicy", namespace, "teamtalk-gateway")
				wantField(t, p, []any{map[string]any{"ports": []any{map[string]any{"port": 443}}}}, "spec", "egress")
				wantField(t, p, []any{map[string]any{"ports": []any{map[string]any{"port": "http"}}}}, "spec", "ingress")
				wantField(t, findObject(t, objects, "NetworkPolicy", namespace, name), []any{map[string]any{"ports": []any{map[string]any{"port": 10600}}}}, "spec", "egress")
			}},
		"its metrics, with a certificate": {name, []string{"--set", "gateway.enabled=true,gateway.tlsSecret=tls,metrics.certSecret=cert,metrics.serviceMonitor.enabled=true"},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				d := findObject(t, objects, "Deployment", namespace, "teamtalk-gateway")
				c := containerOf(t, d)
				args, _, _ := unstructured.NestedStringSlice(c, "args")
				mounts, _, _ := unstructured.NestedSlice(c, "volumeMounts")
				if len(mounts) != 2 || !slices.Contains(args, "--metrics-cert-path="+mounts[0].(map[string]any)["mountPath"].(string)) {
					t.Fatalf("flags %v, mounts %v", args, mounts)
				}
				wantField(t, d, []any{
					map[string]any{"name": mounts[0].(map[string]any)["name"], "secret": map[string]any{"secretName": "cert"}},
					map[string]any{"name": mounts[1].(map[string]any)["name"], "secret": map[string]any{"secretName": "tls"}},
				}, "spec", "template", "spec", "volumes")
				endpoints, _, _ := unstructured.NestedSlice(findObject(t, objects, "ServiceMonitor", namespace, "teamtalk-gateway").Object, "spec", "endpoints")
				tls := endpoints[0].(map[string]any)["tlsConfig"].(map[string]any)
				// By the name of a Service that there is.
				service := strings.TrimSuffix(tls["serverName"].(string), "."+namespace+".svc")
				findObject(t, objects, "Service", namespace, service)
				if tls["insecureSkipVerify"] != nil || service != "teamtalk-gateway" || tls["ca"] == nil {
					t.Errorf("Prometheus would not check the certificate: %v", tls)
				}
			}},
		"one key, in direct mode": {name, []string{"--set", "gateway.enabled=true,gateway.mode=direct,gateway.replicas=1,gateway.namespaces={ops}," +
			"gateway.secrets[0].namespace=chat,gateway.secrets[0].name=teamtalk"},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				wantField(t, findObject(t, objects, "Role", "chat", "teamtalk-gateway-secrets-by-name"), []any{map[string]any{
					"apiGroups": []any{""}, "resources": []any{"secrets"}, "resourceNames": []any{"teamtalk"}, "verbs": []any{"get", "list", "watch"},
				}}, "rules")
				b := findObject(t, objects, "RoleBinding", "chat", "teamtalk-gateway-secrets-by-name")
				wantField(t, b, []any{map[string]any{"kind": "ServiceAccount", "name": "teamtalk-gateway", "namespace": namespace}}, "subjects")
				wantField(t, b, "teamtalk-gateway-secrets-by-name", "roleRef", "name")
				findObject(t, objects, "RoleBinding", "ops", "teamtalk-gateway-secrets")
				for _, o := range objects {
					if o.GetKind() == "RoleBinding" && o.GetNamespace() == namespace && o.GetName() == "teamtalk-gateway-secrets" {
						t.Error("it may read all Secrets of its own namespace")
					}
				}
			}},
		"receivers by name": {name, slices.Concat(receiversByName, []string{"--set", "gateway.receiverNamespaces={ops}"}),
			func(t *testing.T, objects []*unstructured.Unstructured) {
				rules, _, _ := unstructured.NestedSlice(findObject(t, objects, "Role", "named", "teamtalk-gateway-receivers-by-name").Object, "rules")
				for _, rule := range rules {
					r := rule.(map[string]any)
					if messages := slices.Equal(r["resources"].([]any), []any{"teamtalkmessages"}); !messages && r["resourceNames"] == nil {
						t.Errorf("%v names nothing", r)
					}
				}
				wantField(t, findObject(t, objects, "RoleBinding", "flood", "teamtalk-gateway-receivers-by-name"), "Role", "roleRef", "kind")
				wantField(t, findObject(t, objects, "RoleBinding", "ops", "teamtalk-gateway-receivers"), name+"-receiver", "roleRef", "name")
			}},
	})
}

// receiversByName are the receivers named/alerts, with a Secret, and flood/alerts, with
// flood control.
var receiversByName = []string{
	"--set", "gateway.enabled=true,gateway.receivers[0].namespace=named,gateway.receivers[0].name=alerts,gateway.receivers[0].secret=hook",
	"--set", "gateway.receivers[1].namespace=flood,gateway.receivers[1].name=alerts,gateway.receivers[1].secret=hook,gateway.receivers[1].floodControl=true",
}

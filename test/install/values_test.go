// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestChartRefuses renders the chart with invalid values.
func TestChartRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		want string
	}{
		"an unknown value":                       {[]string{"--set", "replica=3"}, "replica"},
		"an unknown level":                       {[]string{"--set", "log.level=loud"}, "log/level"},
		"an invalid duration":                    {[]string{"--set", "drainTimeout=soon"}, "drainTimeout"},
		"an invalid namespace":                   {[]string{"--set", "access.secrets.namespaces={Chat_1}"}, "access/secrets/namespaces"},
		"a name without a namespace":             {[]string{"--set", "access.secrets.names[0].name=teamtalk"}, "namespace"},
		"no service account":                     {[]string{"--set", "serviceAccount.create=false"}, "serviceAccount.name is needed"},
		"a server without a spec":                {[]string{"--set", "server.create=true"}, "server/spec"},
		"an unknown mode":                        {[]string{"--set", "gateway.mode=both"}, "gateway/mode"},
		"two gateways in direct mode":            {[]string{"--set", "gateway.enabled=true,gateway.mode=direct"}, "gateway/replicas"},
		"direct mode in the operator":            {[]string{"--set", "gateway.mode=direct,gateway.replicas=1,gateway.inOperator=true"}, "gateway/inOperator"},
		"no time to drain":                       {[]string{"--set", "drainTimeout=0s"}, "drainTimeout must be longer than 0s"},
		"too little time to drain":               {[]string{"--set", "drainTimeout=40s"}, "terminationGracePeriodSeconds (40) must be longer than drainTimeout (40s)"},
		"a duration of several units":            {[]string{"--set", "drainTimeout=1m29s1000ms,terminationGracePeriodSeconds=90"}, "must be longer than drainTimeout"},
		"more than all pods":                     {[]string{"--set", "podDisruptionBudget.maxUnavailable=150%"}, "maxUnavailable"},
		"an invalid name":                        {[]string{"--set", "fullnameOverride=My_Op"}, "fullnameOverride"},
		"an invalid chart name":                  {[]string{"--set", "nameOverride=My_Op"}, "nameOverride"},
		"an invalid Secret":                      {[]string{"--set", "metrics.certSecret=My_Cert"}, "certSecret"},
		"a ServiceMonitor without metrics":       {[]string{"--set", "metrics.enabled=false,metrics.serviceMonitor.enabled=true"}, "metrics.serviceMonitor.enabled needs metrics.enabled"},
		"alerts without metrics":                 {[]string{"--set", "metrics.enabled=false,metrics.prometheusRule.enabled=true"}, "metrics.prometheusRule.enabled needs metrics.enabled"},
		"a variable without a name":              {[]string{"--set", "extraEnv[0].value=x"}, "extraEnv"},
		"all messages would be deleted":          {[]string{"--set", "crds.keep=false,crds.install=false"}, "crds.keep=true first"},
		"a release name that is no Service name": {nil, "set fullnameOverride"},
		"keys without direct mode": {
			[]string{"--set", "gateway.enabled=true,gateway.secrets[0].namespace=a,gateway.secrets[0].name=b"}, "gateway.secrets needs gateway.mode=direct",
		},
		"a server before its CRD": {
			[]string{"--set", "server.create=true", "--set", "server.spec.senders.default=1"}, "install with server.create=false first",
		},
	}
	for what, tc := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			release := name
			if what == "a release name that is no Service name" {
				release = "1.chat"
			}
			_, err := template(t, release, tc.args...)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("want an error with %q, got %v", tc.want, err)
			}
		})
	}
}

// TestChartValues renders the chart with values other than the defaults.
func TestChartValues(t *testing.T) {
	t.Parallel()
	checkValues(t, map[string]rendering{
		"another release name": {"chat", []string{"--set", "gateway.enabled=true"}, func(t *testing.T, objects []*unstructured.Unstructured) {
			for _, o := range objects {
				if o.GetKind() != "CustomResourceDefinition" && !strings.HasPrefix(o.GetName(), "chat-teamtalk-operator") &&
					!strings.HasPrefix(o.GetName(), "chat-teamtalk-gateway") {
					t.Errorf("%s %s", o.GetKind(), o.GetName())
				}
			}
			b := findObject(t, objects, "ClusterRoleBinding", "", "chat-teamtalk-operator")
			wantField(t, b, "chat-teamtalk-operator", "roleRef", "name")
			wantField(t, findObject(t, objects, "Deployment", namespace, "chat-teamtalk-operator"), "chat-teamtalk-operator",
				"spec", "template", "spec", "serviceAccountName")
		}},
		"an image": {name, []string{"--set", "image.repository=example.com/x,image.tag=v2,image.digest=sha256:" + strings.Repeat("a", 64)},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				c := container(t, objects)
				if c["image"] != "example.com/x:v2@sha256:"+strings.Repeat("a", 64) {
					t.Errorf("image %v", c["image"])
				}
			}},
		"flags": {name, []string{"--set", "log.level=debug,log.format=text,drainTimeout=10s,extraArgs={--leader-election-namespace=x}"},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				args, _, _ := unstructured.NestedStringSlice(container(t, objects), "args")
				for _, flag := range []string{"--log-level=debug", "--log-format=text", "--drain-timeout=10s", "--leader-election-namespace=x"} {
					if !slices.Contains(args, flag) {
						t.Errorf("%s is not in %v", flag, args)
					}
				}
			}},
		"access to namespaces": {name, []string{"--set", "access.ownNamespace=false,access.secrets.namespaces={chat,ops},access.configMaps.namespaces={ops}"},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				wantIDs(t, objects, "RoleBinding", "chat/"+name+"-secrets", "ops/"+name+"-configmaps", "ops/"+name+"-secrets",
					namespace+"/"+name+"-leader-election")
				wantField(t, findObject(t, objects, "RoleBinding", "chat", name+"-secrets"), name+"-secrets", "roleRef", "name")
			}},
		"access by name": {name, []string{"--set", "access.ownNamespace=false," +
			"access.secrets.names[0].namespace=chat,access.secrets.names[0].name=b,access.secrets.names[1].namespace=chat,access.secrets.names[1].name=a," +
			"access.configMaps.names[0].namespace=ops,access.configMaps.names[0].name=notice"},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				wantIDs(t, objects, "RoleBinding", "chat/"+name+"-secrets-by-name", "ops/"+name+"-configmaps-by-name",
					namespace+"/"+name+"-leader-election")
				rules, _, _ := unstructured.NestedSlice(findObject(t, objects, "Role", "chat", name+"-secrets-by-name").Object, "rules")
				want := []any{map[string]any{
					"apiGroups": []any{""}, "resources": []any{"secrets"}, "resourceNames": []any{"a", "b"}, "verbs": []any{"get", "list", "watch"},
				}}
				if diff := cmp.Diff(want, rules); diff != "" {
					t.Error(diff)
				}
			}},
		"all ConfigMaps": {name, []string{"--set", "access.configMaps.everywhere=true"}, func(t *testing.T, objects []*unstructured.Unstructured) {
			wantIDs(t, objects, "ClusterRoleBinding", "/"+name, "/"+name+"-configmaps")
		}},
		"everything optional disabled": {name,
			[]string{"--set", "crds.install=false,people.roles=false,podDisruptionBudget.enabled=false,networkPolicy.enabled=false," +
				"serviceAccount.create=false,serviceAccount.name=mine,access.ownNamespace=false,metrics.enabled=false"},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				var got []string
				for id, o := range byID(objects) {
					if kind := o.GetKind(); kind != "ClusterRole" && kind != "Role" { // which grant nothing by themselves
						got = append(got, id)
					}
					for label := range o.GetLabels() {
						if strings.Contains(label, "aggregate-to") {
							t.Errorf("%s is added to a role of the cluster", id)
						}
					}
				}
				slices.Sort(got)
				want := []string{
					"ClusterRoleBinding//" + name, "Deployment/" + namespace + "/" + name, "RoleBinding/" + namespace + "/" + name + "-leader-election",
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				subjects, _, _ := unstructured.NestedSlice(findObject(t, objects, "ClusterRoleBinding", "", name).Object, "subjects")
				if subjects[0].(map[string]any)["name"] != "mine" {
					t.Errorf("subjects %v", subjects)
				}
			}},
		"CRDs that are not kept": {name, []string{"--set", "crds.keep=false"}, func(t *testing.T, objects []*unstructured.Unstructured) {
			crd := findObject(t, objects, "CustomResourceDefinition", "", "teamtalkmessages.teamtalk.io")
			if policy, ok := crd.GetAnnotations()["helm.sh/resource-policy"]; ok {
				t.Errorf("the policy is %s", policy)
			}
		}},
		"pods": {name, []string{"--set", "replicas=3,priorityClassName=p,nodeSelector.disk=ssd,podLabels.a=b,podAnnotations.c=d," +
			"tolerations[0].key=t,imagePullSecrets[0].name=pull,affinity.podAffinity.x=y,terminationGracePeriodSeconds=90,resources.limits.memory=1Gi"},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				d := findObject(t, objects, "Deployment", namespace, name)
				wantField(t, d, 3, "spec", "replicas")
				wantField(t, d, "b", "spec", "template", "metadata", "labels", "a")
				wantField(t, d, "d", "spec", "template", "metadata", "annotations", "c")
				wantField(t, d, "p", "spec", "template", "spec", "priorityClassName")
				wantField(t, d, "ssd", "spec", "template", "spec", "nodeSelector", "disk")
				wantField(t, d, []any{map[string]any{"key": "t"}}, "spec", "template", "spec", "tolerations")
				wantField(t, d, []any{map[string]any{"name": "pull"}}, "spec", "template", "spec", "imagePullSecrets")
				wantField(t, d, "y", "spec", "template", "spec", "affinity", "podAffinity", "x")
				wantField(t, d, 90, "spec", "template", "spec", "terminationGracePeriodSeconds")
				limit, _, _ := unstructured.NestedString(container(t, objects), "resources", "limits", "memory")
				if limit != "1Gi" {
					t.Errorf("memory %s", limit)
				}
			}},
		"labels and annotations that the chart sets": {"12", []string{"--set", "fullnameOverride=chat,metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true",
			"--set", "podLabels.app\\.kubernetes\\.io/name=x,podLabels.app\\.kubernetes\\.io/component=x,podLabels.a=b,podAnnotations.kubectl\\.kubernetes\\.io/default-container=sidecar",
			"--set", "metrics.serviceMonitor.labels.app\\.kubernetes\\.io/component=x,metrics.prometheusRule.labels.app\\.kubernetes\\.io/name=x"},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				d := findObject(t, objects, "Deployment", namespace, "chat")
				own := map[string]any{"app.kubernetes.io/name": name, "app.kubernetes.io/instance": "12", "app.kubernetes.io/component": "operator"}
				wantField(t, d, own, "spec", "selector", "matchLabels")
				own["a"] = "b"
				wantField(t, d, own, "spec", "template", "metadata", "labels")
				wantField(t, d, "sidecar", "spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/default-container")
				wantField(t, findObject(t, objects, "ServiceMonitor", namespace, "chat"), "operator", "metadata", "labels", "app.kubernetes.io/component")
				wantField(t, findObject(t, objects, "PrometheusRule", namespace, "chat"), name, "metadata", "labels", "app.kubernetes.io/name")
			}},
		"variables": {name, []string{"--set", "gateway.enabled=true,extraEnv[0].name=OTEL_EXPORTER_OTLP_HEADERS,extraEnv[0].valueFrom.secretKeyRef.name=otlp," +
			"gateway.extraEnv[0].name=GOMEMLIMIT,gateway.extraEnv[0].value=200MiB"},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				of := func(c map[string]any, want ...any) {
					t.Helper()
					if diff := cmp.Diff(want, c["env"]); diff != "" {
						t.Error(diff)
					}
				}
				of(container(t, objects), map[string]any{"name": "OTEL_EXPORTER_OTLP_HEADERS", "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": "otlp"}}})
				of(containerOf(t, findObject(t, objects, "Deployment", namespace, "teamtalk-gateway")), map[string]any{"name": "GOMEMLIMIT", "value": "200MiB"})
			}},
		"spread over zones": {name, []string{"--set", "gateway.enabled=true", "--set-json",
			`topologySpreadConstraints=[{"maxSkew":2,"topologyKey":"zone","whenUnsatisfiable":"DoNotSchedule"},` +
				`{"maxSkew":1,"topologyKey":"host","whenUnsatisfiable":"ScheduleAnyway","labelSelector":{"matchLabels":{"a":"b"}}}]`},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				for deployment, component := range map[string]string{name: "operator", "teamtalk-gateway": "gateway"} {
					wantField(t, findObject(t, objects, "Deployment", namespace, deployment), []any{
						map[string]any{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": map[string]any{"matchLabels": map[string]any{
							"app.kubernetes.io/name": name, "app.kubernetes.io/instance": name, "app.kubernetes.io/component": component,
						}}},
						map[string]any{"maxSkew": 1, "topologyKey": "host", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": map[string]any{"matchLabels": map[string]any{"a": "b"}}},
					}, "spec", "template", "spec", "topologySpreadConstraints")
				}
			}},
		"metrics with a certificate": {name, []string{"--set", "metrics.certSecret=cert,metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.labels.release=p"},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				args, _, _ := unstructured.NestedStringSlice(container(t, objects), "args")
				mounts, _, _ := unstructured.NestedSlice(container(t, objects), "volumeMounts")
				if !slices.Contains(args, "--metrics-cert-path="+mounts[0].(map[string]any)["mountPath"].(string)) {
					t.Errorf("flags %v, mounts %v", args, mounts)
				}
				volume := map[string]any{"name": mounts[0].(map[string]any)["name"], "secret": map[string]any{"secretName": "cert"}}
				wantField(t, findObject(t, objects, "Deployment", namespace, name), []any{volume}, "spec", "template", "spec", "volumes")
				m := findObject(t, objects, "ServiceMonitor", namespace, name)
				wantField(t, m, "p", "metadata", "labels", "release")
				endpoints, _, _ := unstructured.NestedSlice(m.Object, "spec", "endpoints")
				tls := endpoints[0].(map[string]any)["tlsConfig"].(map[string]any)
				if tls["insecureSkipVerify"] != nil || tls["serverName"] != name+"-metrics."+namespace+".svc" {
					t.Errorf("Prometheus would not check the certificate: %v", tls)
				}
			}},
		"no metrics": {name, []string{"--set", "metrics.enabled=false"}, func(t *testing.T, objects []*unstructured.Unstructured) {
			args, _, _ := unstructured.NestedStringSlice(container(t, objects), "args")
			if !slices.Contains(args, "--metrics-bind-address=0") {
				t.Errorf("flags %v", args)
			}
			wantIDs(t, objects, "Service")
			wantField(t, findObject(t, objects, "NetworkPolicy", namespace, name), nil, "spec", "ingress")
		}},
		"metrics for some": {name, []string{"--set", "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.a=b"},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				from := []any{map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{"a": "b"}}}}
				rule := map[string]any{"from": from, "ports": []any{map[string]any{"port": "metrics"}}}
				wantField(t, findObject(t, objects, "NetworkPolicy", namespace, name), []any{rule}, "spec", "ingress")
			}},
		"egress": {name, []string{"--set", "networkPolicy.egress[0].ports[0].port=10600"}, func(t *testing.T, objects []*unstructured.Unstructured) {
			p := findObject(t, objects, "NetworkPolicy", namespace, name)
			wantField(t, p, []any{"Ingress", "Egress"}, "spec", "policyTypes")
			wantField(t, p, []any{map[string]any{"ports": []any{map[string]any{"port": 10600}}}}, "spec", "egress")
		}},
		"a server": {name, []string{"--api-versions", "teamtalk.io/v1alpha1/TeamTalkServer", "--set", "server.create=true,server.spec.senders.default=7"},
			func(t *testing.T, objects []*unstructured.Unstructured) {
				wantField(t, findObject(t, objects, "TeamTalkServer", namespace, "default"), 7, "spec", "senders", "default")
			}},
	})
}

// rendering is a release with values, and the check of its objects.
type rendering struct {
	release string
	args    []string
	check   func(t *testing.T, objects []*unstructured.Unstructured)
}

func checkValues(t *testing.T, tests map[string]rendering) {
	for what, tc := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			objects, err := template(t, tc.release, tc.args...)
			must(t, err)
			tc.check(t, objects)
		})
	}
}

func wantField(t *testing.T, o *unstructured.Unstructured, value any, path ...string) {
	t.Helper()
	field, _, err := unstructured.NestedFieldNoCopy(o.Object, path...)
	must(t, err)
	want, err := json.Marshal(value) // in which numbers have no types
	must(t, err)
	got, err := json.Marshal(field)
	must(t, err)
	if string(want) != string(got) {
		t.Errorf("%s %s: %s is %s, want %s", o.GetKind(), o.GetName(), strings.Join(path, "."), got, want)
	}
}

// wantIDs checks the objects of a kind, as namespace/name.
func wantIDs(t *testing.T, objects []*unstructured.Unstructured, kind string, want ...string) {
	t.Helper()
	var got []string
	for _, o := range objects {
		if o.GetKind() == kind {
			got = append(got, o.GetNamespace()+"/"+o.GetName())
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kind %s: %s", kind, diff)
	}
}

func container(t *testing.T, objects []*unstructured.Unstructured) map[string]any {
	t.Helper()
	return containerOf(t, findObject(t, objects, "Deployment", namespace, name))
}

func containerOf(t *testing.T, d *unstructured.Unstructured) map[string]any {
	t.Helper()
	containers, _, err := unstructured.NestedSlice(d.Object, "spec", "template", "spec", "containers")
	must(t, err)
	return containers[0].(map[string]any)
}

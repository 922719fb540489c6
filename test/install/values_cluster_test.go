// SPDX-License-Identifier: Apache-2.0

package install

import (
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// everything are values in which each optional one is set.
func everything() string { return filepath.Join("testdata", "everything.yaml") }

// TestPodValues renders the chart with values of pods: the operator's, and the gateway's, which replace them.
func TestPodValues(t *testing.T) {
	t.Parallel()
	const (
		restricted = `{"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}`
		fixed      = `{"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}, "runAsUser": 65532, "runAsGroup": 65532}`
		unwritable = `{"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}}`
		noProbe    = "null"
	)
	tests := map[string]rendering{
		"a user that the cluster chooses": {set: "podSecurityContext.runAsUser=null,podSecurityContext.runAsGroup=null", want: fields{
			operatorPod + "securityContext": restricted, gatewayPod + "securityContext": restricted,
		}},
		"a user of the gateway": {args: []string{"--set-json", `gateway.podSecurityContext={"runAsUser":1000680000}`}, want: fields{
			operatorPod + "securityContext": fixed, gatewayPod + "securityContext": `{"runAsUser": 1000680000}`,
		}},
		"a container's security context": {set: "securityContext.readOnlyRootFilesystem=null,gateway.securityContext.privileged=false", want: fields{
			operatorContainer + "securityContext": `{"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}`,
			gatewayContainer + "securityContext":  `{"privileged": false}`,
		}},
		"both as they were": {want: fields{
			gatewayContainer + "securityContext":             unwritable,
			operatorContainer + "startupProbe":               noProbe,
			operatorPod + "initContainers":                   "null",
			operatorPod + "dnsPolicy":                        "null",
			"Deployment teamtalk-operator spec replicas":     `2`,
			"Deployment teamtalk-gateway spec template spec": podOf(t, "gateway"),
		}},
		"a startup probe": {set: "startupProbe.failureThreshold=30,gateway.startupProbe.httpGet.path=/readyz,gateway.startupProbe.httpGet.port=health", want: fields{
			operatorContainer + "startupProbe": `{"failureThreshold": 30, "httpGet": {"path": "/healthz", "port": "health"}}`,
			gatewayContainer + "startupProbe":  `{"httpGet": {"path": "/readyz", "port": "health"}}`,
		}},
		"volumes, mounts and containers": {args: []string{"--values", everything()}, set: "metrics.certSecret=,gateway.tlsSecret=", want: fields{
			operatorPod + "volumes":                                                            `[{"name": "trust", "configMap": {"name": "trust"}}]`,
			operatorContainer + "volumeMounts":                                                 `[{"name": "trust", "mountPath": "/etc/trust", "readOnly": true}]`,
			operatorPod + "containers 1 name":                                                  `"sidecar"`,
			operatorPod + "initContainers 0 name":                                              `"prepare"`,
			gatewayPod + "volumes":                                                             `[{"name": "scratch", "emptyDir": {}}]`,
			gatewayContainer + "volumeMounts":                                                  `[{"name": "scratch", "mountPath": "/tmp"}]`,
			gatewayPod + "containers 1 name":                                                   `"sidecar"`,
			gatewayPod + "initContainers 0 name":                                               `"prepare"`,
			"Deployment teamtalk-operator spec revisionHistoryLimit":                           `3`,
			"Deployment teamtalk-gateway spec revisionHistoryLimit":                            `0`,
			"Deployment teamtalk-operator spec template metadata labels team":                  `"chat"`,
			"Deployment teamtalk-operator spec template metadata labels a":                     `"b"`,
			"Deployment teamtalk-gateway spec template metadata labels a":                      `"c"`,
			"Deployment teamtalk-gateway spec selector matchLabels team":                       `null`,
			"Deployment teamtalk-operator spec template spec imagePullSecrets":                 `[{"name": "pull"}]`,
			"Deployment teamtalk-operator spec template metadata annotations a":                `"b"`,
			"ServiceAccount teamtalk-operator metadata annotations":                            `{"a": "b"}`,
			"Deployment teamtalk-gateway spec template metadata labels app.kubernetes.io/name": `"teamtalk-operator"`,
		}},
		"annotations of the gateway's pods": {set: "gateway.podAnnotations.x=y", want: fields{
			"Deployment teamtalk-gateway spec template metadata annotations x":  `"y"`,
			"Deployment teamtalk-operator spec template metadata annotations x": `null`,
		}},
	}
	// Values that are a field of the pod: the operator's, and what replaces it for the gateway.
	for field, values := range map[string][2]string{
		"priorityClassName": {`"high"`, `"low"`},
		"nodeSelector":      {`{"disk": "ssd"}`, `{"zone": "a"}`},
		"tolerations":       {`[{"key": "a"}]`, `[{"key": "b"}]`},
		"affinity":          {`{"nodeAffinity": {"a": 1}}`, `{"podAffinity": {"a": 1}}`},
		"hostAliases":       {`[{"ip": "10.0.0.1", "hostnames": ["a"]}]`, `[{"ip": "10.0.0.2", "hostnames": ["b"]}]`},
		"dnsPolicy":         {`"None"`, `"Default"`},
		"dnsConfig":         {`{"nameservers": ["10.0.0.2"]}`, `{"searches": ["example.com"]}`},
		"runtimeClassName":  {`"gvisor"`, `"kata"`},
	} {
		own, gateway := field+"="+values[0], "gateway."+field+"="+values[1]
		tests[field+" of both"] = rendering{args: []string{"--set-json", own}, want: fields{operatorPod + field: values[0], gatewayPod + field: values[0]}}
		tests[field+" of each"] = rendering{args: []string{"--set-json", own, "--set-json", gateway}, want: fields{operatorPod + field: values[0], gatewayPod + field: values[1]}}
		empty := map[byte]string{'"': `""`, '{': `{}`, '[': `[]`}[values[0][0]]
		tests[field+" of the operator alone"] = rendering{args: []string{"--set-json", own, "--set-json", "gateway." + field + "=" + empty}, want: fields{
			operatorPod + field: values[0], gatewayPod + field: "null",
		}}
	}
	spread := `[{"maxSkew":1,"topologyKey":"host","whenUnsatisfiable":"ScheduleAnyway","labelSelector":{"matchLabels":{"a":"b"}}}]`
	tests["other constraints of the gateway"] = rendering{args: []string{"--set-json", "gateway.topologySpreadConstraints=" + spread}, want: fields{
		gatewayPod + "topologySpreadConstraints":                spread,
		operatorPod + "topologySpreadConstraints 0 topologyKey": `"kubernetes.io/hostname"`,
	}}
	for what, tc := range tests {
		tc.set = strings.TrimSuffix("gateway.enabled=true,"+tc.set, ",")
		tests[what] = tc
	}
	checkValues(t, tests)
}

// podOf returns the pod's spec of a component of config/.
func podOf(t *testing.T, component string) string {
	t.Helper()
	spec, _, err := unstructured.NestedMap(findObject(t, kustomize(t, component), "Deployment", namespace, "teamtalk-"+component).Object, "spec", "template", "spec")
	must(t, err)
	return encodeJSON(t, spec)
}

// TestClusterValues renders the chart with values that fit it to a cluster.
func TestClusterValues(t *testing.T) {
	t.Parallel()
	const http = `{"name": "http", "port": 8400, "targetPort": "http"}`
	checkValues(t, map[string]rendering{
		"a mirror": {set: "global.imageRegistry=mirror.example.com/,image.repository=registry.example.com/team/x", want: fields{
			operatorContainer + "image": `"mirror.example.com/team/x:0.1.0"`,
		}},
		"a mirror of an image without a registry": {set: "global.imageRegistry=mirror.example.com:5000,image.repository=team/x,image.tag=v1", want: fields{
			operatorContainer + "image": `"mirror.example.com:5000/team/x:v1"`,
		}},
		"a mirror of an image of this machine": {set: "global.imageRegistry=mirror.example.com,image.repository=localhost/x,image.tag=v1", want: fields{
			operatorContainer + "image": `"mirror.example.com/x:v1"`,
		}},
		"another namespace": {set: "namespaceOverride=chat-ops,gateway.enabled=true,gateway.ingress.enabled=true,metrics.certSecret=cert,metrics.serviceMonitor.enabled=true", want: fields{
			"ServiceMonitor chat-ops/teamtalk-operator spec endpoints 0 tlsConfig serverName": `"teamtalk-operator-metrics.chat-ops.svc"`,
		}, check: func(t *testing.T, objects []*unstructured.Unstructured) {
			for _, o := range objects {
				if ns := o.GetNamespace(); ns != "" && ns != "chat-ops" {
					t.Errorf("%s %s is in %s", o.GetKind(), o.GetName(), ns)
				}
				subjects, _, _ := unstructured.NestedSlice(o.Object, "subjects")
				for _, subject := range subjects {
					if ns := subject.(map[string]any)["namespace"]; ns != "chat-ops" {
						t.Errorf("%s %s binds an account of %v", o.GetKind(), o.GetName(), ns)
					}
				}
			}
		}},
		"common labels and more objects": {args: []string{"--values", everything()}, set: "metrics.podMonitor.enabled=false,metrics.serviceMonitor.enabled=true", want: fields{
			"ConfigMap /teamtalk-operator-extra metadata name": `"teamtalk-operator-extra"`,
			"ConfigMap /text metadata name":                    `"text"`,
		}, check: func(t *testing.T, objects []*unstructured.Unstructured) {
			for _, o := range objects {
				if isExtra := o.GetNamespace() == "" && o.GetKind() == "ConfigMap"; !isExtra && o.GetLabels()["team"] != "chat" {
					t.Errorf("%s %s lacks the label", o.GetKind(), o.GetName())
				}
			}
		}},
		"a Service for each node": {set: "gateway.enabled=true,gateway.service.type=NodePort,gateway.service.annotations.a=b", want: fields{
			"Service teamtalk-gateway spec type":            `"NodePort"`,
			"Service teamtalk-gateway metadata annotations": `{"a": "b"}`,
			// Metrics are not exposed.
			"Service teamtalk-gateway spec ports":         `[` + http + `]`,
			"Service teamtalk-gateway-metrics spec ports": `[{"name": "metrics", "port": 8443, "targetPort": "metrics"}]`,
		}},
		"a chosen port": {set: "gateway.enabled=true,gateway.service.type=LoadBalancer,gateway.service.nodePort=30400,metrics.enabled=false", want: fields{
			"Service teamtalk-gateway spec ports 0 nodePort": `30400`, "Service": `["teamtalk-system/teamtalk-gateway"]`,
		}},
		"an Ingress for all hosts": {set: "gateway.enabled=true,gateway.ingress.enabled=true,gateway.ingress.path=/v1,gateway.ingress.pathType=Exact", want: fields{
			"Ingress teamtalk-gateway spec": `{"rules": [{"http": {"paths": [{"path": "/v1", "pathType": "Exact",
				"backend": {"service": {"name": "teamtalk-gateway", "port": {"name": "http"}}}}]}}]}`,
		}},
		"an Ingress": {args: []string{"--values", everything()}, want: fields{
			"Ingress teamtalk-gateway metadata annotations":  `{"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"}`,
			"Ingress teamtalk-gateway spec ingressClassName": `"nginx"`,
			"Ingress teamtalk-gateway spec rules 0 host":     `"chat.example.com"`,
			"Ingress teamtalk-gateway spec tls":              `[{"secretName": "chat-tls", "hosts": ["chat.example.com"]}]`,
		}},
		"an HTTPRoute": {args: []string{"--values", everything()}, want: fields{
			"HTTPRoute teamtalk-gateway metadata annotations": `{"a": "b"}`,
			"HTTPRoute teamtalk-gateway spec": `{"parentRefs": [{"name": "public", "namespace": "gateways"}], "hostnames": ["chat.example.com"], "rules": [{
				"backendRefs": [{"name": "teamtalk-gateway", "port": 8400}], "matches": [{"path": {"type": "PathPrefix", "value": "/v1"}}],
				"filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-Route", "value": "chat"}]}}]}]}`,
		}},
	})
}

// TestMonitoringValues renders the chart with values of monitoring.
func TestMonitoringValues(t *testing.T) {
	t.Parallel()
	const relabelings = `[{"targetLabel": "cluster", "replacement": "a"}]`
	checkValues(t, map[string]rendering{
		"ServiceMonitors": {set: "gateway.enabled=true,metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.interval=1m", args: []string{
			"--set-json", "metrics.serviceMonitor.relabelings=" + relabelings, "--set-json", "metrics.serviceMonitor.metricRelabelings=" + relabelings}, want: fields{
			"ServiceMonitor teamtalk-operator spec endpoints 0 relabelings":       relabelings,
			"ServiceMonitor teamtalk-gateway spec endpoints 0 metricRelabelings":  relabelings,
			"ServiceMonitor teamtalk-operator spec endpoints 0 metricRelabelings": relabelings,
			"ServiceMonitor teamtalk-operator spec endpoints 0 interval":          `"1m"`,
			"PodMonitor": `[]`,
		}},
		"PodMonitors": {set: "metrics.podMonitor.enabled=true,metrics.podMonitor.tokenSecret.name=scrape,metrics.podMonitor.tokenSecret.key=t," +
			"metrics.podMonitor.labels.release=p,metrics.podMonitor.interval=1m", args: []string{
			"--set-json", "metrics.podMonitor.relabelings=" + relabelings, "--set-json", "metrics.podMonitor.metricRelabelings=" + relabelings}, want: fields{
			"PodMonitor":     `["teamtalk-system/teamtalk-operator"]`,
			"ServiceMonitor": `[]`,
			"PodMonitor teamtalk-operator metadata labels release": `"p"`,
			"PodMonitor teamtalk-operator spec": `{"selector": {"matchLabels": {"app.kubernetes.io/name": "teamtalk-operator",
				"app.kubernetes.io/instance": "teamtalk-operator", "app.kubernetes.io/component": "operator"}}, "podMetricsEndpoints": [{
				"port": "metrics", "scheme": "https", "interval": "1m", "authorization": {"credentials": {"name": "scrape", "key": "t"}},
				"tlsConfig": {"insecureSkipVerify": true}, "relabelings": ` + relabelings + `, "metricRelabelings": ` + relabelings + `}]}`,
		}},
		"a dashboard": {set: "metrics.dashboard.enabled=true,metrics.dashboard.namespace=grafana,metrics.dashboard.annotations.folder=Chat,metrics.dashboard.labels.x=y", want: fields{
			"ConfigMap grafana/teamtalk-operator-dashboard metadata labels grafana_dashboard": `"1"`,
			"ConfigMap grafana/teamtalk-operator-dashboard metadata labels x":                 `"y"`,
			"ConfigMap grafana/teamtalk-operator-dashboard metadata annotations":              `{"folder": "Chat"}`,
		}, check: func(t *testing.T, objects []*unstructured.Unstructured) {
			data, _, err := unstructured.NestedStringMap(findObject(t, objects, "ConfigMap", "grafana", "teamtalk-operator-dashboard").Object, "data")
			must(t, err)
			want := map[string]string{}
			readFiles(t, want, shared.root+"/dashboards/*.json")
			if len(want) == 0 || strings.TrimSpace(data[name+".json"]) != strings.TrimSpace(want[name+".json"]) {
				t.Error("the ConfigMap does not hold the dashboard")
			}
		}},
	})
}

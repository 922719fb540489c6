// SPDX-License-Identifier: Apache-2.0

package install

import (
	stdcmp "cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestChartRefuses renders the chart with invalid values.
func TestChartRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		set, want string
	}{
		"an unknown value":                       {"replica=3", "replica"},
		"an unknown level":                       {"log.level=loud", "log/level"},
		"an invalid duration":                    {"drainTimeout=soon", "drainTimeout"},
		"an invalid namespace":                   {"access.secrets.namespaces={Chat_1}", "access/secrets/namespaces"},
		"a name without a namespace":             {"access.secrets.names[0].name=teamtalk", "namespace"},
		"no service account":                     {"serviceAccount.create=false", "serviceAccount.name is needed"},
		"a server without a spec":                {"server.create=true", "server/spec"},
		"an unknown mode":                        {"gateway.mode=both", "gateway/mode"},
		"two gateways in direct mode":            {"gateway.enabled=true,gateway.mode=direct", "gateway/replicas"},
		"direct mode as a flag":                  {"gateway.enabled=true,gateway.extraArgs={--mode=direct}", "gateway.extraArgs must not set --mode"},
		"direct mode in the operator":            {"gateway.mode=direct,gateway.replicas=1,gateway.inOperator=true", "gateway/inOperator"},
		"no time to drain":                       {"drainTimeout=0s", "drainTimeout must be longer than 0s"},
		"too little time to drain":               {"drainTimeout=40s", "terminationGracePeriodSeconds (40) must be longer than drainTimeout (40s)"},
		"a duration of several units":            {"drainTimeout=1m29s1000ms,terminationGracePeriodSeconds=90", "must be longer than drainTimeout"},
		"no requests":                            {"dbProxy.maxInFlight=0", "dbProxy/maxInFlight"},
		"more group requests than all":           {"dbProxy.maxInFlight=2,dbProxy.maxGroupInFlight=3", "dbProxy.maxGroupInFlight (3) must not exceed dbProxy.maxInFlight (2)"},
		"more than all pods":                     {"podDisruptionBudget.maxUnavailable=150%", "maxUnavailable"},
		"an invalid name":                        {"fullnameOverride=My_Op", "fullnameOverride"},
		"an invalid chart name":                  {"nameOverride=My_Op", "nameOverride"},
		"an invalid Secret":                      {"metrics.certSecret=My_Cert", "certSecret"},
		"a ServiceMonitor without metrics":       {"metrics.enabled=false,metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.enabled needs metrics.enabled"},
		"alerts without metrics":                 {"metrics.enabled=false,metrics.prometheusRule.enabled=true", "metrics.prometheusRule.enabled needs metrics.enabled"},
		"a variable without a name":              {"extraEnv[0].value=x", "extraEnv"},
		"all messages would be deleted":          {"crds.keep=false,crds.install=false", "crds.keep=true first"},
		"a release name that is no Service name": {"", "set fullnameOverride"},
		"keys without direct mode":               {"gateway.enabled=true,gateway.secrets[0].namespace=a,gateway.secrets[0].name=b", "gateway.secrets needs gateway.mode=direct"},
		"a role that is not there":               {"people.roles=false,people.editServers=true", "people.editServers needs people.roles"},
		"a label of the chart":                   {"commonLabels.app\\.kubernetes\\.io/name=x", "at '/commonLabels/"},
		"an invalid namespace of objects":        {"namespaceOverride=Chat_1", "at '/namespaceOverride'"},
		"a volume without a name":                {"extraVolumes[0].emptyDir.medium=Memory", "at '/extraVolumes/0'"},
		"an unknown DNS policy":                  {"dnsPolicy=Cluster", "at '/dnsPolicy'"},
		"an unknown alert":                       {"metrics.prometheusRule.alerts.Nothing.enabled=false", "metrics/prometheusRule/alerts"},
		"an unknown change of an alert":          {"metrics.prometheusRule.alerts.TeamTalkInDoubt.after=1m", "additional properties 'after' not allowed"},
		"a threshold that an alert does not have": {
			"metrics.prometheusRule.enabled=true,metrics.prometheusRule.alerts.TeamTalkKeyMissing.threshold=1", "TeamTalkKeyMissing has no threshold",
		},
		"both monitors": {
			"metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true,metrics.podMonitor.tokenSecret.name=x", "must not both be enabled",
		},
		"a PodMonitor without a token":   {"metrics.podMonitor.enabled=true", "needs metrics.podMonitor.tokenSecret.name"},
		"a dashboard without metrics":    {"metrics.enabled=false,metrics.dashboard.enabled=true", "metrics.dashboard.enabled needs metrics.enabled"},
		"an unknown type of Service":     {"gateway.service.type=External", "gateway/service/type"},
		"a node's port without its type": {"gateway.enabled=true,gateway.service.nodePort=30400", "gateway.service.nodePort needs gateway.service.type"},
		"an Ingress to no gateway":       {"gateway.ingress.enabled=true", "gateway.ingress.enabled needs gateway.enabled"},
		"an HTTPRoute to no gateway":     {"gateway.httpRoute.enabled=true", "gateway.httpRoute.enabled needs gateway.enabled"},
		"an HTTPRoute without parents":   {"gateway.enabled=true,gateway.httpRoute.enabled=true", "needs gateway.httpRoute.parentRefs"},
		"a server before its CRD":        {"server.create=true,server.spec.senders.default=1", "install with server.create=false first"},
	}
	for what, tc := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			release := name
			if what == "a release name that is no Service name" {
				release = "1.chat"
			}
			_, err := template(t, release, "--set", tc.set)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("want an error with %q, got %v", tc.want, err)
			}
		})
	}
}

// Parts of the keys of rendering.want.
const (
	operatorPod       = "Deployment teamtalk-operator spec template spec "
	operatorContainer = operatorPod + "containers 0 "
	gatewayPod        = "Deployment teamtalk-gateway spec template spec "
	gatewayContainer  = gatewayPod + "containers 0 "
)

// rendering is a release with values, and what the chart renders of it.
type rendering struct {
	release string // "": name
	set     string // values
	args    []string
	// want are fields as JSON, by "kind [namespace/]name path...", in the operator's namespace
	// unless there is another one. An object without a path is null if it must not exist.
	// Without a name it is the list of all objects of the kind. "has" at the end of a list's
	// path: it has these items.
	want fields
	// check has more checks; it may be nil.
	check func(t *testing.T, objects []*unstructured.Unstructured)
}

type fields map[string]string

// TestChartValues renders the chart with values other than the defaults.
func TestChartValues(t *testing.T) {
	t.Parallel()
	checkValues(t, map[string]rendering{
		"another release name": {release: "chat", set: "gateway.enabled=true", want: fields{
			"ClusterRoleBinding /chat-teamtalk-operator roleRef name":                 `"chat-teamtalk-operator"`,
			"Deployment chat-teamtalk-operator spec template spec serviceAccountName": `"chat-teamtalk-operator"`,
		}, check: func(t *testing.T, objects []*unstructured.Unstructured) {
			for _, o := range objects {
				if o.GetKind() != "CustomResourceDefinition" && !strings.HasPrefix(o.GetName(), "chat-teamtalk-operator") &&
					!strings.HasPrefix(o.GetName(), "chat-teamtalk-gateway") {
					t.Errorf("%s %s", o.GetKind(), o.GetName())
				}
			}
		}},
		"an image": {set: "image.repository=example.com/x,image.tag=v2,image.digest=sha256:" + strings.Repeat("a", 64), want: fields{
			operatorContainer + "image": `"example.com/x:v2@sha256:` + strings.Repeat("a", 64) + `"`,
		}},
		"flags": {set: "log.level=debug,log.format=text,drainTimeout=10s,extraArgs={--leader-election-namespace=x}", want: fields{
			operatorContainer + "args has": `["--log-level=debug", "--log-format=text", "--drain-timeout=10s", "--leader-election-namespace=x"]`,
		}},
		"limits of db_proxy": {set: "dbProxy.maxInFlight=32,dbProxy.maxGroupInFlight=4", want: fields{
			operatorContainer + "args has": `["--db-proxy-max-in-flight=32", "--db-proxy-max-group-in-flight=4"]`,
		}},
		"access to namespaces": {set: "access.ownNamespace=false,access.secrets.namespaces={chat,ops},access.configMaps.namespaces={ops}", want: fields{
			"RoleBinding": `["chat/teamtalk-operator-secrets", "ops/teamtalk-operator-configmaps", "ops/teamtalk-operator-secrets",
					"teamtalk-system/teamtalk-operator-leader-election"]`,
			"RoleBinding chat/teamtalk-operator-secrets roleRef name": `"teamtalk-operator-secrets"`,
		}},
		"access by name": {set: "access.ownNamespace=false," +
			"access.secrets.names[0].namespace=chat,access.secrets.names[0].name=b,access.secrets.names[1].namespace=chat,access.secrets.names[1].name=a," +
			"access.configMaps.names[0].namespace=ops,access.configMaps.names[0].name=notice", want: fields{
			"RoleBinding": `["chat/teamtalk-operator-secrets-by-name", "ops/teamtalk-operator-configmaps-by-name",
					"teamtalk-system/teamtalk-operator-leader-election"]`,
			"Role chat/teamtalk-operator-secrets-by-name rules": `[
					{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a", "b"], "verbs": ["get", "list", "watch"]}]`,
		}},
		"all ConfigMaps": {set: "access.configMaps.everywhere=true", want: fields{
			"ClusterRoleBinding": `["/teamtalk-operator", "/teamtalk-operator-configmaps"]`,
		}},
		"everything optional disabled": {set: "crds.install=false,people.roles=false,podDisruptionBudget.enabled=false,networkPolicy.enabled=false," +
			"serviceAccount.create=false,serviceAccount.name=mine,access.ownNamespace=false,metrics.enabled=false", want: fields{
			"ClusterRoleBinding /teamtalk-operator subjects 0 name": `"mine"`,
		}, check: func(t *testing.T, objects []*unstructured.Unstructured) {
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
		}},
		"endpoints": {set: `allowedEndpoints.chat={db.chat:10600,10.0.0.0/8},allowedEndpoints.*={router:8200},gateway.enabled=true,gateway.mode=direct,gateway.replicas=1`, want: fields{
			operatorContainer + "args has": `["--allowed-endpoints=*=router:8200", "--allowed-endpoints=chat=db.chat:10600,10.0.0.0/8"]`,
			gatewayContainer + "args has":  `["--allowed-endpoints=*=router:8200", "--allowed-endpoints=chat=db.chat:10600,10.0.0.0/8"]`,
		}},
		"editors of servers": {set: "people.editServers=true", want: fields{
			"ClusterRole /teamtalk-operator-teamtalkserver-editor metadata labels rbac.authorization.k8s.io/aggregate-to-edit":  `"true"`,
			"ClusterRole /teamtalk-operator-teamtalkserver-editor metadata labels rbac.authorization.k8s.io/aggregate-to-admin": `"true"`,
		}},
		"CRDs that are not kept": {set: "crds.keep=false", want: fields{
			"CustomResourceDefinition /teamtalkmessages.teamtalk.io metadata annotations helm.sh/resource-policy": "null",
		}},
		"pods": {set: "replicas=3,priorityClassName=p,nodeSelector.disk=ssd,podLabels.a=b,podAnnotations.c=d," +
			"tolerations[0].key=t,imagePullSecrets[0].name=pull,affinity.podAffinity.x=y,terminationGracePeriodSeconds=90,resources.limits.memory=1Gi", want: fields{
			"Deployment teamtalk-operator spec replicas":                        `3`,
			"Deployment teamtalk-operator spec template metadata labels a":      `"b"`,
			"Deployment teamtalk-operator spec template metadata annotations c": `"d"`,
			operatorPod + "priorityClassName":                                   `"p"`,
			operatorPod + "nodeSelector disk":                                   `"ssd"`,
			operatorPod + "tolerations":                                         `[{"key": "t"}]`,
			operatorPod + "imagePullSecrets":                                    `[{"name": "pull"}]`,
			operatorPod + "affinity podAffinity x":                              `"y"`,
			operatorPod + "terminationGracePeriodSeconds":                       `90`,
			operatorContainer + "resources limits memory":                       `"1Gi"`,
		}},
		"labels and annotations that the chart sets": {
			release: "12", set: "fullnameOverride=chat,metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true," +
				"podLabels.app\\.kubernetes\\.io/name=x,podLabels.app\\.kubernetes\\.io/component=x,podLabels.a=b,podAnnotations.kubectl\\.kubernetes\\.io/default-container=sidecar," +
				"metrics.serviceMonitor.labels.app\\.kubernetes\\.io/component=x,metrics.prometheusRule.labels.app\\.kubernetes\\.io/name=x",
			want: fields{
				"Deployment chat spec selector matchLabels": `{
					"app.kubernetes.io/name": "teamtalk-operator", "app.kubernetes.io/instance": "12", "app.kubernetes.io/component": "operator"}`,
				"Deployment chat spec template metadata labels": `{
					"app.kubernetes.io/name": "teamtalk-operator", "app.kubernetes.io/instance": "12", "app.kubernetes.io/component": "operator", "a": "b"}`,
				"Deployment chat spec template metadata annotations kubectl.kubernetes.io/default-container": `"sidecar"`,
				"ServiceMonitor chat metadata labels app.kubernetes.io/component":                            `"operator"`,
				"PrometheusRule chat metadata labels app.kubernetes.io/name":                                 `"teamtalk-operator"`,
			},
		},
		"variables": {set: "gateway.enabled=true,extraEnv[0].name=OTEL_EXPORTER_OTLP_HEADERS,extraEnv[0].valueFrom.secretKeyRef.name=otlp," +
			"gateway.extraEnv[0].name=GOMEMLIMIT,gateway.extraEnv[0].value=200MiB", want: fields{
			operatorContainer + "env": `[{"name": "OTEL_EXPORTER_OTLP_HEADERS", "valueFrom": {"secretKeyRef": {"name": "otlp"}}}]`,
			gatewayContainer + "env":  `[{"name": "GOMEMLIMIT", "value": "200MiB"}]`,
		}},
		"spread over zones": {
			set: "gateway.enabled=true", args: []string{"--set-json",
				`topologySpreadConstraints=[{"maxSkew":2,"topologyKey":"zone","whenUnsatisfiable":"DoNotSchedule"},` +
					`{"maxSkew":1,"topologyKey":"host","whenUnsatisfiable":"ScheduleAnyway","labelSelector":{"matchLabels":{"a":"b"}}}]`},
			want: fields{
				operatorPod + "topologySpreadConstraints": spreadOver("operator"), gatewayPod + "topologySpreadConstraints": spreadOver("gateway"),
			},
		},
		"metrics with a certificate": {set: "metrics.certSecret=cert,metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.labels.release=p", want: fields{
			operatorContainer + "args has":                             `["--metrics-cert-path=/etc/teamtalk-operator/metrics"]`,
			operatorContainer + "volumeMounts":                         `[{"name": "metrics-certificate", "mountPath": "/etc/teamtalk-operator/metrics", "readOnly": true}]`,
			operatorPod + "volumes":                                    `[{"name": "metrics-certificate", "secret": {"secretName": "cert"}}]`,
			"ServiceMonitor teamtalk-operator metadata labels release": `"p"`,
			"ServiceMonitor teamtalk-operator spec endpoints 0 tlsConfig": `{
					"serverName": "teamtalk-operator-metrics.teamtalk-system.svc", "ca": {"secret": {"name": "cert", "key": "ca.crt"}}}`,
		}},
		"no metrics": {set: "metrics.enabled=false", want: fields{
			operatorContainer + "args has": `["--metrics-bind-address=0"]`,
			"Service":                      `[]`,
			"NetworkPolicy teamtalk-operator spec ingress": "null",
		}},
		"metrics for some": {set: "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.a=b", want: fields{
			"NetworkPolicy teamtalk-operator spec ingress": `[
					{"from": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}], "ports": [{"port": "metrics"}]}]`,
		}},
		"egress": {set: "networkPolicy.egress[0].ports[0].port=10600", want: fields{
			"NetworkPolicy teamtalk-operator spec policyTypes": `["Ingress", "Egress"]`,
			"NetworkPolicy teamtalk-operator spec egress":      `[{"ports": [{"port": 10600}]}]`,
		}},
		"a server": {
			set: "server.create=true,server.spec.senders.default=7", args: []string{"--api-versions", "teamtalk.io/v1alpha1/TeamTalkServer"},
			want: fields{"TeamTalkServer default spec senders default": `7`},
		},
	})
}

// spreadOver are the constraints of a component in "spread over zones".
func spreadOver(component string) string {
	return `[{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {
			"app.kubernetes.io/name": "teamtalk-operator", "app.kubernetes.io/instance": "teamtalk-operator",
			"app.kubernetes.io/component": "` + component + `"}}},
		{"maxSkew": 1, "topologyKey": "host", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"a": "b"}}}]`
}

func checkValues(t *testing.T, tests map[string]rendering) {
	for what, tc := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			objects, err := template(t, stdcmp.Or(tc.release, name), append(tc.args, "--set", tc.set)...)
			must(t, err)
			for field, want := range tc.want {
				checkField(t, objects, field, want)
			}
			if tc.check != nil {
				tc.check(t, objects)
			}
		})
	}
}

// checkField checks a field of rendering.want.
func checkField(t *testing.T, objects []*unstructured.Unstructured, field, value string) {
	t.Helper()
	got, path := findField(t, objects, field)
	var want any
	must(t, json.Unmarshal([]byte(value), &want))
	encoded, err := json.Marshal(got) // in which numbers have no types
	must(t, err)
	got = nil
	must(t, json.Unmarshal(encoded, &got))
	if len(path) > 0 && path[len(path)-1] == "has" {
		items, _ := got.([]any)
		for _, item := range want.([]any) {
			if !slices.Contains(items, item) {
				t.Errorf("%s: %s is not in %s", field, item, encoded)
			}
		}
	} else if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", field, diff)
	}
}

// findField returns what a key of rendering.want names, and the key's path.
func findField(t *testing.T, objects []*unstructured.Unstructured, field string) (value any, path []string) {
	t.Helper()
	words := strings.Fields(field)
	of := slices.DeleteFunc(slices.Clone(objects), func(o *unstructured.Unstructured) bool { return o.GetKind() != words[0] })
	if len(words) == 1 {
		ids := []string{}
		for _, o := range of {
			ids = append(ids, o.GetNamespace()+"/"+o.GetName())
		}
		slices.Sort(ids)
		return ids, nil
	}
	in, name, ok := strings.Cut(words[1], "/")
	if !ok {
		in, name = namespace, words[1]
	}
	i := slices.IndexFunc(of, func(o *unstructured.Unstructured) bool { return o.GetNamespace() == in && o.GetName() == name })
	if path = words[2:]; i < 0 {
		if len(path) > 0 {
			t.Fatalf("there is no %s %s", words[0], words[1])
		}
		return nil, nil
	}
	value = of[i].Object
	for _, step := range path {
		switch v := value.(type) {
		case map[string]any:
			value = v[step]
		case []any:
			if index, err := strconv.Atoi(step); err == nil && index < len(v) {
				value = v[index]
			}
		default:
			return nil, path
		}
	}
	return value, path
}

// TestGatewayValues renders the chart with a gateway.
func TestGatewayValues(t *testing.T) {
	t.Parallel()
	const operatorAccount = `[{"kind": "ServiceAccount", "name": "teamtalk-operator", "namespace": "teamtalk-system"}]`
	checkValues(t, map[string]rendering{
		"a gateway": {set: "gateway.enabled=true,gateway.namespaces={chat},gateway.tlsSecret=tls,gateway.appKeys=true," +
			"gateway.replicas=4,gateway.extraArgs={--wait=1s},metrics.enabled=false", want: fields{
			"Deployment teamtalk-gateway spec replicas": `4`,
			gatewayContainer + "args 0":                 `"gateway"`,
			gatewayContainer + "args has": `["--tls-cert-file=/etc/teamtalk-gateway/tls/tls.crt", "--tls-key-file=/etc/teamtalk-gateway/tls/tls.key",
					"--app-keys-secret=teamtalk-app-keys", "--metrics-bind-address=0", "--wait=1s"]`,
			gatewayContainer + "volumeMounts 0 mountPath":        `"/etc/teamtalk-gateway/tls"`,
			"RoleBinding chat/teamtalk-gateway roleRef name":     `"teamtalk-gateway"`,
			"RoleBinding teamtalk-gateway roleRef name":          `"teamtalk-gateway"`,
			"RoleBinding teamtalk-gateway-app-keys roleRef name": `"teamtalk-gateway-app-keys"`,
			"Role teamtalk-gateway-app-keys metadata name":       `"teamtalk-gateway-app-keys"`,
		}},
		"a gateway that sends directly": {set: "gateway.enabled=true,gateway.mode=direct,gateway.replicas=1,gateway.namespaces={chat}", want: fields{
			"Deployment teamtalk-gateway spec strategy":              `{"type": "Recreate"}`,
			"RoleBinding chat/teamtalk-gateway-secrets roleRef name": `"teamtalk-operator-secrets"`,
			"RoleBinding teamtalk-gateway-secrets roleRef name":      `"teamtalk-operator-secrets"`,
			"ClusterRoleBinding":                                     `["/teamtalk-gateway-auth-delegator", "/teamtalk-gateway-direct", "/teamtalk-operator"]`,
			// It creates no messages, so it may not.
			"RoleBinding": `["chat/teamtalk-gateway-secrets", "teamtalk-system/teamtalk-gateway-secrets",
					"teamtalk-system/teamtalk-operator-configmaps", "teamtalk-system/teamtalk-operator-leader-election",
					"teamtalk-system/teamtalk-operator-secrets"]`,
		}},
		"a gateway in the operator": {set: "gateway.enabled=true,gateway.inOperator=true,gateway.namespaces={chat},gateway.receiverNamespaces={ops}," +
			"gateway.tlsSecret=tls,gateway.appKeys=true,gateway.extraArgs={--wait=1s},metrics.certSecret=cert,metrics.serviceMonitor.enabled=true", want: fields{
			"Deployment":          `["teamtalk-system/teamtalk-operator"]`,
			"ServiceAccount":      `["teamtalk-system/teamtalk-operator"]`,
			"PodDisruptionBudget": `["teamtalk-system/teamtalk-operator"]`,
			"NetworkPolicy":       `["teamtalk-system/teamtalk-operator"]`,
			"ServiceMonitor":      `["teamtalk-system/teamtalk-operator"]`,
			"ClusterRoleBinding":  `["/teamtalk-operator"]`,
			operatorContainer + "args has": `["--gateway-bind-address=:8400", "--gateway-tls-cert-file=/etc/teamtalk-gateway/tls/tls.crt",
					"--gateway-tls-key-file=/etc/teamtalk-gateway/tls/tls.key", "--gateway-app-keys-secret=teamtalk-app-keys", "--gateway-wait=1s"]`,
			operatorContainer + "volumeMounts 1 mountPath":                       `"/etc/teamtalk-gateway/tls"`,
			"RoleBinding chat/teamtalk-gateway subjects":                         operatorAccount,
			"RoleBinding teamtalk-gateway subjects":                              operatorAccount,
			"RoleBinding ops/teamtalk-gateway-receivers subjects":                operatorAccount,
			"RoleBinding teamtalk-gateway-app-keys subjects":                     operatorAccount,
			"Service teamtalk-gateway spec selector app.kubernetes.io/component": `"operator"`,
			"Service teamtalk-gateway spec ports":                                `[{"name": "http", "port": 8400, "targetPort": "http"}]`,
			"NetworkPolicy teamtalk-operator spec ingress":                       `[{"ports": [{"port": "metrics"}]}, {"ports": [{"port": "http"}]}]`,
		}},
		"its network, in direct mode": {set: "gateway.enabled=true,gateway.mode=direct,gateway.replicas=1," +
			"networkPolicy.egress[0].ports[0].port=10600,networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.a=b", want: fields{
			"NetworkPolicy teamtalk-gateway spec policyTypes": `["Ingress", "Egress"]`,
			"NetworkPolicy teamtalk-gateway spec ingress": `[{"ports": [{"port": "http"}]},
					{"from": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}], "ports": [{"port": "metrics"}]}]`,
			"NetworkPolicy teamtalk-gateway spec egress": `[{"ports": [{"port": 10600}]}]`,
		}},
		"its network, other than the operator's": {set: "gateway.enabled=true,metrics.enabled=false," +
			"networkPolicy.egress[0].ports[0].port=10600,networkPolicy.gatewayEgress[0].ports[0].port=443", want: fields{
			"NetworkPolicy teamtalk-gateway spec egress":  `[{"ports": [{"port": 443}]}]`,
			"NetworkPolicy teamtalk-gateway spec ingress": `[{"ports": [{"port": "http"}]}]`,
			"NetworkPolicy teamtalk-operator spec egress": `[{"ports": [{"port": 10600}]}]`,
		}},
		"its metrics, with a certificate": {set: "gateway.enabled=true,gateway.tlsSecret=tls,metrics.certSecret=cert,metrics.serviceMonitor.enabled=true", want: fields{
			gatewayContainer + "args has": `["--metrics-cert-path=/etc/teamtalk-operator/metrics"]`,
			gatewayContainer + "volumeMounts": `[{"name": "metrics-certificate", "mountPath": "/etc/teamtalk-operator/metrics", "readOnly": true},
					{"name": "tls", "mountPath": "/etc/teamtalk-gateway/tls", "readOnly": true}]`,
			gatewayPod + "volumes": `[{"name": "metrics-certificate", "secret": {"secretName": "cert"}}, {"name": "tls", "secret": {"secretName": "tls"}}]`,
			// The name of a Service that exists.
			"ServiceMonitor teamtalk-gateway spec endpoints 0 tlsConfig": `{
					"serverName": "teamtalk-gateway.teamtalk-system.svc", "ca": {"secret": {"name": "cert", "key": "ca.crt"}}}`,
			"Service teamtalk-gateway metadata name": `"teamtalk-gateway"`,
		}},
		"one key, in direct mode": {set: "gateway.enabled=true,gateway.mode=direct,gateway.replicas=1,gateway.namespaces={ops}," +
			"gateway.secrets[0].namespace=chat,gateway.secrets[0].name=teamtalk", want: fields{
			"Role chat/teamtalk-gateway-secrets-by-name rules": `[
					{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["teamtalk"], "verbs": ["get", "list", "watch"]}]`,
			"RoleBinding chat/teamtalk-gateway-secrets-by-name subjects":     `[{"kind": "ServiceAccount", "name": "teamtalk-gateway", "namespace": "teamtalk-system"}]`,
			"RoleBinding chat/teamtalk-gateway-secrets-by-name roleRef name": `"teamtalk-gateway-secrets-by-name"`,
			"RoleBinding ops/teamtalk-gateway-secrets metadata name":         `"teamtalk-gateway-secrets"`,
			// It may not read all Secrets of its own namespace.
			"RoleBinding teamtalk-gateway-secrets": `null`,
		}},
		"receivers by name": {
			set: "gateway.receiverNamespaces={ops}", args: receiversByName,
			want: fields{
				// Each rule but that of messages names something.
				"Role named/teamtalk-gateway-receivers-by-name rules": `[
					{"apiGroups": ["teamtalk.io"], "resourceNames": ["alerts"], "resources": ["teamtalkreceivers"], "verbs": ["get"]},
					{"apiGroups": ["teamtalk.io"], "resourceNames": ["alerts"], "resources": ["teamtalkreceivers/status"], "verbs": ["patch"]},
					{"apiGroups": ["teamtalk.io"], "resources": ["teamtalkmessages"], "verbs": ["create", "get", "list", "watch"]},
					{"apiGroups": [""], "resourceNames": ["hook"], "resources": ["secrets"], "verbs": ["get"]}]`,
				"RoleBinding flood/teamtalk-gateway-receivers-by-name roleRef kind": `"Role"`,
				"RoleBinding ops/teamtalk-gateway-receivers roleRef name":           `"teamtalk-operator-receiver"`,
			},
		},
	})
}

// receiversByName are the receivers named/alerts with a Secret and flood/alerts with flood control.
var receiversByName = []string{
	"--set", "gateway.enabled=true,gateway.receivers[0].namespace=named,gateway.receivers[0].name=alerts,gateway.receivers[0].secret=hook",
	"--set", "gateway.receivers[1].namespace=flood,gateway.receivers[1].name=alerts,gateway.receivers[1].secret=hook,gateway.receivers[1].floodControl=true",
}

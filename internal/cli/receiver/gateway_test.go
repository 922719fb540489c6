// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestChooseGateway chooses among pods as the chart makes them.
func TestChooseGateway(t *testing.T) {
	pod := func(name, component, port string, edits ...func(*corev1.Pod)) corev1.Pod {
		p := corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: name, Labels: map[string]string{
				nameLabel: "teamtalk-operator", instanceLabel: "a", componentLabel: component,
			}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{
				{Name: "sidecar", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}}},
				{Name: component, Ports: []corev1.ContainerPort{{Name: "health", ContainerPort: 8081}, {Name: port, ContainerPort: 8400}}},
			}},
			Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
		}
		for _, edit := range edits {
			edit(&p)
		}
		return p
	}
	unready := func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }
	ended := func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }
	deleted := func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Now()) }
	elsewhere := func(p *corev1.Pod) { p.Namespace = "other" }
	second := func(p *corev1.Pod) { p.Labels[instanceLabel] = "b" }
	args := func(args ...string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.Containers[1].Args = args }
	}
	tests := map[string]struct {
		pods           []corev1.Pod
		wantName       string
		wantTLS        bool
		wantInTheError string
	}{
		"none":                     {nil, "", false, "no pod in the cluster serves a gateway"},
		"an operator alone":        {[]corev1.Pod{pod("o", "operator", "metrics")}, "", false, "no pod in the cluster serves a gateway"},
		"one beside the operator":  {[]corev1.Pod{pod("o", "operator", "metrics"), pod("g", "gateway", "http")}, "g", false, ""},
		"one in the operator":      {[]corev1.Pod{pod("o", "operator", "http")}, "o", false, ""},
		"the first that is ready":  {[]corev1.Pod{pod("g3", "gateway", "http"), pod("g1", "gateway", "http", unready), pod("g2", "gateway", "http")}, "g2", false, ""},
		"none is ready":            {[]corev1.Pod{pod("g2", "gateway", "http", unready), pod("g1", "gateway", "http", unready)}, "", false, "is Ready: system/g1, system/g2"},
		"ended and deleted":        {[]corev1.Pod{pod("g1", "gateway", "http", ended), pod("g2", "gateway", "http", deleted)}, "", false, "no pod in the cluster"},
		"two namespaces":           {[]corev1.Pod{pod("g", "gateway", "http"), pod("g", "gateway", "http", elsewhere)}, "", false, "several gateways, in the pods other/g, system/g"},
		"one of two is not ready":  {[]corev1.Pod{pod("g", "gateway", "http", unready), pod("g", "gateway", "http", elsewhere)}, "", false, "several gateways"},
		"two releases":             {[]corev1.Pod{pod("g1", "gateway", "http"), pod("g2", "gateway", "http", second)}, "", false, "several gateways"},
		"a certificate":            {[]corev1.Pod{pod("g", "gateway", "http", args("gateway", "--tls-cert-file=/tls.crt"))}, "g", true, ""},
		"a certificate, two words": {[]corev1.Pod{pod("g", "gateway", "http", args("gateway", "--tls-cert-file", "/tls.crt"))}, "g", true, ""},
		"one in the operator's":    {[]corev1.Pod{pod("o", "operator", "http", args("--gateway-tls-cert-file=/tls.crt"))}, "o", true, ""},
		"one for metrics":          {[]corev1.Pod{pod("g", "gateway", "http", args("--metrics-cert-path=/tls"))}, "g", false, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := chooseGateway(tc.pods)
			if tc.wantInTheError != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantInTheError) {
					t.Errorf("pod %s, error %v, want %q", got, err, tc.wantInTheError)
				}
				return
			}
			if err != nil || got.Name != tc.wantName || got.isTLS != tc.wantTLS || got.port != 8400 {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

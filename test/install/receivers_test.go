// SPDX-License-Identifier: Apache-2.0

package install

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// checkReceivers lets the gateway serve the receivers of a namespace, as docs/receivers.md
// describes, and single receivers by name, as the chart does. It checks the gateway's access and
// that it serves the receivers.
func (c *cluster) checkReceivers(t *testing.T, binary string, deployment *appsv1.Deployment) {
	ctx := t.Context()
	for _, ns := range []string{"whole", "named", "flood"} {
		must(t, c.admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}))
	}
	whole := binding("whole", name+"-receiver", "receivers")
	must(t, unstructured.SetNestedSlice(whole.Object, []any{
		map[string]any{"kind": "ServiceAccount", "name": "teamtalk-gateway", "namespace": namespace},
	}, "subjects"))
	must(t, framework.Apply(ctx, c.admin, whole))
	rendered, err := template(t, name, receiversByName...)
	must(t, err)
	byName := slices.DeleteFunc(rendered, func(o *unstructured.Unstructured) bool {
		return o.GetNamespace() != "named" && o.GetNamespace() != "flood"
	})
	must(t, framework.Apply(ctx, c.admin, byName...))

	const gateway, group = gatewayAccount, "teamtalk.io"
	c.checkAllowed(t, map[string]access{
		"a receiver":                               {gateway, "get", group, "teamtalkreceivers", "whole", "alerts", true},
		"to write a receiver":                      {gateway, "update", group, "teamtalkreceivers", "whole", "alerts", false},
		"to read a server":                         {gateway, "get", group, "teamtalkservers", "whole", "default", false},
		"to create a message":                      {gateway, "create", group, "teamtalkmessages", "whole", "", true},
		"to change a message":                      {gateway, "update", group, "teamtalkmessages", "whole", "m", false},
		"to delete a message":                      {gateway, "delete", group, "teamtalkmessages", "whole", "m", false},
		"to write a status":                        {gateway, "patch", group, "teamtalkmessages/status", "whole", "m", false},
		"a Secret":                                 {gateway, "get", "", "secrets", "whole", "hook", true},
		"to find Secrets":                          {gateway, "list", "", "secrets", "whole", "", false},
		"to write a Secret":                        {gateway, "update", "", "secrets", "whole", "hook", false},
		"a digest":                                 {gateway, "update", "", "configmaps", "whole", "alerts-digest-1-u2", true},
		"to find ConfigMaps":                       {gateway, "list", "", "configmaps", "whole", "", false},
		"to delete ConfigMaps":                     {gateway, "delete", "", "configmaps", "whole", "notice", false},
		"a receiver in no namespace of its":        {gateway, "get", group, "teamtalkreceivers", "chat", "alerts", false},
		"a Secret in no namespace of its":          {gateway, "get", "", "secrets", "chat", "hook", false},
		"by name, the receiver":                    {gateway, "get", group, "teamtalkreceivers", "named", "alerts", true},
		"by name, its status":                      {gateway, "patch", group, "teamtalkreceivers/status", "named", "alerts", true},
		"by name, another receiver":                {gateway, "get", group, "teamtalkreceivers", "named", "other", false},
		"by name, its Secret":                      {gateway, "get", "", "secrets", "named", "hook", true},
		"by name, a key":                           {gateway, "get", "", "secrets", "named", "teamtalk", false},
		"by name, to write the Secret":             {gateway, "update", "", "secrets", "named", "hook", false},
		"by name, a text":                          {gateway, "get", "", "configmaps", "named", "notice", false},
		"by name, to change a text":                {gateway, "update", "", "configmaps", "named", "notice", false},
		"by name, to make ConfigMaps":              {gateway, "create", "", "configmaps", "named", "", false},
		"by name, to change a message":             {gateway, "update", group, "teamtalkmessages", "named", "m", false},
		"by name, to make ConfigMaps for a flood":  {gateway, "create", "", "configmaps", "flood", "", true},
		"by name, digests for a flood":             {gateway, "update", "", "configmaps", "flood", "alerts-digest-1-u2", true},
		"by name, to find ConfigMaps of a flood":   {gateway, "list", "", "configmaps", "flood", "", false},
		"by name, a key where there may be floods": {gateway, "get", "", "secrets", "flood", "teamtalk", false},
	})

	addresses, err := framework.FreeAddresses(1)
	must(t, err)
	process := c.start(t, binary, deployment, "--namespace="+namespace, "--bind-address="+addresses[0])
	waitReady(t, addresses[0])
	for _, ns := range []string{"whole", "named", "flood"} {
		must(t, c.admin.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "hook", Namespace: ns}, StringData: map[string]string{"token": "open-sesame"},
		}))
		for _, receiver := range []string{"alerts", "other"} {
			r := &v1alpha1.TeamTalkReceiver{
				ObjectMeta: metav1.ObjectMeta{Name: receiver, Namespace: ns},
				Spec: v1alpha1.TeamTalkReceiverSpec{
					Type: v1alpha1.ReceiverGeneric, To: v1alpha1.Recipients{Users: []v1alpha1.UserID{3}},
					Authentication: &v1alpha1.ReceiverAuthentication{TokenSecretRef: &v1alpha1.TokenSecretRef{Name: "hook"}},
				},
			}
			if ns == "flood" {
				r.Spec.FloodControl = &v1alpha1.FloodControl{Messages: 1}
			}
			must(t, c.admin.Create(ctx, r))
		}
	}
	post := func(ns, receiver, body string, want int) {
		t.Helper()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addresses[0]+"/v1/receivers/"+ns+"/"+receiver, strings.NewReader(body))
		must(t, err)
		request.Header.Set("Authorization", "Bearer open-sesame")
		answer, err := http.DefaultClient.Do(request)
		must(t, err)
		must(t, answer.Body.Close())
		if answer.StatusCode != want {
			t.Errorf("a post to %s/%s: %s, want %d", ns, receiver, answer.Status, want)
		}
	}
	post("whole", "alerts", `{"n": 1}`, http.StatusOK)
	post("named", "alerts", `{"n": 1}`, http.StatusOK)
	post("named", "other", `{"n": 1}`, http.StatusServiceUnavailable)
	post("flood", "alerts", `{"n": 1}`, http.StatusOK)
	post("flood", "alerts", `{"n": 2}`, http.StatusOK) // into a digest
	for ns, want := range map[string]int{"whole": 1, "named": 1, "flood": 2} {
		messages := &v1alpha1.TeamTalkMessageList{}
		must(t, c.admin.List(ctx, messages, client.InNamespace(ns)))
		if len(messages.Items) != want {
			t.Errorf("%d messages in %s, want %d", len(messages.Items), ns, want)
		}
	}
	must(t, process.Stop(ctx))
}

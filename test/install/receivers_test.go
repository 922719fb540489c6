// SPDX-License-Identifier: Apache-2.0

package install

import (
	"net/http"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// checkReceivers lets the gateway serve the receivers of a namespace, as docs/receivers.md
// describes, and single receivers by name, as the chart does. It checks the gateway's access and
// that it serves the receivers.
func (c *cluster) checkReceivers(binary string, deployment *appsv1.Deployment) {
	for _, ns := range []string{"whole", "named", "flood"} {
		c.createNamespace(ns)
	}
	account := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Name: "teamtalk-gateway", Namespace: namespace}
	c.Create(binding("whole", name+"-receiver", account))
	rendered, err := template(c, name, receiversByName...)
	c.Must(err)
	c.apply(slices.DeleteFunc(rendered, func(o *unstructured.Unstructured) bool {
		return o.GetNamespace() != "named" && o.GetNamespace() != "flood"
	})...)

	const gateway, group = gatewayAccount, "teamtalk.io"
	c.checkAllowed(map[string]access{
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

	process, address := c.startGateway(binary, deployment)
	for _, ns := range []string{"whole", "named", "flood"} {
		c.Create(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "hook", Namespace: ns}, StringData: map[string]string{"token": "open-sesame"},
		})
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
			c.Create(r)
		}
	}
	for _, post := range []struct {
		receiver, body string
		want           int
	}{
		{"whole/alerts", `{"n": 1}`, http.StatusOK},
		{"named/alerts", `{"n": 1}`, http.StatusOK},
		{"named/other", `{"n": 1}`, http.StatusServiceUnavailable},
		{"flood/alerts", `{"n": 1}`, http.StatusOK},
		{"flood/alerts", `{"n": 2}`, http.StatusOK}, // into a digest
	} {
		answer, _, err := framework.Ask(c.Context(), http.DefaultClient, http.MethodPost,
			"http://"+address+"/v1/receivers/"+post.receiver, post.body, "Authorization", "Bearer open-sesame")
		c.Must(err)
		if answer.StatusCode != post.want {
			c.Errorf("a post to %s: %s, want %d", post.receiver, answer.Status, post.want)
		}
	}
	for ns, want := range map[string]int{"whole": 1, "named": 1, "flood": 2} {
		messages := &v1alpha1.TeamTalkMessageList{}
		c.Must(c.Cluster.Admin.List(c.Context(), messages, client.InNamespace(ns)))
		if len(messages.Items) != want {
			c.Errorf("%d messages in %s, want %d", len(messages.Items), ns, want)
		}
	}
	c.Must(process.Stop(c.Context()))
}

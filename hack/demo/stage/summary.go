// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// printSummary prints the sent messages, where to look, and the next commands to try.
func (s *stage) printSummary() {
	fmt.Println()
	for _, reason := range slices.Sorted(maps.Keys(s.ended)) {
		messages, note := "messages", ""
		if s.ended[reason] == 1 {
			messages = "message"
		}
		if reason == v1alpha1.ReasonRecipientNotFound {
			note = ", on purpose: nobody has the user id that it names"
		}
		say("sent   %2d %s with the result %s%s", s.ended[reason], messages, reason, note)
	}
	say("look   %s        what each TeamTalk user sees", s.inbox)
	say("       %s#user:4  the alert, as its recipient sees it", s.inbox)
	say("       bin/demo/*.log                the logs")
	say("next   Copy these into another shell, in this folder. Press Ctrl-C here to stop everything.")
	for _, c := range s.commands() {
		fmt.Printf("\n  # %s\n  %s\n", c.what, c.line)
	}
	fmt.Println()
}

// command is one for the user to copy.
type command struct{ what, line string }

func (s *stage) commands() []command {
	plugin := "bin/demo/kubectl-teamtalk"
	if s.kubeconfig != "" {
		plugin += " --kubeconfig bin/demo/kubeconfig"
	}
	if s.current {
		plugin += " --namespace " + namespace
	}
	return []command{
		{
			"Send a message to user 3 and to a user who does not exist. Installed, the plugin is \"kubectl teamtalk\".",
			plugin + ` send --to-user 3 --to-user 4040 "Hello"`,
		},
		{
			"Send a message to user 3 over HTTP, as with http_msg_server.",
			"curl http://" + s.addresses.gateway +
				`/query/SendSingleMessage -d '{"from_user_id": 1, "session_id": 3, "msg": "Hello"}'`,
		},
		{
			"Resolve the alert, as Alertmanager does.",
			"sed s/firing/resolved/ " + alertPayload + " | curl " + s.alertURL() +
				" -H 'Authorization: Bearer " + alertToken + "' --data-binary @-",
		},
	}
}

// samplesNamespace is the namespace of the samples.
func (s *stage) samplesNamespace() string {
	if s.current {
		return namespace
	}
	return metav1.NamespaceDefault
}

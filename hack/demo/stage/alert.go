// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// The receiver of config/samples/receiver-alertmanager.yaml, and the alert that the demo posts to it.
const (
	alertReceiver = "alerts"
	alertToken    = "change-me"
	alertPayload  = "config/samples/receiver-payload.json"
)

// alertURL is the URL that Alertmanager posts to.
func (s *stage) alertURL() string {
	return "http://" + s.addresses.gateway + "/v1/receivers/" + s.samplesNamespace() + "/" + alertReceiver
}

// postAlert posts an alert to the gateway as Alertmanager does, and waits for its message.
func (s *stage) postAlert(ctx context.Context) error {
	body, err := os.ReadFile(filepath.Join(s.root, alertPayload))
	if err != nil {
		return fmt.Errorf("read the alert: %w", err)
	}
	say("posting an alert to the TeamTalkReceiver %s", alertReceiver)
	var names []string
	posting, cancel := context.WithTimeout(ctx, samplesTimeout)
	defer cancel()
	err = framework.Await(posting, "the gateway accepts the alert", func(ctx context.Context) (string, bool, error) {
		var problem string
		names, problem = s.post(ctx, string(body))
		return problem, problem == "", nil
	})
	if err != nil {
		return err
	}
	reasons := map[client.ObjectKey]string{}
	for _, name := range names {
		reasons[client.ObjectKey{Namespace: s.samplesNamespace(), Name: name}] = v1alpha1.ReasonDelivered
	}
	return s.follow(ctx, reasons)
}

// post posts a body to the receiver. It returns the names of the messages, or why it was not accepted.
func (s *stage) post(ctx context.Context, body string) (names []string, problem string) {
	got, text, err := framework.Ask(ctx, http.DefaultClient, http.MethodPost, s.alertURL(), body,
		"Authorization", "Bearer "+alertToken, "Content-Type", "application/json")
	if err != nil {
		return nil, err.Error() // it does not listen yet
	}
	var answer struct{ Messages []string }
	if json.Unmarshal([]byte(text), &answer) != nil || len(answer.Messages) == 0 {
		return nil, got.Status + ": " + text
	}
	return answer.Messages, ""
}

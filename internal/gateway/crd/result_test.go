// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/content"
)

// TestAdviceIsForTheCaller: a caller of the gateway is not told to set fields of a TeamTalkMessage.
func TestAdviceIsForTheCaller(t *testing.T) {
	file, err := os.ReadFile(filepath.Join("testdata", "too-long.json"))
	if err != nil {
		t.Fatal(err)
	}
	var posted struct {
		Msg string `json:"msg"`
	}
	if err := json.Unmarshal(file, &posted); err != nil {
		t.Fatal(err)
	}
	r := request
	r.Text = posted.Msg
	m := (&Sender{}).newMessage(r, 1)
	_, cause := content.Payload(m.Spec, []byte(r.Text), true)
	if cause == nil || !strings.Contains(cause.Message, "longText") {
		t.Fatalf("%+v: the status gives no such advice", cause)
	}
	m.Status.ObservedGeneration = 1
	m.Status.Conditions = []metav1.Condition{
		{Type: v1alpha1.ConditionFinished, Status: "True"}, {Type: v1alpha1.ConditionReady, Status: "False", Reason: cause.Reason, Message: cause.Message},
	}
	m.Status.Recipients = []v1alpha1.RecipientStatus{
		{Type: v1alpha1.RecipientUser, ID: 2, State: v1alpha1.StateFailed, Reason: cause.Reason, Message: cause.Message},
	}
	got := resultOf(m)
	forCaller(&got, len(r.Text))
	const want = "the text has 3052 bytes, at most 3051 can be sent: shorten it"
	if got.Cause.Message != want || got.Recipients[0].Cause.Message != want || got.Cause.Reason != v1alpha1.ReasonContentTooLong {
		t.Errorf("%+v", got)
	}
}

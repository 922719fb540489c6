// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// TestRecordExisting: the message that has the name already is judged by what it says, not by what the request says.
func TestRecordExisting(t *testing.T) {
	r := api.Request{
		Namespace: "chat", Key: "k", Sender: 1, Type: v1alpha1.RecipientUser, Recipients: []uint32{2}, Text: "hello",
	}
	const labels = `"labels":{"` + Label + `":"` + LabelValue + `"}`
	for name, tc := range map[string]struct{ existing, wantRefusal string }{
		"the gateway's": {
			existing: `{"metadata":{` + labels + `},"spec":{"idempotencyKey":"k","content":{"text":"hello"}}}`,
		},
		"another text": {
			existing:    `{"metadata":{` + labels + `},"spec":{"idempotencyKey":"k","content":{"text":"bye"}}}`,
			wantRefusal: "used for another text",
		},
		"without the label": {
			existing:    `{"metadata":{},"spec":{"idempotencyKey":"k","content":{"text":"hello"}}}`,
			wantRefusal: "was not created by the gateway",
		},
		"without a key": {
			existing:    `{"metadata":{` + labels + `},"spec":{"content":{"text":"hello"}}}`,
			wantRefusal: "was not created by the gateway",
		},
		"without a text": {
			existing:    `{"metadata":{` + labels + `},"spec":{"idempotencyKey":"k","content":{}}}`,
			wantRefusal: "was not created by the gateway",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Sender{client: newConflictingClient(t, tc.existing)}
			next, err := s.record(t.Context(), r, 1, s.newMessage(r, 1))
			if tc.wantRefusal == "" {
				if err != nil || next != 0 {
					t.Errorf("got attempt %d, %v", next, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.wantRefusal) {
				t.Errorf("got %v, want %q", err, tc.wantRefusal)
			}
		})
	}
}

// newConflictingClient returns a client whose API server has a message of every name. It decodes as a real client
// does, which keeps the fields that the answer does not mention.
func newConflictingClient(t *testing.T, message string) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	resource := v1alpha1.GroupVersion.WithResource("teamtalkmessages").GroupResource()
	return fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
			return apierrors.NewAlreadyExists(resource, o.GetName())
		},
		Get: func(_ context.Context, _ client.WithWatch, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
			return json.Unmarshal([]byte(message), o)
		},
	}).Build()
}

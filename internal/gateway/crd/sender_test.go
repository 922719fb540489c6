// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// messages is the resource of TeamTalkMessages.
var messages = v1alpha1.GroupVersion.WithResource("teamtalkmessages").GroupResource()

// request is a request of all tests.
var request = api.Request{
	Namespace: "chat", Key: "k", Sender: 1, Type: v1alpha1.RecipientUser, Recipients: []uint32{2}, Text: "hello", Wait: time.Minute,
}

// newClient returns a client of an empty API server.
func newClient(t *testing.T, funcs interceptor.Funcs) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.TeamTalkMessage{}).
		WithInterceptorFuncs(funcs).Build()
}

// TestRecordExisting: a message that already has the name is judged by its own content, not by that of the request.
func TestRecordExisting(t *testing.T) {
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
			s := &Sender{client: newClient(t, interceptor.Funcs{
				Create: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
					return apierrors.NewAlreadyExists(messages, o.GetName())
				},
				// As a real client, it keeps the fields that the answer does not mention.
				Get: func(_ context.Context, _ client.WithWatch, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
					return json.Unmarshal([]byte(tc.existing), o)
				},
			})}
			next, err := s.record(t.Context(), request, 1, s.newMessage(request, 1))
			if refused := err != nil; next != 0 || refused != (tc.wantRefusal != "") || refused && !strings.Contains(err.Error(), tc.wantRefusal) {
				t.Errorf("got attempt %d, %v, want %q", next, err, tc.wantRefusal)
			}
		})
	}
}

// TestNextAttempt: the next attempt is found with few requests, however many there were. A key that is used up is an
// error.
func TestNextAttempt(t *testing.T) {
	for name, tc := range map[string]struct {
		from, recorded, want int
	}{
		"the first":           {1, 1, 2},
		"the second is there": {1, 2, 2},
		"at the last":         {2, 2, 3},
		"twenty":              {1, 20, 20},
		"after twenty":        {20, 20, 21},
		"a thousand":          {1, 1000, 1000},
		"nearly used up":      {1, maxAttempts, maxAttempts},
	} {
		t.Run(name, func(t *testing.T) {
			recorded := sets.Set[string]{}
			for attempt := 1; attempt <= tc.recorded; attempt++ {
				recorded.Insert(nameOf(request, attempt))
			}
			requests := 0
			s := &Sender{client: newClient(t, interceptor.Funcs{
				Get: func(_ context.Context, _ client.WithWatch, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
					if requests++; recorded.Has(key.Name) {
						return nil
					}
					return apierrors.NewNotFound(messages, key.Name)
				},
			})}
			got, err := s.nextAttempt(t.Context(), request, tc.from)
			if err != nil || got != tc.want || requests > 40 {
				t.Errorf("attempt %d, %v after %d requests, want %d", got, err, requests, tc.want)
			}
		})
	}
	s := &Sender{client: newClient(t, interceptor.Funcs{})}
	if _, err := s.nextAttempt(t.Context(), request, maxAttempts); err == nil {
		t.Error("a key is never used up")
	}
}

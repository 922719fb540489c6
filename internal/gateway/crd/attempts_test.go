// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"context"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// TestNextAttempt: the next attempt is found with few requests, however many there were. A key that is used up is an
// error.
func TestNextAttempt(t *testing.T) {
	r := api.Request{Namespace: "chat", Key: "k", Sender: 1, Type: v1alpha1.RecipientUser, Recipients: []uint32{2}}
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
			there := map[string]bool{}
			for attempt := 1; attempt <= tc.recorded; attempt++ {
				there[nameOf(r, attempt)] = true
			}
			s, asked := newFakeSender(t, there)
			got, err := s.nextAttempt(t.Context(), r, tc.from)
			if err != nil || got != tc.want || *asked > 40 {
				t.Errorf("attempt %d, %v after %d questions, want %d", got, err, *asked, tc.want)
			}
		})
	}
	s, _ := newFakeSender(t, nil)
	if _, err := s.nextAttempt(t.Context(), r, maxAttempts); err == nil {
		t.Error("a key is never used up")
	}
}

// newFakeSender returns a Sender whose API server has the messages of these names, and counts its requests.
func newFakeSender(t *testing.T, there map[string]bool) (*Sender, *int) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	asked := 0
	c := fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(_ context.Context, _ client.WithWatch, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
			asked++
			if !there[key.Name] {
				return apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("teamtalkmessages").GroupResource(), key.Name)
			}
			return nil
		},
	}).Build()
	return &Sender{client: c}, &asked
}

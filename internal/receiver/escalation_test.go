// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
)

// TestManyResolvedKeys: each key is looked for once, in requests whose URLs are short.
func TestManyResolvedKeys(t *testing.T) {
	var got []string
	c := interceptor.NewClient(newClient(t), interceptor.Funcs{
		List: func(_ context.Context, _ client.WithWatch, _ client.ObjectList, opts ...client.ListOption) error {
			o := (&client.ListOptions{}).ApplyOptions(opts)
			requirements, _ := o.LabelSelector.Requirements()
			for _, r := range requirements {
				if r.Key() == v1alpha1.AlertKeyLabel {
					got = append(got, r.Values().UnsortedList()...)
				}
			}
			if length := len(o.LabelSelector.String()); length > 6000 {
				t.Errorf("a selector of %d bytes", length)
			}
			return nil
		},
	})
	r := alertmanager("")
	r.Spec.ReadPolicy = &v1alpha1.ReceiverReadPolicy{EscalateTo: &v1alpha1.NamedRecipients{Groups: []v1alpha1.GroupID{7}}}
	var keys []string
	for i := range 2*maxSelected + 1 {
		keys = append(keys, notification.Hash(fmt.Sprint(i)))
	}
	h := NewHandler(Options{Client: c, Log: logr.Discard()})
	must(t, h.resolve(t.Context(), r, notification.Result{ResolvedKeys: keys}))
	slices.Sort(got)
	if slices.Sort(keys); !slices.Equal(got, keys) {
		t.Errorf("%d keys, want %d", len(got), len(keys))
	}
}

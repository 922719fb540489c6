// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// TestWhatMayNotBeFollowed shows that a namespace which may not be followed is tried
// again when it is received in, and not for good.
func TestWhatMayNotBeFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		forbidden := interceptor.NewClient(fake.NewClientBuilder().Build(), interceptor.Funcs{
			List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
				tries++
				return apierrors.NewForbidden(schema.GroupResource{Resource: "teamtalkmessages"}, "", nil)
			},
		})
		x := newIndex(forbidden, logr.Discard())
		ctx, cancel := context.WithCancel(t.Context())
		x.open(ctx)
		ask := func(want int, why string) {
			t.Helper()
			if _, ok := x.newest("chat", "hash"); ok {
				t.Error("it is known")
			}
			synctest.Wait()
			if tries != want {
				t.Errorf("%s: %d tries, want %d", why, tries, want)
			}
		}
		ask(1, "first")
		ask(1, "at once")
		time.Sleep(24 * time.Hour) //nolint:forbidigo // of the test's own clock
		ask(2, "a day later")
		cancel()
		x.wait()
		if len(x.namespaces) != 0 {
			t.Errorf("%v is kept", x.namespaces)
		}
	})
}

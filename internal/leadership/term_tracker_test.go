// SPDX-License-Identifier: Apache-2.0

package leadership

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

var (
	leaseKey = types.NamespacedName{Namespace: "system", Name: "operator"}
	patience = 30 * time.Second
	created  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

// lease is one that was created, and acquired for the first time, just now.
func lease(change ...func(*coordinationv1.Lease)) *coordinationv1.Lease {
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: leaseKey.Namespace, Name: leaseKey.Name, CreationTimestamp: metav1.NewTime(created),
	}}
	transitions, at := int32(0), metav1.NewMicroTime(created.Add(time.Second))
	l.Spec.LeaseTransitions, l.Spec.AcquireTime, l.Spec.HolderIdentity = &transitions, &at, new("me")
	for _, c := range change {
		c(l)
	}
	return l
}

func drained(l *coordinationv1.Lease) {
	l.Annotations = map[string]string{DrainedAnnotation: "41", "other": "stays"}
}

func taken(l *coordinationv1.Lease) { *l.Spec.LeaseTransitions = 1 }

// server has a status that was written this long after the creation of the Lease.
func server(after time.Duration) *v1alpha1.TeamTalkServer {
	s := &v1alpha1.TeamTalkServer{ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: "tt"}}
	s.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady,
		LastTransitionTime: metav1.NewTime(created.Add(after)),
	}}
	return s
}

// current returns the Lease as it is now.
func current(t *testing.T, c client.Client) *coordinationv1.Lease {
	t.Helper()
	l := &coordinationv1.Lease{}
	if err := c.Get(t.Context(), leaseKey, l); err != nil {
		t.Fatal(err)
	}
	return l
}

// tracker returns the TermTracker of a process.
func tracker(c client.Client) *TermTracker { return NewTermTracker(c, c, leaseKey, "me", patience) }

func newClient(t *testing.T, funcs interceptor.Funcs, objects ...client.Object) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(coordinationv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	settled := func(o client.Object) []string {
		return []string{strconv.FormatBool(o.(*v1alpha1.TeamTalkMessage).Status.Settled)}
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&v1alpha1.TeamTalkServer{}).
		WithIndex(&v1alpha1.TeamTalkMessage{}, v1alpha1.FieldSettled, settled).
		WithInterceptorFuncs(funcs).WithReturnManagedFields().Build()
}

// listAs sets the resourceVersion of lists of messages, which the fake client omits.
func listAs(version string) func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
	return func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
		err := c.List(ctx, list, o...)
		if messages, ok := list.(*v1alpha1.TeamTalkMessageList); ok {
			messages.ResourceVersion = version
		}
		return err
	}
}

func TestTerm(t *testing.T) {
	cases := map[string]struct {
		objects     []client.Object
		wantClean   bool
		wantVersion string // of the mark; else what a list says
	}{
		"new lease":                       {objects: []client.Object{lease()}, wantClean: true},
		"new lease, server just written":  {objects: []client.Object{lease(), server(time.Second)}, wantClean: true},
		"new lease, server older":         {objects: []client.Object{lease(), server(-time.Second)}},
		"new lease, server without state": {objects: []client.Object{lease(), &v1alpha1.TeamTalkServer{ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: "tt"}}}, wantClean: true},
		"drained":                         {objects: []client.Object{lease(taken, drained), server(-time.Hour)}, wantClean: true, wantVersion: "41"},
		"drained, in another's words": {objects: []client.Object{lease(taken, func(l *coordinationv1.Lease) {
			l.Annotations = map[string]string{DrainedAnnotation: "yes"}
		})}, wantClean: true},
		"taken over": {objects: []client.Object{lease(taken)}},
		"acquired long after": {objects: []client.Object{lease(func(l *coordinationv1.Lease) {
			at := metav1.NewMicroTime(created.Add(time.Hour))
			l.Spec.AcquireTime = &at
		})}},
		"never acquired": {objects: []client.Object{lease(func(l *coordinationv1.Lease) { l.Spec.AcquireTime = nil })}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, interceptor.Funcs{List: listAs("77")}, tc.objects...)
			k := tracker(c)
			before := time.Now()
			if err := k.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			term, err := k.Term(t.Context())
			if err != nil || term.Clean != tc.wantClean {
				t.Errorf("clean %v, want %v: %v", term.Clean, tc.wantClean, err)
			}
			if want := cmp.Or(tc.wantVersion, "77"); term.Version != want {
				t.Errorf("version %q, want %q", term.Version, want)
			}
			if term.Local.Before(before) || term.Start.Before(&metav1.Time{Time: created}) {
				t.Errorf("began at %v, %v", term.Local, term.Start)
			}
			after := current(t, c)
			if _, marked := after.Annotations[DrainedAnnotation]; marked {
				t.Error("the mark is still there")
			}
			if name == "drained" && after.Annotations["other"] != "stays" {
				t.Error("another annotation is gone")
			}
		})
	}
}

// TestStart is the moment of the Lease's last write by the API server's clock.
func TestStart(t *testing.T) {
	stamps := []time.Duration{time.Minute, time.Hour, time.Second}
	l := lease(taken)
	for _, d := range stamps {
		at := metav1.NewTime(created.Add(d))
		l.ManagedFields = append(l.ManagedFields, metav1.ManagedFieldsEntry{Manager: d.String(), Time: &at})
	}
	l.ManagedFields = append(l.ManagedFields, metav1.ManagedFieldsEntry{Manager: "no time"})
	c := newClient(t, interceptor.Funcs{
		Get: func(_ context.Context, _ client.WithWatch, _ client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
			l.DeepCopyInto(obj.(*coordinationv1.Lease))
			return nil
		},
	})
	term, err := tracker(c).begin(t.Context())
	if want := created.Add(time.Hour); err != nil || !term.Start.Time.Equal(want) {
		t.Errorf("start %v, want %v: %v", term.Start, want, err)
	}
}

// TestTermWaits: nothing is known of a term that could not begin yet.
func TestTermWaits(t *testing.T) {
	var fails atomic.Bool
	unlessDown := func(do func() error) error {
		if fails.Load() {
			return apierrors.NewServiceUnavailable("down")
		}
		return do()
	}
	cases := map[string]interceptor.Funcs{
		"reading the lease": {Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			return unlessDown(func() error { return c.Get(ctx, key, obj, opts...) })
		}},
		"listing the servers": {List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			return unlessDown(func() error { return c.List(ctx, list, opts...) })
		}},
		"removing the mark": {Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return unlessDown(func() error { return c.Patch(ctx, obj, patch, opts...) })
		}},
	}
	for name, funcs := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fails.Store(true)
				c := newClient(t, funcs, lease(drained))
				k := tracker(c)
				ended := make(chan error, 1)
				go func() { ended <- k.Start(t.Context()) }()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if _, err := k.Term(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Term: %v", err)
				}
				fails.Store(false)
				if term, err := k.Term(t.Context()); err != nil || !term.Clean {
					t.Errorf("clean %v: %v", term.Clean, err)
				}
				if err := <-ended; err != nil {
					t.Errorf("Start: %v", err)
				}
			})
		})
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	c := newClient(t, interceptor.Funcs{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tracker(c).Start(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Start: %v", err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package leadership

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

var (
	otherLease = types.NamespacedName{Namespace: "elsewhere", Name: "operator"}
	serverKey  = types.NamespacedName{Namespace: "chat", Name: "tt"}
	open       = func() error { return nil }
)

// claimsOf returns the Claims of a process that leads.
func claimsOf(c client.Client) *Claims { return NewClaims(inOffice(c, true), open) }

// managedBy is a server that the process has claimed, for a Lease.
func managedBy(lease types.NamespacedName, holder string) *v1alpha1.TeamTalkServer {
	s := server(0)
	s.Status.ManagedBy = &v1alpha1.ManagedBy{LeaseNamespace: lease.Namespace, LeaseName: lease.Name, HolderIdentity: holder}
	return s
}

// heldLease is the other operator's, with its holder; if that is empty, it is released.
func heldLease(holder string) *coordinationv1.Lease {
	return lease(func(l *coordinationv1.Lease) {
		l.Namespace, l.Name, l.Spec.HolderIdentity = otherLease.Namespace, otherLease.Name, &holder
	})
}

func currentServer(t *testing.T, c client.Client) *v1alpha1.TeamTalkServer {
	t.Helper()
	s := &v1alpha1.TeamTalkServer{}
	if err := c.Get(t.Context(), serverKey, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestClaim claims servers at once, after a while, or not at all.
func TestClaim(t *testing.T) {
	fresh := &v1alpha1.TeamTalkServer{ObjectMeta: metav1.ObjectMeta{Namespace: serverKey.Namespace, Name: serverKey.Name}}
	renew := func(t *testing.T, c client.Client) {
		t.Helper()
		l := &coordinationv1.Lease{}
		if err := errors.Join(c.Get(t.Context(), otherLease, l), c.Update(t.Context(), l)); err != nil {
			t.Fatal(err)
		}
	}
	acquired := func(t *testing.T, c client.Client) {
		t.Helper()
		s := currentServer(t, c)
		s.Status.ManagedBy.HolderIdentity = "next"
		if err := c.Status().Update(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	recreated := func(t *testing.T, c client.Client) {
		t.Helper()
		if err := errors.Join(c.Delete(t.Context(), currentServer(t, c)), c.Create(t.Context(), fresh.DeepCopy())); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		server    *v1alpha1.TeamTalkServer
		lease     *coordinationv1.Lease
		forbidden bool
		// during happens shortly before TakeoverAfter is over.
		during func(*testing.T, client.Client)
		// wantFirst is whether it is claimed at once, wantLater whether it is after TakeoverAfter.
		wantFirst, wantLater bool
		wantTakeover         bool
		wantMessage          string
	}{
		"new":                          {server: fresh, wantFirst: true, wantLater: true},
		"a claim that was removed":     {server: server(0), wantFirst: true, wantLater: true, wantTakeover: true},
		"this Lease's, before":         {server: managedBy(leaseKey, "before"), wantFirst: true, wantLater: true},
		"another's, created again":     {server: managedBy(otherLease, "other"), during: recreated, wantLater: true, wantTakeover: true, wantMessage: "Two installations"},
		"this process's":               {server: managedBy(leaseKey, "me"), wantFirst: true, wantLater: true},
		"another's, released":          {server: managedBy(otherLease, "other"), lease: heldLease(""), wantFirst: true, wantLater: true, wantTakeover: true},
		"another's, which has lapsed":  {server: managedBy(otherLease, "other"), lease: heldLease("other"), wantLater: true, wantTakeover: true, wantMessage: "Two installations"},
		"another's, gone":              {server: managedBy(otherLease, "other"), wantLater: true, wantTakeover: true, wantMessage: "elsewhere/operator"},
		"another's, renewed":           {server: managedBy(otherLease, "other"), lease: heldLease("other"), during: renew, wantMessage: "Two installations"},
		"another's, gone, but claimed": {server: managedBy(otherLease, "other"), during: acquired, wantMessage: "Two installations"},
		"another's, not to be read":    {server: managedBy(otherLease, "other"), forbidden: true, wantMessage: "Taking over by hand"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				objects := []client.Object{lease(taken), tc.server.DeepCopy()}
				if tc.lease != nil {
					objects = append(objects, tc.lease.DeepCopy())
				}
				api := newClient(t, interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
					if tc.forbidden && key == otherLease {
						return apierrors.NewForbidden(schema.GroupResource{Resource: "leases"}, key.Name, errors.New("no"))
					}
					return c.Get(ctx, key, o, opts...)
				}}, objects...)
				claims := claimsOf(api)
				try := func(want bool) {
					t.Helper()
					s := currentServer(t, api)
					refusal, err := claims.Claim(t.Context(), s)
					if err != nil || (refusal == nil) != want || claims.Holds(serverKey, s.UID) != want {
						t.Errorf("refusal %+v, %v, want it claimed: %v", refusal, err, want)
					}
					if refusal != nil && (!strings.Contains(refusal.Message, tc.wantMessage) || refusal.Reason != v1alpha1.ReasonManagedByAnother || refusal.RetryAfter <= 0) {
						t.Errorf("refusal %+v, want %q", refusal, tc.wantMessage)
					}
					if by := currentServer(t, api).Status.ManagedBy; want && (by == nil || *by != claims.self()) {
						t.Errorf("managed by %+v", by)
					}
				}
				try(tc.wantFirst)
				time.Sleep(TakeoverAfter - time.Millisecond)
				try(tc.wantFirst)
				if tc.during != nil {
					tc.during(t, api)
				}
				time.Sleep(time.Millisecond)
				try(tc.wantLater)
				own := Term{Clean: true}
				term, claimed := claims.TermOf(serverKey, own)
				if claimed != tc.wantLater || !reflect.DeepEqual(term, own) != tc.wantTakeover || tc.wantTakeover && (term.Clean || term.Local.IsZero()) {
					t.Errorf("term %+v, claimed: %v", term, claimed)
				}
			})
		})
	}
}

// TestClaimSeveral: a lost operator may have been replaced by one that has claimed some of its servers again.
func TestClaimSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := managedBy(otherLease, "first"), managedBy(otherLease, "second")
		second.Name = "tt2"
		claims := claimsOf(newClient(t, interceptor.Funcs{}, lease(taken), heldLease("second"), first, second))
		for _, want := range []bool{false, true} {
			for _, s := range []*v1alpha1.TeamTalkServer{first, second} {
				if refusal, err := claims.Claim(t.Context(), s); (refusal == nil) != want || err != nil {
					t.Errorf("%s: %+v, %v, want it claimed: %v", s.Name, refusal, err, want)
				}
			}
			time.Sleep(TakeoverAfter)
		}
	})
}

// TestClaimLost: a claim holds until the status shows another one, and not for a server that is created again.
func TestClaimLost(t *testing.T) {
	older := func(s *v1alpha1.TeamTalkServer) { s.ResourceVersion, s.Status.ManagedBy = "1", nil }
	tests := map[string]struct {
		change   func(*v1alpha1.TeamTalkServer)
		wantHeld bool
	}{
		"as it was":           {func(*v1alpha1.TeamTalkServer) {}, true},
		"an older cache":      {older, true},
		"claimed by another":  {func(s *v1alpha1.TeamTalkServer) { s.Status.ManagedBy.LeaseName = "other" }, false},
		"claimed by the next": {func(s *v1alpha1.TeamTalkServer) { s.Status.ManagedBy.HolderIdentity = "next" }, false},
		"removed":             {func(s *v1alpha1.TeamTalkServer) { s.Status.ManagedBy = nil }, false},
		"created again":       {func(s *v1alpha1.TeamTalkServer) { s.UID = "another" }, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			api := newClient(t, interceptor.Funcs{}, lease(taken), server(0))
			claims := claimsOf(api)
			s := currentServer(t, api)
			if refusal, err := claims.Claim(t.Context(), s); refusal != nil || err != nil {
				t.Fatalf("%+v, %v", refusal, err)
			}
			tc.change(s)
			if held := claims.Shows(s); held != tc.wantHeld {
				t.Errorf("held: %v, want %v", held, tc.wantHeld)
			}
		})
	}
}

// TestClaimConflict: of two that claim a server at the same time, one gets a conflict, and sends nothing.
func TestClaimConflict(t *testing.T) {
	meanwhile := true
	api := newClient(t, interceptor.Funcs{SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
		if meanwhile {
			meanwhile = false
			s := managedBy(otherLease, "other")
			s.ResourceVersion = o.GetResourceVersion()
			if err := c.Status().Update(ctx, s); err != nil {
				return err
			}
		}
		return c.SubResource(sub).Patch(ctx, o, patch, opts...)
	}}, lease(taken), server(0), heldLease("other"))
	claims := claimsOf(api)
	for range 2 {
		refusal, err := claims.Claim(t.Context(), currentServer(t, api))
		if refusal == nil && !apierrors.IsConflict(err) || claims.Holds(serverKey, "") {
			t.Errorf("%+v, %v", refusal, err)
		}
	}
	claims = NewClaims(inOffice(api, true), func() error { return ErrGateClosed })
	if refusal, err := claims.Claim(t.Context(), currentServer(t, api)); refusal == nil || refusal.Reason != "" || err != nil {
		t.Errorf("with a closed gate: %+v, %v", refusal, err)
	}
}

// TestTakenOverInherited: a server that was taken over is handed over only as a term that did not begin clean: the
// messages that the other operator may have sent are listed.
func TestTakenOverInherited(t *testing.T) {
	message := func(server string, age time.Duration) *v1alpha1.TeamTalkMessage {
		m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{
			Namespace: "chat", Name: "m", UID: "m", Generation: 1, CreationTimestamp: metav1.NewTime(created.Add(-age)),
		}}
		m.Spec.ServerRef = &v1alpha1.ServerReference{Name: server}
		return m
	}
	tests := map[string]struct {
		message *v1alpha1.TeamTalkMessage
		age     time.Duration
		wantErr error
		// wantListed is a UID.
		wantListed string
	}{
		"too early":           {message("other", 0), patience - 1, ErrPriorTerm, ""},
		"of another server":   {message("other", 0), patience, nil, ""},
		"of this server":      {message("tt", 0), patience, nil, "m"},
		"of this server, new": {message("tt", -time.Second), patience, nil, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := newClient(t, interceptor.Funcs{}, lease(taken), tc.message)
				tracker := inOffice(api, true)
				claims := NewClaims(tracker, open)
				claims.takeovers[serverKey] = Term{Start: metav1.NewTime(created), Local: time.Now()}
				claims.Drop(serverKey) // a server that is deleted takes no doubt with it
				time.Sleep(tc.age)
				err := tracker.MarkDrained(t.Context(), nil)
				if listed := listedUIDs(t, api); !errors.Is(err, tc.wantErr) || listed != tc.wantListed {
					t.Errorf("MarkDrained lists %q: %v", listed, err)
				}
			})
		})
	}
}

// TestClaimUnconfirmed: a takeover whose write was not confirmed is not forgotten. The next leader first searches for
// messages that the other operator may have sent, and the next claim is a takeover.
func TestClaimUnconfirmed(t *testing.T) {
	lost := true
	sent := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{
		Namespace: serverKey.Namespace, Name: "m", UID: "m", Generation: 1, CreationTimestamp: metav1.NewTime(created),
	}}
	sent.Spec.ServerRef = &v1alpha1.ServerReference{Name: serverKey.Name}
	api := newClient(t, interceptor.Funcs{SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
		err := c.SubResource(sub).Patch(ctx, o, patch, opts...)
		if lost {
			err = errors.New("connection lost")
		}
		return err
	}}, lease(taken), managedBy(otherLease, "other"), heldLease(""), sent)
	tracker := inOffice(api, true)
	claims := NewClaims(tracker, open)
	if _, err := claims.Claim(t.Context(), currentServer(t, api)); err == nil || claims.Holds(serverKey, "") {
		t.Fatalf("claimed: %v", err)
	}
	err := tracker.MarkDrained(t.Context(), nil)
	if listed := listedUIDs(t, api); err != nil || listed != "m" {
		t.Errorf("MarkDrained lists %q: %v", listed, err)
	}
	lost = false
	if refusal, err := claims.Claim(t.Context(), currentServer(t, api)); refusal != nil || err != nil {
		t.Fatalf("%+v, %v", refusal, err)
	}
	if term, _ := claims.TermOf(serverKey, Term{Clean: true}); term.Clean || term.Local.IsZero() || term.Start == endOfTime {
		t.Errorf("term %+v", term)
	}
}

// TestClaimWithoutLease: a process whose Lease was lost does not take a server back from the next holder.
func TestClaimWithoutLease(t *testing.T) {
	api := newClient(t, interceptor.Funcs{}, lease(func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = new("next") }), managedBy(leaseKey, "next"))
	claims := claimsOf(api)
	if refusal, err := claims.Claim(t.Context(), currentServer(t, api)); refusal == nil || err != nil || claims.Holds(serverKey, "") {
		t.Errorf("%+v, %v", refusal, err)
	}
	if cause := claims.Refused(serverKey); cause != nil {
		t.Errorf("messages would show %+v", cause)
	}
}

// TestClaimPruned: an API server with an older CRD drops the claim without an error.
func TestClaimPruned(t *testing.T) {
	api := newClient(t, interceptor.Funcs{SubResourcePatch: func(_ context.Context, _ client.Client, _ string, o client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
		o.(*v1alpha1.TeamTalkServer).Status.ManagedBy = nil
		return nil
	}}, lease(taken), server(0))
	claims := claimsOf(api)
	if _, err := claims.Claim(t.Context(), currentServer(t, api)); err == nil || !strings.Contains(err.Error(), "CRDs") || claims.Holds(serverKey, "") {
		t.Errorf("claimed: %v", err)
	}
}

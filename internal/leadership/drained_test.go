// SPDX-License-Identifier: Apache-2.0

package leadership

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// inOffice returns a TermTracker whose term has begun, long ago.
func inOffice(c client.Client, clean bool) *TermTracker {
	k := tracker(c)
	k.term = Term{Clean: clean, Start: metav1.NewTime(created), Local: time.Now().Add(-time.Hour)}
	close(k.begun)
	return k
}

// TestHandOver: what one leader marks, the next one finds, once.
func TestHandOver(t *testing.T) {
	c := newClient(t, interceptor.Funcs{}, lease(taken))
	if err := inOffice(c, true).MarkDrained(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for _, wantClean := range []bool{true, false} {
		term, err := tracker(c).begin(t.Context())
		if err != nil || term.Clean != wantClean {
			t.Errorf("clean %v, want %v: %v", term.Clean, wantClean, err)
		}
	}
	if err := inOffice(newClient(t, interceptor.Funcs{}), true).MarkDrained(t.Context(), nil); !apierrors.IsNotFound(err) {
		t.Errorf("MarkDrained without a Lease: %v", err)
	}
	if err := tracker(c).MarkDrained(t.Context(), nil); !errors.Is(err, ErrPriorTerm) {
		t.Errorf("MarkDrained before the term: %v", err)
	}
}

// TestOwnLeaseOnly: a process that was suspended past its Lease, and has to end when it is woken,
// marks no Lease that is another's by now; and one that has only just lost it takes
// off no mark. Its own renewals at the same moment do not matter.
func TestOwnLeaseOnly(t *testing.T) {
	cases := map[string]struct {
		holder string
		during bool // it is written after it was read; else before
		want   error
	}{
		"another's":                {"other", false, ErrNotHeld},
		"released":                 {"", false, ErrNotHeld},
		"another's at that moment": {"other", true, ErrNotHeld},
		"released at that moment":  {"", true, ErrNotHeld},
		"renewed":                  {"me", false, nil},
		"renewed at that moment":   {"me", true, nil},
	}
	for name, tc := range cases {
		for _, marking := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, marking: %v", name, marking), func(t *testing.T) {
				before := lease(taken)
				if !marking {
					drained(before)
				}
				written := false
				write := func(ctx context.Context, c client.Client) error {
					l := &coordinationv1.Lease{}
					if err := c.Get(ctx, leaseKey, l); err != nil {
						return err
					}
					written, l.Spec.HolderIdentity = true, &tc.holder
					return c.Update(ctx, l)
				}
				c := newClient(t, interceptor.Funcs{List: listAs("77"), Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
					if tc.during && !written {
						if err := write(ctx, c); err != nil {
							return err
						}
					}
					return c.Patch(ctx, obj, patch, opts...)
				}}, before)
				k := inOffice(c, true)
				if !tc.during {
					if err := write(t.Context(), c); err != nil {
						t.Fatal(err)
					}
				}
				var err error
				if marking {
					err = k.MarkDrained(t.Context(), nil)
				} else {
					_, err = k.begin(t.Context())
				}
				if !errors.Is(err, tc.want) || !written {
					t.Errorf("%v, want %v; the Lease was written meanwhile: %v", err, tc.want, written)
				}
				after := current(t, c)
				mark, marked := after.Annotations[DrainedAnnotation]
				if marked != (marking == (tc.want == nil)) || marking && marked && mark != "77" {
					t.Errorf("the mark is on the Lease: %v %q", marked, mark)
				}
				if holder := *after.Spec.HolderIdentity; holder != tc.holder {
					t.Errorf("the holder is %q, want %q", holder, tc.holder)
				}
			})
		}
	}
}

// TestInherited: a leader that took over in doubt lists the messages from before its term that may have been sent
// without their status saying so.
func TestInherited(t *testing.T) {
	message := func(age time.Duration, finished bool, states ...v1alpha1.RecipientState) *v1alpha1.TeamTalkMessage {
		m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{
			Namespace: "chat", Name: "m", UID: "m", Generation: 1, CreationTimestamp: metav1.NewTime(created.Add(-age)),
		}}
		for i, s := range states {
			m.Status.Recipients = append(m.Status.Recipients, v1alpha1.RecipientStatus{Type: v1alpha1.RecipientUser, ID: int64(i + 1), State: s})
		}
		if finished {
			m.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionFinished, Status: "True", ObservedGeneration: 1}}
		}
		return m
	}
	waits := message(time.Minute, false, v1alpha1.StatePending)
	waits.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonScheduled}}
	escalated := func(began time.Duration, ended bool, state v1alpha1.RecipientState) *v1alpha1.TeamTalkMessage {
		m, at := message(time.Minute, true, v1alpha1.StateRouted), metav1.NewTime(created.Add(began))
		m.Status.Escalation = &v1alpha1.EscalationStatus{
			StartTime: &at, Recipients: []v1alpha1.RecipientStatus{{Type: v1alpha1.RecipientUser, ID: 5, State: state}},
		}
		if ended {
			m.Status.Escalation.CompletionTime = &at
		}
		return m
	}
	listed, listedEscalation := []string{"m"}, []string{"m/escalation"}
	cases := map[string]struct {
		message    *v1alpha1.TeamTalkMessage
		clean      bool
		unrecorded []types.UID // listed by the leader before, of a clean term
		want       []string
	}{
		"shown to wait":                   {message: waits},
		"never looked at":                 {message: message(time.Minute, false), want: listed},
		"pending":                         {message: message(time.Minute, false, v1alpha1.StateRouted, v1alpha1.StatePending), want: listed},
		"pending, but clean":              {message: message(time.Minute, false, v1alpha1.StatePending), clean: true},
		"pending, listed":                 {message: message(time.Minute, false, v1alpha1.StatePending), clean: true, unrecorded: []types.UID{"m", "x"}, want: listed},
		"never looked at, listed":         {message: message(time.Minute, false), clean: true, unrecorded: []types.UID{"m"}, want: listed},
		"in doubt, listed":                {message: message(time.Minute, false, v1alpha1.StateInDoubt), clean: true, unrecorded: []types.UID{"m"}},
		"never looked at, another listed": {message: message(time.Minute, false), clean: true, unrecorded: []types.UID{"x"}},
		"in doubt":                        {message: message(time.Minute, false, v1alpha1.StateInDoubt)},
		"finished":                        {message: message(time.Minute, true, v1alpha1.StateRouted)},
		"escalated":                       {message: escalated(-time.Minute, false, v1alpha1.StatePending), want: listedEscalation},
		"escalated by a clock ahead":      {message: escalated(time.Minute, false, v1alpha1.StatePending), want: listedEscalation},
		"escalated, in doubt":             {message: escalated(-time.Minute, false, v1alpha1.StateInDoubt)},
		"escalated, ended":                {message: escalated(-time.Minute, true, v1alpha1.StatePending)},
		"of this term":                    {message: message(-time.Second, false, v1alpha1.StatePending)},
		"of the term's first second":      {message: message(0, false, v1alpha1.StatePending), want: listed},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, interceptor.Funcs{}, lease(taken), tc.message)
			k := inOffice(c, tc.clean)
			k.term.Unrecorded = Unrecorded{UIDs: sets.New(tc.unrecorded...)}
			if err := k.MarkDrained(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			if got := listedUIDs(t, c); got != strings.Join(tc.want, ",") {
				t.Errorf("it lists %q, want %q", got, tc.want)
			}
		})
	}
}

// TestInheritedUntilSilent: as long as an earlier leader may still be sending, no leader hands over cleanly that has not
// begun so. What a server declares about the time after that delays no hand-over: the next leader counts it again.
func TestInheritedUntilSilent(t *testing.T) {
	slow := &v1alpha1.TeamTalkServer{ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: "slow"}}
	slow.Spec.SettleSeconds, slow.Spec.MaxReplicaLagSeconds = 300, new(int32(300))
	for name, tc := range map[string]struct {
		clean bool
		age   time.Duration
		want  error
	}{
		"just begun":        {want: ErrPriorTerm},
		"just begun, clean": {clean: true},
		"too early":         {age: patience - 1, want: ErrPriorTerm},
		"late enough":       {age: patience},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := inOffice(newClient(t, interceptor.Funcs{}, lease(taken), slow.DeepCopy()), tc.clean)
				k.term.Local = time.Now()
				time.Sleep(tc.age)
				if err := k.MarkDrained(t.Context(), nil); !errors.Is(err, tc.want) {
					t.Errorf("MarkDrained: %v, want %v", err, tc.want)
				}
			})
		})
	}
}

// TestMayHideASend: a send that could not be recorded may have been to a pending recipient, or of the next segment.
func TestMayHideASend(t *testing.T) {
	recipient := func(s v1alpha1.RecipientState) []v1alpha1.RecipientStatus {
		return []v1alpha1.RecipientStatus{{State: v1alpha1.StateRouted}, {State: s}}
	}
	suspended := []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonSuspended}}
	tests := map[string]struct {
		longText v1alpha1.LongText
		status   v1alpha1.TeamTalkMessageStatus
		want     bool
	}{
		"no status":           {want: true},
		"pending":             {status: v1alpha1.TeamTalkMessageStatus{Recipients: recipient(v1alpha1.StatePending)}, want: true},
		"pending, suspended":  {status: v1alpha1.TeamTalkMessageStatus{Recipients: recipient(v1alpha1.StatePending), Conditions: suspended}},
		"stored":              {status: v1alpha1.TeamTalkMessageStatus{Recipients: recipient(v1alpha1.StateStored)}},
		"in doubt":            {status: v1alpha1.TeamTalkMessageStatus{Recipients: recipient(v1alpha1.StateInDoubt)}},
		"a segment is stored": {v1alpha1.LongTextSplit, v1alpha1.TeamTalkMessageStatus{Recipients: recipient(v1alpha1.StateStored)}, true},
		"a segment is acknowledged": {
			v1alpha1.LongTextSplit, v1alpha1.TeamTalkMessageStatus{Recipients: recipient(v1alpha1.StateAcknowledged)}, true,
		},
		"a segment is stored, suspended since": {
			v1alpha1.LongTextSplit,
			v1alpha1.TeamTalkMessageStatus{Recipients: recipient(v1alpha1.StateStored), Conditions: suspended}, true,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.TeamTalkMessage{Spec: v1alpha1.TeamTalkMessageSpec{LongText: tc.longText}, Status: tc.status}
			if got := mayHideASend(m); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

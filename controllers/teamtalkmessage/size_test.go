// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

// toUsers is a message to so many users.
func toUsers(n int, change ...func(*v1alpha1.TeamTalkMessage)) *v1alpha1.TeamTalkMessage {
	m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{
		Namespace: "chat", Name: "m", UID: "u", Generation: 1, CreationTimestamp: metav1.Now(),
	}}
	m.Spec.Content.Text, m.Spec.RetryLimit = new("hello"), new(int32(0))
	for i := range n {
		m.Spec.To.Users = append(m.Spec.To.Users, v1alpha1.UserID(math.MaxInt32-i))
	}
	for _, c := range change {
		c(m)
	}
	return m
}

func split(m *v1alpha1.TeamTalkMessage) {
	m.Spec.LongText = v1alpha1.LongTextSplit
	m.Spec.Content.Text = new(strings.Repeat("x", v1alpha1.MaxTextBytes))
}

// annotated has an annotation of so many bytes. JSON escapes each as six.
func annotated(bytes int) func(*v1alpha1.TeamTalkMessage) {
	return func(m *v1alpha1.TeamTalkMessage) {
		m.Annotations = map[string]string{"note": strings.Repeat("<", bytes)}
	}
}

// longestReason returns the longest of the API's reasons.
func longestReason(t *testing.T) (longest string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../api/v1alpha1/conditions.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING && len(l.Value) > len(longest) {
			longest = l.Value
		}
		return true
	})
	return strings.Trim(longest, `"`)
}

// TestWorstSize measures statuses with the longest values: none is larger than is reserved for it, and not much is
// reserved and not used.
func TestWorstSize(t *testing.T) {
	reason, text := longestReason(t), strings.Repeat("m", 2*v1alpha1.MaxRecipientMessage)
	for name, tc := range map[string]struct {
		change   func(*v1alpha1.TeamTalkMessage)
		segments int
	}{
		"one segment":   {func(*v1alpha1.TeamTalkMessage) {}, 1},
		"segments":      {split, v1alpha1.MaxSegments},
		"an annotation": {annotated(200 << 10), 1},
		"a long retry": {func(m *v1alpha1.TeamTalkMessage) {
			m.Annotations = map[string]string{v1alpha1.RetryAnnotation: strings.Repeat("<", 250)}
		}, 1},
		"a very long retry": {func(m *v1alpha1.TeamTalkMessage) {
			m.Annotations = map[string]string{v1alpha1.RetryAnnotation: strings.Repeat("<", 200<<10)}
		}, 1},
		"names": {func(m *v1alpha1.TeamTalkMessage) {
			m.Spec.To.Users = nil
			for i := range v1alpha1.MaxRecipients {
				m.Spec.To.UserNames = append(m.Spec.To.UserNames, fmt.Sprintf("%060d<", i))
			}
		}, 1},
		"references": {func(m *v1alpha1.TeamTalkMessage) {
			m.Spec.To.Users = nil
			for i := range v1alpha1.MaxRecipients {
				m.Spec.To.GroupRefs = append(m.Spec.To.GroupRefs, v1alpha1.GroupReference{Name: fmt.Sprintf("%0253d", i)})
			}
		}, 1},
		"recorded before, too": {func(m *v1alpha1.TeamTalkMessage) { m.Status.Recipients = make([]v1alpha1.RecipientStatus, 1000) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := toUsers(v1alpha1.MaxRecipients, tc.change)
			reserved, before := worstSize(m), storedSize(m)
			s := newScope(m, leadership.Term{Clean: true}, time.Now())
			for range v1alpha1.MaxRevisions {
				s.message.Status.Revisions = append(s.message.Status.Revisions, v1alpha1.RevisionStatus{
					Number: math.MaxInt32, Digest: strings.Repeat("d", 64), Superseded: 1000, StartTime: metav1.Now(), CompletionTime: new(metav1.Now()),
					Counts: v1alpha1.RecipientCounts{Recipients: 1000, Stored: 1000, Routed: 1000, Failed: 1000},
				})
			}
			s.sender, s.text = math.MaxInt32, &v1alpha1.RecordedText{Digest: strings.Repeat("d", 64)}
			for range tc.segments {
				s.text.SegmentDigests = append(s.text.SegmentDigests, strings.Repeat("d", 64))
			}
			for i := range s.recipients {
				p := delivery.Progress{
					Recipient: v1alpha1.Recipient{Type: s.recipients[i].Type, ID: math.MaxUint32},
					ByName:    s.recipients[i].Name, ByRef: s.recipients[i].Ref,
					State: v1alpha1.StateAcknowledged, Reason: reason, Message: text,
					MessageID: math.MaxUint32, Attempts: math.MaxInt32, CreateTime: math.MaxUint32,
					DoubtSince: time.Now(), StoredAt: time.Now(), RoutedAt: time.Now(), ReadAt: time.Now(), ReadBy: math.MaxInt32,
				}
				for range tc.segments - 1 {
					p.Earlier = append(p.Earlier, math.MaxUint32)
				}
				if tc.segments > 1 {
					p.EarlierReason, p.EarlierMessage = reason, text
				}
				s.recipients[i] = p
			}
			setStatus(s, &v1alpha1.Cause{Reason: reason, Message: strings.Repeat("m", 600)}, time.Now())
			// Without tokens the status has the times as well.
			for i := range m.Status.Recipients {
				m.Status.Recipients[i].CreateTime = &metav1.Time{Time: time.Now().Truncate(time.Second)}
			}
			size := storedSize(m)
			each := (size - before) / v1alpha1.MaxRecipients
			t.Logf("%d bytes before, %d with the longest status (%d a recipient), %d reserved", before, size, each, reserved)
			if size > reserved || float64(reserved) > 1.3*float64(size) {
				t.Errorf("the longest status makes it %d bytes, %d are reserved", size, reserved)
			}
		})
	}
}

// TestCheckStatusSize: what cannot be recorded is not sent, whatever makes it large. Its own status is small.
func TestCheckStatusSize(t *testing.T) {
	prior := leadership.Term{Start: metav1.NewTime(time.Now().Add(time.Hour)), Local: time.Now()}
	pairs := func(n int) map[string]string {
		all := map[string]string{}
		for i := range n {
			all[fmt.Sprintf("example.com/%048d", i)] = strings.Repeat("v", 63)
		}
		return all
	}
	tests := map[string]struct {
		message *v1alpha1.TeamTalkMessage
		term    leadership.Term
		// want is the state of the recipients; Pending: it is sent.
		want v1alpha1.RecipientState
		// wantRefused: it fails once the store shows that nothing was sent.
		wantRefused bool
	}{
		"one recipient":                 {message: toUsers(1), want: v1alpha1.StatePending},
		"1,000 recipients":              {message: toUsers(1000), want: v1alpha1.StatePending},
		"1,000 recipients and segments": {message: toUsers(1000, split), want: v1alpha1.StatePending},
		"an annotation, one recipient":  {message: toUsers(1, annotated(200<<10)), want: v1alpha1.StatePending},
		"an annotation":                 {message: toUsers(1000, annotated(200<<10)), want: v1alpha1.StateFailed},
		"a large one, one recipient":    {message: toUsers(1, annotated(250<<10)), want: v1alpha1.StateFailed},
		"an annotation and segments":    {message: toUsers(1000, split, annotated(80<<10)), want: v1alpha1.StateFailed},
		"a text of escaped characters": {message: toUsers(1000, split, func(m *v1alpha1.TeamTalkMessage) {
			m.Spec.Content.Text = new(strings.Repeat("<", 64<<10))
			m.Labels = pairs(1500)
		}), want: v1alpha1.StateFailed},
		"labels":                     {message: toUsers(1000, func(m *v1alpha1.TeamTalkMessage) { m.Labels = pairs(8000) }), want: v1alpha1.StateFailed},
		"finalizers":                 {message: toUsers(1000, func(m *v1alpha1.TeamTalkMessage) { m.Finalizers = make([]string, 20_000); fill(m.Finalizers) }), want: v1alpha1.StateFailed},
		"owners":                     {message: toUsers(1000, func(m *v1alpha1.TeamTalkMessage) { m.OwnerReferences = owners(8000) }), want: v1alpha1.StateFailed},
		"managed fields":             {message: toUsers(1000, managed(1<<20)), want: v1alpha1.StateFailed},
		"an annotation, from before": {message: toUsers(1000, annotated(200<<10)), term: prior, want: v1alpha1.StateInDoubt, wantRefused: true},
		"an annotation, and a key": {message: toUsers(1000, annotated(200<<10), func(m *v1alpha1.TeamTalkMessage) {
			m.Spec.IdempotencyKey = "k"
		}), want: v1alpha1.StatePending, wantRefused: true},
		"an annotation, and an identity by name": {message: toUsers(1000, annotated(200<<10), func(m *v1alpha1.TeamTalkMessage) {
			m.Spec.TTLSecondsAfterFinished = new(int32(60))
		}), want: v1alpha1.StatePending, wantRefused: true},
		"one recipient, from before":     {message: toUsers(1), term: prior, want: v1alpha1.StateInDoubt},
		"an annotation, not from before": {message: toUsers(1000, annotated(200<<10)), term: leadership.Term{Clean: true, Start: prior.Start}, want: v1alpha1.StateFailed},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if tc.term.Local.IsZero() {
				tc.term.Clean = true
			}
			o, err := StripManagedFields(tc.message)
			if err != nil {
				t.Fatal(err)
			}
			m := o.(*v1alpha1.TeamTalkMessage)
			s := newScope(m, tc.term, time.Now())
			if out := checkStatusSize(s); out.action != actionContinue {
				t.Errorf("outcome %+v", out)
			}
			for _, p := range s.recipients {
				if _, refused := s.refusals[p.Recipient]; p.State != tc.want || refused != tc.wantRefused {
					t.Fatalf("%s, refused %v, want %s, %v", p.State, refused, tc.want, tc.wantRefused)
				}
			}
			if tc.want != v1alpha1.StateFailed {
				return
			}
			before := storedSize(m)
			setStatus(s, nil, time.Now())
			if grown := storedSize(m) - before; grown > 4<<10 {
				t.Errorf("its status has %d bytes", grown)
			}
			if !m.Finished() || !m.Status.NothingStored() || m.Status.Counts.Failed != int32(len(s.recipients)) ||
				m.Status.Conditions[0].Reason != v1alpha1.ReasonStatusTooLarge {
				t.Errorf("%+v", m.Status)
			}
		})
	}
}

func fill(names []string) {
	for i := range names {
		names[i] = fmt.Sprintf("example.com/%048d", i)
	}
}

func owners(n int) (all []metav1.OwnerReference) {
	for i := range n {
		all = append(all, metav1.OwnerReference{
			APIVersion: "v1", Kind: "ConfigMap", Name: fmt.Sprintf("%064d", i), UID: types.UID(fmt.Sprintf("%036d", i)),
		})
	}
	return all
}

func managed(bytes int) func(*v1alpha1.TeamTalkMessage) {
	return func(m *v1alpha1.TeamTalkMessage) {
		fields := &metav1.FieldsV1{}
		fields.SetRawBytes([]byte(`{"f:` + strings.Repeat("x", bytes) + `":{}}`))
		m.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl", FieldsV1: fields}}
	}
}

// TestStripManagedFields: only those stay in memory that count.
func TestStripManagedFields(t *testing.T) {
	for size, want := range map[int]bool{0: false, 1000: false, maxStrippedFields + 1: true} {
		m := toUsers(1, managed(size))
		if _, err := StripManagedFields(m); err != nil || len(m.ManagedFields) > 0 != want {
			t.Errorf("%d bytes: kept %v, %v", size, len(m.ManagedFields) > 0, err)
		}
	}
	if o, err := StripManagedFields("a tombstone"); err != nil || o != "a tombstone" {
		t.Errorf("%v, %v", o, err)
	}
}

// TestTooLargeRetry: a message that was refused starts again once it is small, and only then.
func TestTooLargeRetry(t *testing.T) {
	m := toUsers(1000, annotated(200<<10))
	m.CreationTimestamp = metav1.Now()
	r := newReconciler(t, m, 0)
	_, written := look(t, r, m)
	current := func() *v1alpha1.TeamTalkMessage {
		now := &v1alpha1.TeamTalkMessage{}
		if err := r.Live.Get(t.Context(), client.ObjectKeyFromObject(m), now); err != nil {
			t.Fatal(err)
		}
		return now
	}
	if !written || !current().Finished() || r.Engine.Knows(m.UID) {
		t.Fatalf("not refused: %+v", current().Status.Conditions)
	}
	for _, tc := range []struct {
		annotations  map[string]string
		wantFinished bool
	}{
		{map[string]string{"note": m.Annotations["note"], v1alpha1.RetryAnnotation: "1"}, true},
		{map[string]string{v1alpha1.RetryAnnotation: "2"}, false},
	} {
		now := current()
		now.Annotations = tc.annotations
		if err := r.Client.Update(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		if _, err := r.takeUp(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		if now = current(); now.Status.Finished != tc.wantFinished || now.RetryAsked() {
			t.Errorf("retry %s: finished %v, asked %v", tc.annotations[v1alpha1.RetryAnnotation], now.Status.Finished, now.RetryAsked())
		}
	}
}

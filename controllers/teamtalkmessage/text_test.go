// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/content"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

// text is a text of a ConfigMap, in segments.
type text []string

func (t text) source() []byte { return []byte(strings.Join(t, "")) }

func (t text) payload() delivery.Payload {
	p := delivery.Payload{Data: []byte(t[0])}
	for _, segment := range t[1:] {
		p.Rest = append(p.Rest, []byte(segment))
	}
	return p
}

// recorded is how the status identifies the text; nil: there is none.
func (t text) recorded() *v1alpha1.RecordedText {
	if t == nil {
		return nil
	}
	return content.Identify(t.source(), t.payload())
}

// TestRecordText: no text is sent while another one of the ConfigMap may be in the store.
func TestRecordText(t *testing.T) {
	short, long, longer := text{"a"}, text{"(1/2) a", "(2/2) b"}, text{"(1/2) a", "(2/2) c"}
	pending := delivery.Progress{Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: 2}, State: v1alpha1.StatePending}
	doubt := delivery.Progress{State: v1alpha1.StateInDoubt}
	has := delivery.Progress{State: v1alpha1.StateRouted, MessageID: 7}
	begun, hasBoth, unknown := pending, has, pending
	begun.Earlier, hasBoth.Earlier = []uint32{7}, []uint32{6}
	unknown.State, unknown.Reason = v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown
	key := func(m *v1alpha1.TeamTalkMessage) { m.Spec.IdempotencyKey = "k" }
	ttl := func(m *v1alpha1.TeamTalkMessage) { m.Spec.TTLSecondsAfterFinished = new(int32) }
	generated := func(m *v1alpha1.TeamTalkMessage) {
		ttl(m)
		m.GenerateName = "m-"
	}
	inline := func(m *v1alpha1.TeamTalkMessage) { m.Spec.Content.TextFrom = nil }
	tests := map[string]struct {
		recorded, now text // now is nil where it is not known
		// other is another recipient.
		other        delivery.Progress
		edit         func(*v1alpha1.TeamTalkMessage)
		wantFirst    bool // recorded before it is sent
		wantRefused  bool
		wantPending  bool // left out until the store is asked
		wantRecorded text
	}{
		"one segment":                 {now: short},
		"not of a ConfigMap":          {now: long, edit: inline},
		"new":                         {now: long, wantFirst: true, wantRecorded: long},
		"recorded":                    {recorded: long, now: long, wantRecorded: long},
		"another, nothing sent":       {recorded: long, now: longer, wantFirst: true, wantRecorded: longer},
		"short, nothing sent":         {recorded: long, now: short, wantFirst: true},
		"another":                     {recorded: long, now: longer, other: begun, wantRefused: true, wantRecorded: long},
		"another, may have been sent": {recorded: long, now: longer, other: doubt, wantPending: true, wantRecorded: long},
		"another, nobody knows":       {recorded: long, now: longer, other: unknown, wantRefused: true, wantRecorded: long},
		"short, somebody has it":      {recorded: long, now: short, other: hasBoth, wantRefused: true, wantRecorded: long},
		"not known":                   {recorded: long, other: doubt, wantRecorded: long},
		"may have been sent, as one":  {now: long, other: doubt, wantFirst: true, wantRecorded: long},
		"somebody has a short one":    {now: long, other: has, wantFirst: true, wantRecorded: long},
		"short, somebody has one":     {now: short, other: has},

		"with a key":                   {now: short, edit: key, wantFirst: true, wantRecorded: short},
		"by name":                      {now: short, edit: ttl, wantFirst: true, wantRecorded: short},
		"with a generated name":        {now: short, edit: generated},
		"with a key, inline":           {now: short, edit: func(m *v1alpha1.TeamTalkMessage) { key(m); inline(m) }},
		"with a key, recorded":         {recorded: short, now: short, edit: key, wantRecorded: short},
		"with a key, not known":        {recorded: short, other: doubt, edit: key, wantRecorded: short},
		"with a key, changed":          {recorded: short, now: text{"b"}, edit: key, wantFirst: true, wantRecorded: text{"b"}},
		"with a key, changed, sent":    {recorded: short, now: text{"b"}, other: doubt, edit: key, wantPending: true, wantRecorded: short},
		"by name, changed, sent":       {recorded: short, now: text{"b"}, other: doubt, edit: ttl, wantPending: true, wantRecorded: short},
		"with a key, longer, sent":     {recorded: short, now: long, other: doubt, edit: key, wantPending: true, wantRecorded: short},
		"with a key, somebody has it":  {recorded: short, now: text{"b"}, other: has, edit: key, wantFirst: true, wantRecorded: text{"b"}},
		"with a key, changed segments": {recorded: long, now: longer, other: begun, edit: key, wantRefused: true, wantRecorded: long},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.TeamTalkMessage{}
			m.Spec.Content.TextFrom = &v1alpha1.TextSource{}
			if tc.edit != nil {
				tc.edit(m)
			}
			s := &scope{message: m, text: tc.recorded.recorded(), recipients: []delivery.Progress{pending}}
			if tc.now != nil {
				s.source, s.payload = tc.now.source(), tc.now.payload()
			}
			if tc.other.State != "" {
				s.recipients = append(s.recipients, tc.other)
			}
			first := s.recordText(tc.now != nil) == recordFirst
			refused := s.recipients[0].Reason == v1alpha1.ReasonContentChanged ||
				s.refusals[s.recipients[0].Recipient].Reason == v1alpha1.ReasonContentChanged
			if first != tc.wantFirst || refused != tc.wantRefused || s.textChanged != tc.wantPending {
				t.Errorf("recorded first %v, refused %v, left out %v", first, refused, s.textChanged)
			}
			if diff := cmp.Diff(tc.wantRecorded.recorded(), s.text); diff != "" {
				t.Error(diff)
			}
			if got := len(s.payload.Digests); got != len(tc.wantRecorded) {
				t.Errorf("%d digests, want %d", got, len(tc.wantRecorded))
			}
			if (refused || s.textChanged) && s.payload.Data != nil {
				t.Error("another text than the recorded one is handed on")
			}
		})
	}
}

// TestIdentity tells what identifies a message.
func TestIdentity(t *testing.T) {
	const namespace, name = "chat", "m"
	byName := func(text string) delivery.Identity {
		return delivery.Identity{Namespace: namespace, Name: name, Text: sha256.Sum256([]byte(text))}
	}
	byUID := delivery.Identity{UID: "u"}
	created := time.Now()
	newKey, oldKey := v1alpha1.GenerateKey(created), v1alpha1.GenerateKey(created.Add(-time.Hour))
	ttl := new(int32)
	text := v1alpha1.Content{Text: new("hello")}
	from := v1alpha1.Content{TextFrom: &v1alpha1.TextSource{}}
	tests := map[string]struct {
		spec         v1alpha1.TeamTalkMessageSpec
		generateName string
		recorded     *v1alpha1.RecordedText
		want         delivery.Identity
	}{
		"a message":       {spec: v1alpha1.TeamTalkMessageSpec{Content: text}, want: byUID},
		"a key":           {spec: v1alpha1.TeamTalkMessageSpec{Content: text, IdempotencyKey: "k"}, want: delivery.Identity{Namespace: namespace, Key: "k"}},
		"a key and a TTL": {spec: v1alpha1.TeamTalkMessageSpec{Content: text, IdempotencyKey: "k", TTLSecondsAfterFinished: ttl}, want: delivery.Identity{Namespace: namespace, Key: "k"}},
		"a generated key": {
			spec: v1alpha1.TeamTalkMessageSpec{Content: text, IdempotencyKey: newKey, TTLSecondsAfterFinished: ttl},
			want: delivery.Identity{Namespace: namespace, Key: newKey, Unique: true},
		},
		"a generated key, restored": {
			spec: v1alpha1.TeamTalkMessageSpec{Content: text, IdempotencyKey: oldKey, TTLSecondsAfterFinished: ttl},
			want: delivery.Identity{Namespace: namespace, Key: oldKey},
		},
		"a TTL":            {spec: v1alpha1.TeamTalkMessageSpec{Content: text, TTLSecondsAfterFinished: ttl}, want: byName("hello")},
		"a generated name": {spec: v1alpha1.TeamTalkMessageSpec{Content: text, TTLSecondsAfterFinished: ttl}, generateName: "m-", want: byUID},
		"audio with a TTL": {spec: v1alpha1.TeamTalkMessageSpec{Content: v1alpha1.Content{Audio: &v1alpha1.AudioContent{}}, TTLSecondsAfterFinished: ttl}, want: byUID},
		"an image": {
			spec: v1alpha1.TeamTalkMessageSpec{Content: v1alpha1.Content{Image: &v1alpha1.ImageContent{URL: "http://x/y.png"}}, TTLSecondsAfterFinished: ttl},
			want: byName("&$#@~^@[{:http://x/y.png:}]&$~@#@"),
		},
		"JSON": {
			spec: v1alpha1.TeamTalkMessageSpec{Content: v1alpha1.Content{JSON: map[string]v1alpha1.JSONValue{"a": {Raw: []byte(" 1")}}}, TTLSecondsAfterFinished: ttl},
			want: byName(`{"a":1}`),
		},
		"a ConfigMap's text":         {spec: v1alpha1.TeamTalkMessageSpec{Content: from, TTLSecondsAfterFinished: ttl}, want: byName("of the ConfigMap")},
		"one that has changed since": {spec: v1alpha1.TeamTalkMessageSpec{Content: from, TTLSecondsAfterFinished: ttl}, recorded: content.Identify([]byte("as it was"), delivery.Payload{}), want: byName("as it was")},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "m", UID: "u", GenerateName: tc.generateName}, Spec: tc.spec}
			m.CreationTimestamp = metav1.NewTime(created)
			s := &scope{message: m, revision: 1, text: tc.recorded, source: []byte("of the ConfigMap")}
			var cause *v1alpha1.Cause
			if s.source, cause = content.Text(tc.spec.Content, s.source); cause != nil {
				t.Fatal(cause)
			}
			if got := s.identity(); got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
		})
	}
}

// operators take up one message of a ConfigMap's text, one after the other.
type operators struct{ message *v1alpha1.TeamTalkMessage }

func newOperators() operators {
	m := &v1alpha1.TeamTalkMessage{}
	m.CreationTimestamp, m.Generation = metav1.NewTime(time.Now().Add(-time.Minute)), 1
	m.Spec.To.Users = []v1alpha1.UserID{3}
	m.Spec.Content.TextFrom = &v1alpha1.TextSource{}
	return operators{m}
}

// reconcile is an operator's reconciliation with the text as it is now. killed: the operator before did not say what it
// had sent.
func (o operators) reconcile(now text, killed bool) (*scope, outcome) {
	at := time.Now()
	s := newScope(o.message, leadership.Term{Clean: !killed, Start: metav1.NewTime(at), Local: at}, at)
	s.source, s.payload = now.source(), now.payload()
	return s, s.recordText(true)
}

// record has the status say what the scope does, and the next reconciliation must find it there.
func (o operators) record(t *testing.T, s *scope, now text, out outcome) {
	t.Helper()
	if out != recordFirst {
		t.Fatal("sent without being recorded first")
	}
	want := s.text
	setStatus(s, nil, time.Now())
	if _, out := o.reconcile(now, false); out != proceed || !cmp.Equal(o.message.Status.Text, want) {
		t.Fatalf("outcome %+v; recorded %+v", out, o.message.Status.Text)
	}
}

// TestSegmentsAfterTakeover: a message that waited when its operator was killed is sent by the next one, segment by
// segment, of which a third one finds but one. No segment of another text follows it.
func TestSegmentsAfterTakeover(t *testing.T) {
	o := newOperators()
	s, out := o.reconcile(text{"(1/2) old", "(2/2) old"}, true)
	if s.recipients[0].State != v1alpha1.StateInDoubt {
		t.Fatalf("%s", s.recipients[0].State)
	}
	o.record(t, s, text{"(1/2) old", "(2/2) old"}, out)
	s.recipients[0].State, s.recipients[0].Earlier = v1alpha1.StatePending, []uint32{7}
	setStatus(s, nil, time.Now())
	next, _ := o.reconcile(text{"(1/2) new", "(2/2) new"}, false)
	if p := next.recipients[0]; p.State != v1alpha1.StateFailed || p.Reason != v1alpha1.ReasonContentChanged {
		t.Errorf("behind a segment of the old text: %s %s", p.State, p.Reason)
	}
}

// TestShortened: two segments are recorded, and nothing was sent. The text becomes
// short, is sent, and its operator killed: the next one looks for one segment.
func TestShortened(t *testing.T) {
	o, long, short := newOperators(), text{"(1/2) old", "(2/2) old"}, text{"short"}
	s, out := o.reconcile(long, false)
	o.record(t, s, long, out)
	s, out = o.reconcile(short, false)
	o.record(t, s, short, out)
	next, out := o.reconcile(short, true)
	if p := next.recipients[0]; p.State != v1alpha1.StateInDoubt || len(next.refusals) > 0 || next.payload.Digests != nil || out != proceed {
		t.Errorf("%s, refused %v, payload %+v, outcome %+v", p.State, next.refusals, next.payload, out)
	}
}

// TestTextRecordEnds: a message that failed with nothing stored has no text in the store.
func TestTextRecordEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		want   bool
	}{
		"nothing stored": {v1alpha1.ReasonRetriesExhausted, false},
		"nobody knows":   {v1alpha1.ReasonOutcomeUnknown, true},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOperators()
			s := newScope(o.message, leadership.Term{Clean: true}, noon)
			s.text = text{"a"}.recorded()
			s.recipients[0].State, s.recipients[0].Reason = v1alpha1.StateFailed, tc.reason
			setStatus(s, nil, noon)
			if got := o.message.Status.Text != nil; got != tc.want {
				t.Errorf("recorded: %v", got)
			}
		})
	}
}

// TestNothingSent: what must be recorded before a send, and is not, was not sent.
func TestNothingSent(t *testing.T) {
	audio := v1alpha1.Content{Audio: &v1alpha1.AudioContent{}}
	from := v1alpha1.Content{TextFrom: &v1alpha1.TextSource{}}
	pending := v1alpha1.RecipientStatus{State: v1alpha1.StatePending, Attempts: 1}
	staged, doubt, routed := pending, pending, pending
	staged.CreateTime, doubt.State = new(metav1.Now()), v1alpha1.StateInDoubt
	routed.State, routed.CreateTime = v1alpha1.StateRouted, staged.CreateTime
	of := func(r ...v1alpha1.RecipientStatus) []v1alpha1.RecipientStatus { return r }
	for name, tc := range map[string]struct {
		content    v1alpha1.Content
		key        string
		recipients []v1alpha1.RecipientStatus
		recorded   text
		want       bool
	}{
		"a text":                                {content: v1alpha1.Content{Text: new("hello")}, key: "k"},
		"audio":                                 {content: audio, want: true},
		"audio, not staged":                     {content: audio, recipients: of(pending), want: true},
		"audio, staged":                         {content: audio, recipients: of(pending, staged)},
		"audio, staged, delivered":              {content: audio, recipients: of(pending, routed), want: true},
		"audio, in doubt":                       {content: audio, recipients: of(doubt)},
		"a ConfigMap's text":                    {content: from},
		"a ConfigMap's, with a key":             {content: from, key: "k", want: true},
		"a ConfigMap's, with a key, recorded":   {content: from, key: "k", recorded: text{"a"}},
		"a ConfigMap's, with a key, and a text": {content: from, key: "k", recipients: of(pending), want: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.TeamTalkMessage{Spec: v1alpha1.TeamTalkMessageSpec{Content: tc.content, IdempotencyKey: tc.key}}
			m.Status.Recipients, m.Status.Text = tc.recipients, tc.recorded.recorded()
			if got := nothingSent(m); got != tc.want {
				t.Errorf("%v", got)
			}
		})
	}
}

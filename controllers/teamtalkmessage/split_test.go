// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

func TestSplitText(t *testing.T) {
	cases := map[string]struct {
		text  string
		limit int
		want  []string
	}{
		"at the end of a line":  {"aaaaaaa\nbbb ccc", 20, []string{"(1/2) aaaaaaa", "(2/2) bbb ccc"}},
		"at a blank":            {"aaaaaaa bbbccc", 20, []string{"(1/2) aaaaaaa", "(2/2) bbbccc"}},
		"a line before a blank": {"aaaaaa\nbbb ccc", 20, []string{"(1/2) aaaaaa", "(2/2) bbb ccc"}},
		"nowhere else":          {strings.Repeat("a", 25), 20, []string{"(1/3) " + strings.Repeat("a", 12), "(2/3) " + strings.Repeat("a", 12), "(3/3) a"}},
		"between characters":    {strings.Repeat("中", 5), 20, []string{"(1/2) 中中中中", "(2/2) 中"}},
		"ends with its cut":     {strings.Repeat("a", 11) + "\n" + "b\n", 20, []string{"(1/2) " + strings.Repeat("a", 11), "(2/2) b\n"}},
		"too early to cut at":   {"aa " + strings.Repeat("b", 12), 20, []string{"(1/2) aa " + strings.Repeat("b", 9), "(2/2) bbb"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, segment := range splitText(tc.text, tc.limit) {
				got = append(got, string(segment))
			}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// TestSplitLosesNothing: whatever the text, its segments hold it all, in characters, but for what was cut at.
func TestSplitLosesNothing(t *testing.T) {
	for n := range 200 {
		text := strings.Repeat("wörter und 中文字 ", n) + strings.Repeat("x", n) + "\n"
		var joined strings.Builder
		for i, segment := range splitText(text, 64) {
			if len(segment) > 64 || !utf8.Valid(segment) {
				t.Fatalf("segment %d of %d characters: %q", i, n, segment)
			}
			_, after, ok := strings.Cut(string(segment), ") ")
			if !ok {
				t.Fatalf("no number: %q", segment)
			}
			joined.WriteString(after)
		}
		bare := strings.NewReplacer(" ", "", "\n", "").Replace
		if bare(joined.String()) != bare(text) {
			t.Fatalf("%d: lost %q", n, text)
		}
	}
}

// payload is a text in segments.
func payload(segments ...string) delivery.Payload {
	p := delivery.Payload{Data: []byte(segments[0])}
	for _, segment := range segments[1:] {
		p.Rest = append(p.Rest, []byte(segment))
	}
	return p
}

// TestPinSplit: the segments of a text from a ConfigMap are all of the text whose first
// segment may have been sent.
func TestPinSplit(t *testing.T) {
	one, another := payload("(1/2) a", "(2/2) b"), payload("(1/2) a", "(2/2) c")
	if identifySplit(payload("ab", "c")).Digest == identifySplit(payload("a", "bc")).Digest {
		t.Error("texts that are cut otherwise pass for one")
	}
	pending, doubt := delivery.Progress{State: v1alpha1.StatePending}, delivery.Progress{State: v1alpha1.StateInDoubt}
	has := delivery.Progress{State: v1alpha1.StateRouted, MessageID: 7}
	begun, hasBoth := pending, has
	begun.Earlier, hasBoth.Earlier = []uint32{7}, []uint32{6}
	known := identifySplit(one)
	tests := map[string]struct {
		recorded *v1alpha1.SplitText
		payload  delivery.Payload
		// other is another recipient.
		other       delivery.Progress
		inline      bool
		unknown     bool
		wantStaged  bool
		wantRefused bool
		want        *v1alpha1.SplitText
	}{
		"one segment":                 {payload: payload("a")},
		"not of a ConfigMap":          {payload: one, inline: true},
		"new":                         {payload: one, wantStaged: true, want: known},
		"recorded":                    {recorded: known, payload: one, want: known},
		"another, nothing sent":       {recorded: known, payload: another, wantStaged: true, want: identifySplit(another)},
		"short, nothing sent":         {recorded: known, payload: payload("a"), wantStaged: true},
		"another":                     {recorded: known, payload: another, other: begun, wantRefused: true, want: known},
		"another, may have been sent": {recorded: known, payload: another, other: doubt, wantRefused: true, want: known},
		"short, somebody has it":      {recorded: known, payload: payload("a"), other: hasBoth, wantRefused: true, want: known},
		"not known":                   {recorded: known, unknown: true, other: doubt, want: known},
		"may have been sent, as one":  {payload: one, other: doubt, wantStaged: true, want: known},
		"somebody has a short one":    {payload: one, other: has, wantStaged: true, want: known},
		"short, somebody has one":     {payload: payload("a"), other: has},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.TeamTalkMessage{}
			if !tc.inline {
				m.Spec.Content.TextFrom = &v1alpha1.TextSource{}
			}
			s := &scope{message: m, split: tc.recorded, payload: tc.payload, recipients: []delivery.Progress{pending}}
			if tc.other.State != "" {
				s.recipients = append(s.recipients, tc.other)
			}
			staged := s.pinSplit(!tc.unknown) == recordFirst
			refused := s.recipients[0].Reason == v1alpha1.ReasonContentChanged
			if staged != tc.wantStaged || refused != tc.wantRefused || !cmp.Equal(s.split, tc.want) {
				t.Errorf("staged %v, refused %v, recorded %+v", staged, refused, s.split)
			}
			wantCount := 0
			if tc.want != nil {
				wantCount = 2
			}
			if s.payload.Count != wantCount {
				t.Errorf("count %d, want %d", s.payload.Count, wantCount)
			}
			if want := wantCount > 0 && !refused && !tc.unknown; s.payload.Recorded != want {
				t.Errorf("the text is the recorded one: %v, want %v", s.payload.Recorded, want)
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

// look is an operator's look at the message with the text as it is now. killed: the
// operator before did not say what it had sent.
func (o operators) look(text delivery.Payload, killed bool) (*scope, outcome) {
	now := time.Now()
	s := newScope(o.message, leadership.Term{Clean: !killed, Start: metav1.NewTime(now), Local: now}, now)
	s.payload = text
	return s, s.pinSplit(true)
}

// put has the status say what the scope does, and the next look must find it there.
func (o operators) put(t *testing.T, s *scope, out outcome) {
	t.Helper()
	if out != recordFirst {
		t.Fatal("sent without being recorded first")
	}
	setStatus(s, nil, time.Now())
	if _, out := o.look(s.payload, false); out != proceed || !cmp.Equal(o.message.Status.Split, identifySplit(s.payload)) {
		t.Fatalf("outcome %+v; recorded %+v", out, o.message.Status.Split)
	}
}

// TestPinAfterTakeover: a message that waited when its operator was killed is sent by the next one, segment by
// segment, of which a third one finds but one. No segment of another text follows it.
func TestPinAfterTakeover(t *testing.T) {
	o := newOperators()
	s, out := o.look(payload("(1/2) old", "(2/2) old"), true)
	if s.recipients[0].State != v1alpha1.StateInDoubt {
		t.Fatalf("%s", s.recipients[0].State)
	}
	o.put(t, s, out)
	s.recipients[0].State, s.recipients[0].Earlier = v1alpha1.StatePending, []uint32{7}
	setStatus(s, nil, time.Now())
	next, _ := o.look(payload("(1/2) new", "(2/2) new"), false)
	if p := next.recipients[0]; p.State != v1alpha1.StateFailed || p.Reason != v1alpha1.ReasonContentChanged {
		t.Errorf("behind a segment of the old text: %s %s", p.State, p.Reason)
	}
}

// TestShortened: two segments are recorded, and nothing was sent. The text becomes
// short, is sent, and its operator killed: the next one looks for one segment.
func TestShortened(t *testing.T) {
	o := newOperators()
	s, out := o.look(payload("(1/2) old", "(2/2) old"), false)
	o.put(t, s, out)
	short := payload("short")
	s, out = o.look(short, false)
	o.put(t, s, out)
	next, out := o.look(short, true)
	if p := next.recipients[0]; p.State != v1alpha1.StateInDoubt || len(next.refusals) > 0 || next.payload.Count != 0 || out != proceed {
		t.Errorf("%s, refused %v, %d segments, outcome %+v", p.State, next.refusals, next.payload.Count, out)
	}
}

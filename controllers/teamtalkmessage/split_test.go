package teamtalkmessage

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

func TestSplit(t *testing.T) {
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
			for _, part := range split(tc.text, tc.limit) {
				got = append(got, string(part))
			}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// TestSplitLosesNothing: whatever the text, its parts hold it all, in characters,
// but for what was cut at.
func TestSplitLosesNothing(t *testing.T) {
	for n := range 200 {
		text := strings.Repeat("wörter und 中文字 ", n) + strings.Repeat("x", n) + "\n"
		var joined strings.Builder
		for i, part := range split(text, 64) {
			if len(part) > 64 || !utf8.Valid(part) {
				t.Fatalf("part %d of %d characters: %q", i, n, part)
			}
			_, after, ok := strings.Cut(string(part), ") ")
			if !ok {
				t.Fatalf("no number: %q", part)
			}
			joined.WriteString(after)
		}
		bare := strings.NewReplacer(" ", "", "\n", "").Replace
		if bare(joined.String()) != bare(text) {
			t.Fatalf("%d: lost %q", n, text)
		}
	}
}

// TestPinParts: the parts of a text from a ConfigMap are all of the text whose first
// part may have been sent.
func TestPinParts(t *testing.T) {
	payload := func(parts ...string) delivery.Payload {
		p := delivery.Payload{Data: []byte(parts[0])}
		for _, part := range parts[1:] {
			p.Rest = append(p.Rest, []byte(part))
		}
		return p
	}
	one, another := payload("(1/2) a", "(2/2) b"), payload("(1/2) a", "(2/2) c")
	if identify(payload("ab", "c")).Digest == identify(payload("a", "bc")).Digest {
		t.Error("texts that are cut otherwise pass for one")
	}
	pending := delivery.Progress{State: v1alpha1.StatePending}
	tests := map[string]struct {
		recorded    *v1alpha1.SplitText
		payload     delivery.Payload
		others      []delivery.Progress
		inline      bool
		unknown     bool
		wantStaged  bool
		wantRefused bool
		wantCount   int
		want        *v1alpha1.SplitText
	}{
		"one part":              {payload: payload("a")},
		"not of a ConfigMap":    {payload: one, inline: true},
		"new":                   {payload: one, wantStaged: true, wantCount: 2, want: identify(one)},
		"on record":             {recorded: identify(one), payload: one, wantCount: 2, want: identify(one)},
		"another, nothing sent": {recorded: identify(one), payload: another, wantStaged: true, wantCount: 2, want: identify(another)},
		"short, nothing sent":   {recorded: identify(one), payload: payload("a")},
		"another": {
			recorded: identify(one), payload: another, others: []delivery.Progress{{State: v1alpha1.StatePending, Earlier: []uint32{7}}},
			wantRefused: true, wantCount: 2, want: identify(one),
		},
		"another, may have been sent": {
			recorded: identify(one), payload: another, others: []delivery.Progress{{State: v1alpha1.StateInDoubt}},
			wantRefused: true, wantCount: 2, want: identify(one),
		},
		"short, somebody has it": {
			recorded: identify(one), payload: payload("a"), others: []delivery.Progress{{State: v1alpha1.StateRouted, MessageID: 8, Earlier: []uint32{7}}},
			wantRefused: true, wantCount: 2, want: identify(one),
		},
		"not known": {
			recorded: identify(one), unknown: true, payload: delivery.Payload{}, others: []delivery.Progress{{State: v1alpha1.StateInDoubt}},
			wantCount: 2, want: identify(one),
		},
		"never on record": {payload: one, others: []delivery.Progress{{State: v1alpha1.StateInDoubt}}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.TeamTalkMessage{}
			if !tc.inline {
				m.Spec.Content.TextFrom = &v1alpha1.TextSource{}
			}
			s := &scope{message: m, split: tc.recorded, payload: tc.payload, recipients: append([]delivery.Progress{pending}, tc.others...)}
			s.pinParts(!tc.unknown)
			refused := s.recipients[0].Reason == v1alpha1.ReasonContentChanged
			if s.staged != tc.wantStaged || refused != tc.wantRefused || s.payload.Count != tc.wantCount || !cmp.Equal(s.split, tc.want) {
				t.Errorf("staged %v, refused %v, count %d, on record %+v", s.staged, refused, s.payload.Count, s.split)
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package content

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// TestIdentify: texts that are split otherwise do not pass for one.
func TestIdentify(t *testing.T) {
	identify := func(segments ...string) *v1alpha1.RecordedText {
		p := delivery.Payload{Data: []byte(segments[0])}
		for _, segment := range segments[1:] {
			p.Rest = append(p.Rest, []byte(segment))
		}
		return Identify([]byte(strings.Join(segments, "")), p)
	}
	if cmp.Equal(identify("ab", "c"), identify("a", "bc")) {
		t.Error("they are one")
	}
	if got := Digests(identify("abc")); len(got) != 1 || got[0] != sha256.Sum256([]byte("abc")) {
		t.Errorf("of one segment: %x", got)
	}
	digests := Digests(identify("ab", "c"))
	want := []delivery.TextDigest{sha256.Sum256([]byte("ab")), sha256.Sum256([]byte("c"))}
	if diff := cmp.Diff(want, digests); diff != "" {
		t.Error(diff)
	}
}

func TestTextPayload(t *testing.T) {
	const splits, disabled = v1alpha1.LongTextSplit, v1alpha1.DeliveryTokenDisabled
	tests := map[string]struct {
		text         string
		tokens       v1alpha1.DeliveryTokenMode
		longText     v1alpha1.LongText
		image        bool
		want         string
		wantSegments int
	}{
		"fine":                        {text: "hello 世界", wantSegments: 1},
		"empty":                       {text: "", want: v1alpha1.ReasonContentEmpty},
		"longest with a token":        {text: strings.Repeat("x", 3051), wantSegments: 1},
		"too long with a token":       {text: strings.Repeat("x", 3052), want: v1alpha1.ReasonContentTooLong},
		"longest without":             {text: strings.Repeat("x", 3068), tokens: disabled, wantSegments: 1},
		"too long without":            {text: strings.Repeat("x", 3069), tokens: disabled, want: v1alpha1.ReasonContentTooLong},
		"bytes count, not characters": {text: strings.Repeat("世", 1018), want: v1alpha1.ReasonContentTooLong},
		"not UTF-8":                   {text: "a\xff", want: v1alpha1.ReasonContentInvalid},
		"a NUL":                       {text: "a\x00b", want: v1alpha1.ReasonContentInvalid},
		"short, may be split":         {text: "hello", longText: splits, wantSegments: 1},
		"split":                       {text: strings.Repeat("x", 3052), longText: splits, wantSegments: 2},
		"split in twenty":             {text: strings.Repeat("x", 20*3043), longText: splits, wantSegments: 20},
		"in twenty-one":               {text: strings.Repeat("x", 20*3043+1), longText: splits, want: v1alpha1.ReasonContentTooLong},
		"beyond all segments":         {text: strings.Repeat("x", v1alpha1.MaxTextBytes+1), longText: splits, want: v1alpha1.ReasonContentTooLong},
		"split without tokens":        {text: strings.Repeat("x", 3069), longText: splits, tokens: disabled, want: v1alpha1.ReasonContentTooLong},
		"what cannot be split":        {text: strings.Repeat("x", 3052), longText: splits, image: true, want: v1alpha1.ReasonContentTooLong},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			spec := v1alpha1.TeamTalkMessageSpec{LongText: tc.longText}
			if !tc.image {
				spec.Content.Text = &tc.text
			}
			server := &v1alpha1.TeamTalkServer{Spec: v1alpha1.TeamTalkServerSpec{DeliveryToken: tc.tokens}}
			payload, got := textPayload([]byte(tc.text), spec, server.DeliveryTokens())
			if got == nil && tc.want != "" || got != nil && got.Reason != tc.want {
				t.Errorf("%+v, want %q", got, tc.want)
			}
			if got != nil && tc.text != "" && strings.Contains(got.Message, tc.text) {
				t.Errorf("the message holds the text: %s", got.Message)
			}
			if got == nil && 1+len(payload.Rest) != tc.wantSegments {
				t.Errorf("%d segments, want %d", 1+len(payload.Rest), tc.wantSegments)
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

func TestKeysOf(t *testing.T) {
	good := []byte(strings.Repeat("k", 32))
	many := map[string][]byte{"aesKey": good}
	ref := v1alpha1.SecretKeyRef{Name: "teamtalk", Key: "aesKey"}
	for n := range v1alpha1.MaxPreviousKeys + 1 {
		many[ref.PreviousKey(n+1)] = good
	}
	tests := map[string]struct {
		data         map[string][]byte
		wantPrevious int
		// wantReason and wantName are of the cause.
		wantReason, wantName string
	}{
		"no key":       {data: map[string][]byte{"other": good}, wantReason: v1alpha1.ReasonKeyNotFound, wantName: `"aesKey"`},
		"too short":    {data: map[string][]byte{"aesKey": good[1:]}, wantReason: v1alpha1.ReasonKeyInvalid, wantName: `"aesKey"`},
		"no previous":  {data: map[string][]byte{"aesKey": good}},
		"one previous": {data: map[string][]byte{"aesKey": good, "aesKey.previous": good}, wantPrevious: 1},
		"three": {data: map[string][]byte{
			"aesKey": good, "aesKey.previous": good, "aesKey.previous.2": good, "aesKey.previous.3": good,
		}, wantPrevious: 3},
		"a gap": {data: map[string][]byte{
			"aesKey": good, "aesKey.previous": good, "aesKey.previous.3": good,
		}, wantPrevious: 1},
		"one too short": {data: map[string][]byte{
			"aesKey": good, "aesKey.previous": good, "aesKey.previous.2": nil,
		}, wantReason: v1alpha1.ReasonKeyInvalid, wantName: `"aesKey.previous.2"`},
		"too many": {data: many, wantPrevious: v1alpha1.MaxPreviousKeys},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			keys, cause := KeysOf(tc.data, ref)
			if len(keys.Previous) != tc.wantPrevious || (keys.Current != nil) != (tc.wantReason == "") {
				t.Errorf("%d previous keys, a current one: %v", len(keys.Previous), keys.Current != nil)
			}
			if tc.wantReason == "" && cause != nil ||
				tc.wantReason != "" && (cause == nil || cause.Reason != tc.wantReason || !strings.Contains(cause.Message, tc.wantName)) {
				t.Errorf("cause %+v, want %s about %s", cause, tc.wantReason, tc.wantName)
			}
		})
	}
}

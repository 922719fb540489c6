// SPDX-License-Identifier: Apache-2.0

package cipher

import "testing"

func TestKeys(t *testing.T) {
	current, previous := mustNew(t, testKey), mustNew(t, []byte("another key, of thirty-two bytes"))
	other := mustNew(t, []byte("a third key, of thirty-two bytes"))
	cases := map[string]struct {
		keys   Keys
		sealed *Cipher
		accept string
		want   bool
	}{
		"the current key":    {keys: Keys{current, previous}, sealed: current, accept: "text", want: true},
		"the previous key":   {keys: Keys{current, previous}, sealed: previous, accept: "text", want: true},
		"only a previous":    {keys: Keys{Previous: previous}, sealed: previous, accept: "text", want: true},
		"no previous":        {keys: Keys{Current: current}, sealed: previous, accept: "text"},
		"neither":            {keys: Keys{current, previous}, sealed: other, accept: "text"},
		"no keys":            {sealed: current, accept: "text"},
		"not what was asked": {keys: Keys{current, previous}, sealed: current, accept: "another text"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := tc.keys.Open(tc.sealed.Encrypt([]byte("text")), func(p Plain) bool { return string(p.Text) == tc.accept })
			if got != tc.want {
				t.Errorf("opened: %v, want %v", got, tc.want)
			}
		})
	}
}

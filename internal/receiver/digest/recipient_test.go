// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestRecipientsAsJSON: ids are numbers, as states without names have them, and each recipient is read as it was.
func TestRecipientsAsJSON(t *testing.T) {
	const user, group = v1alpha1.RecipientUser, v1alpha1.RecipientGroup
	tests := map[string]struct {
		to   recipients
		want string // of the list, and of a count of each
	}{
		"none":         {recipients{}, `[[],{}]`},
		"ids":          {recipients{{Type: user, ID: 2}, {Type: group, ID: 7}, {Type: user, ID: 2147483647}}, `[[2,-7,2147483647],{"-7":1,"2":1,"2147483647":1}]`},
		"names":        {recipients{{Type: user, Name: "zhang.san"}, {Type: group, Name: "值班"}}, `[["user:zhang.san","group:值班"],{"group:值班":1,"user:zhang.san":1}]`},
		"digits":       {recipients{{Type: user, Name: "2"}, {Type: group, Name: "-7"}}, `[["user:2","group:-7"],{"group:-7":1,"user:2":1}]`},
		"like others":  {recipients{{Type: user, Name: "group:a"}, {Type: group, Name: "user:a"}}, `[["user:group:a","group:user:a"],{"group:user:a":1,"user:group:a":1}]`},
		"quoted":       {recipients{{Type: user, Name: "a\"b\\ ,]"}}, `[["user:a\"b\\ ,]"],{"user:a\"b\\ ,]":1}]`},
		"ids and name": {recipients{{Type: user, ID: 3}, {Type: user, Name: "3"}}, `[[3,"user:3"],{"3":1,"user:3":1}]`},
	}
	texts := map[string]string{}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			counts := map[recipient]int{}
			for _, r := range tc.to {
				counts[r] = 1
			}
			text, err := json.Marshal([]any{tc.to, counts})
			if err != nil || string(text) != tc.want {
				t.Fatalf("%s, %v; want %s", text, err, tc.want)
			}
			var to recipients
			var read map[recipient]int
			if err := json.Unmarshal(text, &[]any{&to, &read}); err != nil || !reflect.DeepEqual(to, tc.to) || !reflect.DeepEqual(read, counts) {
				t.Errorf("read as %v, %v, %v", to, read, err)
			}
			if other, known := texts[fmt.Sprint(tc.to)]; known {
				t.Errorf("%s and %s have the same text %v", name, other, tc.to)
			}
			texts[fmt.Sprint(tc.to)] = name
		})
	}
	if got := fmt.Sprint(tests["ids"].to); got != "[2 -7 2147483647]" {
		t.Errorf("%s: the digests of a state that exists would be renamed", got)
	}
	one, two := recipients{{Type: user, Name: `a" "user:b`}}, recipients{{Type: user, Name: "a"}, {Type: user, Name: "b"}}
	if fmt.Sprint(one) == fmt.Sprint(two) {
		t.Errorf("%v is one and two", one)
	}
}

func TestRecipientsThatAreDamaged(t *testing.T) {
	for _, text := range []string{`[0]`, `[2147483648]`, `[-2147483648]`, `[1.5]`, `[null]`, `[""]`, `["user:"]`, `["a"]`, `[{}]`, `["user:a]`, `"user:a"`, `7`} {
		var to recipients
		if err := json.Unmarshal([]byte(text), &to); err == nil {
			t.Errorf("%s is read as %v", text, to)
		}
	}
}

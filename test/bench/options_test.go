// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
)

func TestParse(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	noError(t, os.WriteFile(key, []byte("abcdefghijklmnopqrstuvwxyz012345\n"), 0o600))
	own := map[string]string{"DB_PROXY": "a:1", "ROUTER": "b:2", "SENDER": "7", "USERS": "8-9,3", "GROUPS": "5"}
	with := func(name, v string) map[string]string {
		env := maps.Clone(own)
		env[name] = v
		return env
	}
	tests := map[string]struct {
		env     map[string]string
		want    func(options) bool
		wantErr string
	}{
		"nothing": {want: func(o options) bool {
			return o.own == nil && o.rounds == 5 && len(o.figures) == len(figures) && len(o.users) == 1000
		}},
		"chosen, in the order of the run": {env: map[string]string{"BENCH": "stream,idle"}, want: func(o options) bool {
			return len(o.figures) == 2 && o.figures[0].name == "idle" && o.figures[1].name == "stream"
		}},
		"unknown figure": {env: map[string]string{"BENCH": "tea"}, wantErr: `there is no "tea"`},
		"rounds":         {env: map[string]string{"ROUNDS": "9"}, want: func(o options) bool { return o.rounds == 9 }},
		"no rounds":      {env: map[string]string{"ROUNDS": "0"}, wantErr: "ROUNDS=0"},
		"a pace": {env: map[string]string{"LATENCY": "9ms"}, want: func(o options) bool {
			return o.latencyOf(figure{paced: true}) == 9*time.Millisecond && o.latencyOf(figure{}) == 0
		}},
		"stock pace":     {want: func(o options) bool { return o.latencyOf(figure{paced: true}) == stockPace }},
		"no pace":        {env: map[string]string{"LATENCY": "0"}, want: func(o options) bool { return o.latencyOf(figure{paced: true}) == 0 }},
		"one's own pace": {env: with("", ""), want: func(o options) bool { return o.latencyOf(figure{paced: true}) == 0 }},
		"no duration":    {env: map[string]string{"LATENCY": "27"}, wantErr: "LATENCY=27"},
		"not one's own":  {env: with("LATENCY", "1ms"), wantErr: "LATENCY is teamtalk-dev's"},
		"own": {env: own, want: func(o options) bool {
			return o.own != nil && o.sender == 7 && slices.Equal(o.users, []uint32{3, 8, 9}) && slices.Equal(o.groups, []uint32{5}) &&
				string(o.key) == devserver.DevelopmentKey
		}},
		"own key":           {env: with("AES_KEY_FILE", key), want: func(o options) bool { return string(o.key) == "abcdefghijklmnopqrstuvwxyz012345" }},
		"users without own": {env: map[string]string{"USERS": "3"}, wantErr: "DB_PROXY"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o, err := parse(func(name string) string { return test.env[name] })
			switch {
			case test.wantErr != "":
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Errorf("got error %v, want one with %q", err, test.wantErr)
				}
			case err != nil:
				t.Error(err)
			case !test.want(o):
				t.Errorf("got %+v", o)
			}
		})
	}
}

func TestLacks(t *testing.T) {
	o := options{users: make([]uint32, 12)}
	for f, want := range map[*figure]string{
		{users: 1000}: "it takes 1000 users, and USERS names 12",
		{groups: 1}:   "it takes a group",
		{users: 12}:   "",
	} {
		if got := o.lacks(*f); !strings.HasPrefix(got, want) || (got == "") != (want == "") {
			t.Errorf("%+v lacks %q, want %q", *f, got, want)
		}
	}
}

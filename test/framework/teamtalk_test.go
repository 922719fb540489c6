// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestReadOwnTeamTalk(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("abcdefghijklmnopqrstuvwxyz012345\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	own := map[string]string{"DB_PROXY": "a:1", "ROUTER": "b:2", "SENDER": "7", "USERS": "8-9, 3", "GROUPS": "5"}
	for name, tc := range map[string]struct{ variable, value, wantErr string }{
		"users and a group": {},
		"a key":             {variable: "AES_KEY_FILE", value: key},
		"no db_proxy":       {variable: "DB_PROXY", wantErr: "goes with DB_PROXY"},
		"no such key":       {variable: "AES_KEY_FILE", value: key + "x", wantErr: "AES_KEY_FILE"},
		"a short key":       {variable: "AES_KEY_FILE", value: os.DevNull, wantErr: "has 0 bytes, want 32"},
		"no router":         {variable: "ROUTER", wantErr: "ROUTER is not"},
		"no sender":         {variable: "SENDER", wantErr: "SENDER="},
		"two senders":       {variable: "SENDER", value: "1,2", wantErr: "SENDER=1,2"},
		"sender is a user":  {variable: "SENDER", value: "8", wantErr: "has the sender"},
		"no number":         {variable: "USERS", value: "x", wantErr: "no id"},
		"bad range":         {variable: "USERS", value: "9-8", wantErr: "no range"},
		"huge range":        {variable: "GROUPS", value: "1-2000000000", wantErr: "no range"},
		"no id":             {variable: "USERS", value: "0", wantErr: "no id"},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := ReadOwnTeamTalk(func(name string) string {
				if name == tc.variable {
					return tc.value
				}
				return own[name]
			})
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("got error %v, want one with %q", err, tc.wantErr)
				}
				return
			}
			if err != nil || o.DBProxy != "a:1" || o.Router != "b:2" || o.Sender != 7 ||
				!slices.Equal(o.Users, []uint32{3, 8, 9}) || !slices.Equal(o.Groups, []uint32{5}) ||
				tc.value != "" && string(o.Key) != "abcdefghijklmnopqrstuvwxyz012345" {
				t.Errorf("got %+v, %v", o, err)
			}
		})
	}
	if o, err := ReadOwnTeamTalk(func(string) string { return "" }); o != nil || err != nil {
		t.Errorf("without variables: %+v, %v", o, err)
	}
	if _, err := ReadOwnTeamTalk(func(name string) string {
		return map[string]string{"DB_PROXY": "a:1", "ROUTER": "b:2", "SENDER": "7"}[name]
	}); err == nil || !strings.Contains(err.Error(), "neither USERS nor GROUPS") {
		t.Errorf("no recipients: %v", err)
	}
}

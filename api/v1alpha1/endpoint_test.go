// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "testing"

func TestNormalized(t *testing.T) {
	cases := map[Endpoint]Endpoint{
		"db:10600":              "db:10600",
		"DB:10600":              "db:10600",
		"db.:10600":             "db:10600",
		"db:010600":             "db:10600",
		"Db.Chat.SVC.:10600":    "db.chat.svc:10600",
		"10.0.0.1:10600":        "10.0.0.1:10600",
		"[::ffff:10.0.0.1]:1":   "10.0.0.1:1",
		"[::FFFF:0a00:0001]:1":  "10.0.0.1:1",
		"[2001:DB8:0:0::1]:080": "[2001:db8::1]:80",
		"localhost:1":           "localhost:1",
		"no port":               "no port",
	}
	for e, want := range cases {
		if got := e.Normalized(); got != want {
			t.Errorf("%s: %s, want %s", e, got, want)
		}
	}
}

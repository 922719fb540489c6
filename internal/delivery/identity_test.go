// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

func user(id uint32) v1alpha1.Recipient {
	return v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: id}
}

// TestTokenVectors writes the encoding out by hand: another encoding needs another name.
func TestTokenVectors(t *testing.T) {
	cases := map[string]struct {
		id       DeliveryID
		encoding string
		want     string
	}{
		"to a user": {
			id: DeliveryID{Identity: Identity{UID: "0b5d0c34-94c7-4f0e-8a3f-5d4c1f1f9a01"}, Sender: 1, Recipient: user(3)},
			encoding: "\x00\x00\x00\x17teamtalk.io/delivery/v1" + "\x00\x00\x00\x03uid" +
				"\x00\x00\x00\x240b5d0c34-94c7-4f0e-8a3f-5d4c1f1f9a01" +
				"\x00\x00\x00\x010" + "\x00\x00\x00\x010" + "\x00\x00\x00\x011" + "\x00\x00\x00\x04User" + "\x00\x00\x00\x013",
			want: "a85dd192a896d2ba",
		},
		"to a group, all fields": {
			id: DeliveryID{
				Identity: Identity{UID: "m"}, Revision: 12, Segment: 3, Sender: 4294967295,
				Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, ID: 70000},
			},
			encoding: "\x00\x00\x00\x17teamtalk.io/delivery/v1" + "\x00\x00\x00\x03uid" + "\x00\x00\x00\x01m" +
				"\x00\x00\x00\x0212" + "\x00\x00\x00\x013" + "\x00\x00\x00\x0a4294967295" +
				"\x00\x00\x00\x05Group" + "\x00\x00\x00\x0570000",
			want: "9e25204bc9387816",
		},
		"with a key": {
			id: DeliveryID{Identity: Identity{UID: "not used", Namespace: "im", Key: "release-1.4"}, Segment: 1, Sender: 1, Recipient: user(3)},
			encoding: "\x00\x00\x00\x17teamtalk.io/delivery/v1" + "\x00\x00\x00\x03key" +
				"\x00\x00\x00\x02im" + "\x00\x00\x00\x0brelease-1.4" +
				"\x00\x00\x00\x010" + "\x00\x00\x00\x011" + "\x00\x00\x00\x011" + "\x00\x00\x00\x04User" + "\x00\x00\x00\x013",
			want: "8e723961f6f1c277",
		},
		"nothing set": {
			encoding: "\x00\x00\x00\x17teamtalk.io/delivery/v1" + "\x00\x00\x00\x03uid" + "\x00\x00\x00\x00" +
				"\x00\x00\x00\x010" + "\x00\x00\x00\x010" + "\x00\x00\x00\x010" + "\x00\x00\x00\x00" + "\x00\x00\x00\x010",
			want: "459c66140236676c",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			sum := sha256.Sum256([]byte(tc.encoding))
			if got := tc.id.Token().String(); got != hex.EncodeToString(sum[:8]) || got != tc.want {
				t.Errorf("token %s, encoding %x, want %s", got, sum[:8], tc.want)
			}
		})
	}
}

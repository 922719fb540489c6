// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

func user(id uint32) v1alpha1.Recipient {
	return v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: id}
}

// TestTokenVectors: another encoding needs another name. The vectors were not made by this code.
func TestTokenVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/delivery_ids.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Case, UID, Namespace, Key, Name, Text string

		Revision, Segment, Sender, Recipient uint32
		RecipientType, Encoding, Token, Role string
	}
	if err := json.Unmarshal(raw, &vectors); err != nil || len(vectors) == 0 {
		t.Fatalf("%d vectors, %v", len(vectors), err)
	}
	for _, v := range vectors {
		t.Run(v.Case, func(t *testing.T) {
			id := DeliveryID{
				Identity: Identity{UID: types.UID(v.UID), Namespace: v.Namespace, Key: v.Key, Name: v.Name, Revision: v.Revision, Text: sha256.Sum256([]byte(v.Text)), Role: Role(v.Role)},
				Segment:  v.Segment, Sender: v.Sender,
				Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientType(v.RecipientType), ID: v.Recipient},
			}
			encoding, err := hex.DecodeString(v.Encoding)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(encoding)
			if got := id.Token().String(); got != hex.EncodeToString(sum[:8]) || got != v.Token {
				t.Errorf("token %s, encoding %x, want %s", got, sum[:8], v.Token)
			}
		})
	}
}

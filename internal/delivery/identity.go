// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"crypto/sha256"
	"strconv"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// tokenVersion names the encoding below. Another encoding needs another name.
const tokenVersion = "teamtalk.io/delivery/v1"

// TextDigest is the SHA-256 of a text.
type TextDigest [sha256.Size]byte

// Identity identifies a message by the UID of its resource. If Key is set, the namespace and the key identify it. If
// Name is set, the namespace, the name and the text do.
type Identity struct {
	UID                  types.UID
	Namespace, Key, Name string
	// Revision counts the revisions of the resource's content, from 0.
	Revision uint32
	// Text is the digest of the whole text of a message with a Name.
	Text TextDigest
	// Role distinguishes an escalation from the message.
	Role Role
	// Unique: no other resource has had the Key.
	Unique bool
}

// Role is why a recipient gets a message.
type Role string

// Roles.
const (
	// RoleRecipient is the role of the message's recipients.
	RoleRecipient Role = ""
	// RoleEscalation is the role of the recipients in escalateTo.
	RoleEscalation Role = "escalation"
)

// Shared reports whether other resources can have the identity.
func (i Identity) Shared() bool { return i.Key != "" || i.Name != "" }

// Keyed reports whether other resources may have had the identity before.
func (i Identity) Keyed() bool { return i.Shared() && !i.Unique }

// DeliveryID identifies a delivery: one message, from one sender, to one recipient.
type DeliveryID struct {
	Identity
	// Segment of its text, counted from 0.
	Segment   uint32
	Sender    uint32
	Recipient v1alpha1.Recipient
}

// Token returns the first 64 bits of SHA-256 over the id's canonical encoding. Its fields are
// "teamtalk.io/delivery/v1", the identity, revision, segment, sender, recipient type and recipient id. Numbers are in
// decimal. Each field is preceded by its length in bytes as u32 big-endian. The identity is "uid" and the UID, or
// "key", the namespace and the key. For a message that is identified by its name, it is "name", the namespace, the
// name and the 32 bytes of the text's digest. That of an escalation is "escalation", and then the same.
func (d DeliveryID) Token() cipher.Token {
	fields := []string{tokenVersion}
	if d.Role != RoleRecipient {
		fields = append(fields, string(d.Role))
	}
	switch {
	case d.Key != "":
		fields = append(fields, "key", d.Namespace, d.Key)
	case d.Name != "":
		fields = append(fields, "name", d.Namespace, d.Name, string(d.Text[:]))
	default:
		fields = append(fields, "uid", string(d.UID))
	}
	fields = append(fields, decimal(d.Revision), decimal(d.Segment),
		decimal(d.Sender), string(d.Recipient.Type), decimal(d.Recipient.ID))
	digest := cipher.Digest(fields...)
	return cipher.Token(digest[:len(cipher.Token{})])
}

func decimal(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

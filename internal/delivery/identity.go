package delivery

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// tokenVersion names the encoding below; another encoding takes another name,
// so that no two of them can give one token for different deliveries.
const tokenVersion = "teamtalk.io/delivery/v1"

// Identity is what makes a message one message, whatever becomes of its resource:
// its UID; or, where Key is set, its namespace with the key.
type Identity struct {
	UID            types.UID
	Namespace, Key string
}

// Keyed reports whether other resources may have been this message before.
func (i Identity) Keyed() bool { return i.Key != "" }

// DeliveryID names one delivery for good: one message, from one sender, to one
// recipient.
type DeliveryID struct {
	Identity
	// Revision of its content and Part of a revision, both counted from 0.
	Revision, Part uint32
	Sender         uint32
	Recipient      v1alpha1.Recipient
}

// Token returns the first 64 bits of SHA-256 over the id's canonical encoding:
// the fields "teamtalk.io/delivery/v1", "uid" and the UID (or "key", the namespace
// and the key), revision, part, sender, recipient type and recipient id, numbers
// in decimal, each preceded by its length in bytes as u32 big-endian.
func (d DeliveryID) Token() cipher.Token {
	fields := []string{tokenVersion, "uid", string(d.UID)}
	if d.Keyed() {
		fields = []string{tokenVersion, "key", d.Namespace, d.Key}
	}
	fields = append(fields, decimal(d.Revision), decimal(d.Part),
		decimal(d.Sender), string(d.Recipient.Type), decimal(d.Recipient.ID))
	var t cipher.Token
	digest := Digest(fields...)
	copy(t[:], digest[:])
	return t
}

// Digest returns the SHA-256 of the fields, each preceded by its length in bytes as u32 big-endian.
func Digest[T string | []byte](fields ...T) [sha256.Size]byte {
	var b []byte
	for _, field := range fields {
		b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
		b = append(b, field...)
	}
	return sha256.Sum256(b)
}

func decimal(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

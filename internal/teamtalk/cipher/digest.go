// SPDX-License-Identifier: Apache-2.0

package cipher

import (
	"crypto/sha256"
	"encoding/binary"
)

// Digest returns the SHA-256 of the fields, each preceded by its length in bytes as u32
// big-endian. Tokens, names and recorded digests depend on this encoding: it must not change.
func Digest[T string | []byte](fields ...T) [sha256.Size]byte {
	var b []byte
	for _, field := range fields {
		b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
		b = append(b, field...)
	}
	return sha256.Sum256(b)
}

// SPDX-License-Identifier: Apache-2.0

package cipher

// Keys are the current key and, after a rotation, the previous one, with which older texts are encrypted. Both may
// be nil.
type Keys struct {
	Current, Previous *Cipher
}

// Open decrypts data with each key until accept returns true, and reports whether it did. Data does not tell its
// key: accept must recognize the right text or token.
func (k Keys) Open(data []byte, accept func(Plain) bool) bool {
	for _, c := range []*Cipher{k.Current, k.Previous} {
		if c == nil {
			continue
		}
		if plain, err := c.Decrypt(data); err == nil && accept(plain) {
			return true
		}
	}
	return false
}

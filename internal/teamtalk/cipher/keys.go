package cipher

// Keys opens stored texts: the current key, and the previous one where there is
// one, since keys rotate and rows stay. Its zero value opens nothing.
type Keys struct {
	Current, Previous *Cipher
}

// Open decrypts data under each key in turn and reports whether accept took one
// of the results. The key that encrypted data is not recorded anywhere: accept
// must know the right text or token when it sees it.
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

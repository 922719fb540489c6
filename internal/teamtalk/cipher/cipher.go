// SPDX-License-Identifier: Apache-2.0

package cipher

import (
	"crypto/aes"
	gocipher "crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// KeyLen is the length of a key in bytes: AES-256.
	KeyLen = 32
	// MaxData is the longest ciphertext, in bytes of base64, that the content column of db_proxy holds. A longer
	// message is answered but not stored.
	MaxData = 4096
	// MaxText is the longest text, in bytes, for Encrypt.
	MaxText = MaxData/4*3 - trailerLen
	// MaxTextWithToken is the longest text, in bytes, for EncryptWithToken.
	MaxTextWithToken = MaxText - tokenFillerLen

	// trailerLen is the size of the length at the end of the last block.
	trailerLen = 4
	// tokenFillerLen is the size of a NUL, at which one client truncates texts, and a byte per nibble of the token.
	tokenFillerLen = 1 + 2*len(Token{})
	// nibbleMark is combined with each nibble: no client shows the bytes 0x10 to 0x1F.
	nibbleMark = 0x10
)

var (
	// ErrKeyLength reports a key that is not KeyLen bytes long.
	ErrKeyLength = errors.New("key length")
	// ErrCiphertext reports data that was not encrypted with this cipher and key.
	ErrCiphertext = errors.New("not a message ciphertext")
)

// Token is a delivery token, which identifies a message of this project in the store.
type Token [8]byte

// String returns the token as 16 hexadecimal digits.
func (t Token) String() string { return hex.EncodeToString(t[:]) }

// Plain is a decrypted message.
type Plain struct {
	Text []byte
	// Token is valid if HasToken is set.
	Token    Token
	HasToken bool
}

// Cipher encrypts and decrypts with a key. It is safe for concurrent use.
type Cipher struct {
	block gocipher.Block
}

// New returns the cipher for a key. It does not keep the key. It returns ErrKeyLength (wrapped) if the key is
// not KeyLen bytes long.
func New(key []byte) (*Cipher, error) {
	if len(key) != KeyLen {
		return nil, fmt.Errorf("%w: got %d bytes, want %d", ErrKeyLength, len(key), KeyLen)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyLength, err)
	}
	return &Cipher{block: block}, nil
}

// Equal reports whether both have the same key.
func (c *Cipher) Equal(other *Cipher) bool {
	var a, b [aes.BlockSize]byte
	c.block.Encrypt(a[:], a[:])
	other.block.Encrypt(b[:], b[:])
	return a == b
}

// Encrypt returns the base64 ciphertext of a text, padded with zeros. It also encrypts texts over MaxText, which
// db_proxy cannot store.
func (c *Cipher) Encrypt(text []byte) []byte {
	return c.seal(frame(text, 0), len(text))
}

// EncryptWithToken returns the base64 ciphertext of a text, padded with a token. It also encrypts texts over
// MaxTextWithToken, which db_proxy cannot store.
func (c *Cipher) EncryptWithToken(text []byte, t Token) []byte {
	b := frame(text, tokenFillerLen)
	filler := b[len(text)+1:]
	for i, v := range t {
		filler[2*i] = nibbleMark | v>>4
		filler[2*i+1] = nibbleMark | v&0x0F
	}
	return c.seal(b, len(text))
}

// frame returns blocks with the text and zeros, long enough for filler bytes of padding and the trailer.
func frame(text []byte, filler int) []byte {
	n := len(text) + filler + trailerLen
	b := make([]byte, (n+aes.BlockSize-1)/aes.BlockSize*aes.BlockSize)
	copy(b, text)
	return b
}

// seal writes the trailer, encrypts b in place and returns it in base64.
func (c *Cipher) seal(b []byte, textLen int) []byte {
	binary.BigEndian.PutUint32(b[len(b)-trailerLen:], uint32(textLen))
	for i := 0; i < len(b); i += aes.BlockSize {
		c.block.Encrypt(b[i:i+aes.BlockSize], b[i:i+aes.BlockSize])
	}
	return base64.StdEncoding.AppendEncode(nil, b)
}

// Decrypt decrypts data of Encrypt, EncryptWithToken or any TeamTalk client. It returns ErrCiphertext (wrapped) if
// data is not base64, is not whole blocks, or has an invalid length. No other check is possible: with a
// wrong key, the longest texts pass with a probability of about 1 in 2^20 and yield garbage.
func (c *Cipher) Decrypt(data []byte) (Plain, error) {
	b, err := decodeBlocks(data)
	if err != nil {
		return Plain{}, err
	}
	n := len(b)
	for i := 0; i < n; i += aes.BlockSize {
		c.block.Decrypt(b[i:i+aes.BlockSize], b[i:i+aes.BlockSize])
	}
	room := n - trailerLen
	textLen := binary.BigEndian.Uint32(b[room:])
	if uint64(textLen) > uint64(room) {
		return Plain{}, fmt.Errorf("%w: length out of bounds", ErrCiphertext)
	}
	p := Plain{Text: b[:textLen:textLen]}
	p.Token, p.HasToken = parseToken(b[textLen:room])
	return p, nil
}

// decodeBlocks returns the blocks of a ciphertext, which are not decrypted yet.
func decodeBlocks(data []byte) ([]byte, error) {
	b, err := base64.StdEncoding.AppendDecode(nil, data)
	if err != nil {
		return nil, fmt.Errorf("%w: bad base64", ErrCiphertext)
	}
	if n := len(b); n == 0 || n%aes.BlockSize != 0 {
		return nil, fmt.Errorf("%w: %d bytes are not whole blocks", ErrCiphertext, n)
	}
	return b, nil
}

// IsCiphertext reports whether data may be a ciphertext of some key.
func IsCiphertext(data []byte) bool {
	_, err := decodeBlocks(data)
	return err == nil
}

// parseToken returns the token in the padding: a NUL, sixteen marked nibbles and zeros.
func parseToken(filler []byte) (Token, bool) {
	if len(filler) < tokenFillerLen || filler[0] != 0 {
		return Token{}, false
	}
	var t Token
	for i, v := range filler[1:tokenFillerLen] {
		if v&^0x0F != nibbleMark {
			return Token{}, false
		}
		t[i/2] = t[i/2]<<4 | v&0x0F
	}
	if slices.ContainsFunc(filler[tokenFillerLen:], func(v byte) bool { return v != 0 }) {
		return Token{}, false
	}
	return t, true
}

// Keys are the current key, which may be nil, and the previous ones, with which older texts are encrypted.
type Keys struct {
	Current  *Cipher
	Previous []*Cipher
	// AtHand are the periods in which no other key was in use.
	AtHand []Period
}

// Period is a time from Begin until End. If End is zero, it has no end.
type Period struct{ Begin, End time.Time }

// Open decrypts data with each key until accept returns true, and reports whether it did. Data does not tell its
// key: accept must recognize the right text or token.
func (k Keys) Open(data []byte, accept func(Plain) bool) bool {
	opens := func(c *Cipher) bool {
		plain, err := c.Decrypt(data)
		return err == nil && accept(plain)
	}
	return k.Current != nil && opens(k.Current) || slices.ContainsFunc(k.Previous, opens)
}

// MayHide reports whether data of that time may be a text that none of the keys opens.
func (k Keys) MayHide(data []byte, t time.Time) bool {
	return IsCiphertext(data) && !k.Open(data, func(Plain) bool { return true }) &&
		!slices.ContainsFunc(k.AtHand, func(p Period) bool {
			return !t.Before(p.Begin) && (p.End.IsZero() || t.Before(p.End))
		})
}

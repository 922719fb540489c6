// Package cipher is TeamTalk's message cipher: AES-256-ECB over the text, its
// filler and the text's length (u32 big-endian, the last four bytes), in
// base64 without line breaks. It hides texts from the servers' disks and no
// more: equal blocks encrypt alike, and nothing proves who wrote them.
//
// The filler is zeros, or carries a delivery token. Readers of texts take the
// length from the trailer and skip what lies between.
package cipher

import (
	"crypto/aes"
	gocipher "crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

const (
	// KeyLen is the length of a key in bytes: AES-256.
	KeyLen = 32
	// MaxData is the longest ciphertext, in bytes of base64, that db_proxy's
	// content column holds. Beyond it a message is answered but not stored.
	MaxData = 4096
	// MaxText is the longest text, in bytes, whose Encrypt is at most MaxData.
	MaxText = MaxData/4*3 - trailerLen
	// MaxTextWithToken is the longest text, in bytes, whose EncryptWithToken is
	// at most MaxData.
	MaxTextWithToken = MaxText - tokenFillerLen

	// trailerLen is the text's length as u32, at the end of the last block.
	trailerLen = 4
	// tokenFillerLen is one NUL, where the one client that cuts at NUL cuts,
	// and a byte per nibble of the token.
	tokenFillerLen = 1 + 2*len(Token{})
	// nibbleMark is or-ed with each nibble: 0x10..0x1F are the bytes that every
	// client shows as nothing.
	nibbleMark = 0x10
)

var (
	// ErrKeyLength reports a key that is not KeyLen bytes long.
	ErrKeyLength = errors.New("key length")
	// ErrCiphertext reports data that this cipher cannot have made under this
	// key: another key, another version, or no ciphertext at all.
	ErrCiphertext = errors.New("not a message ciphertext")
)

// Token marks a ciphertext as one particular delivery of ours.
type Token [8]byte

// String returns the token as 16 hexadecimal digits.
func (t Token) String() string { return hex.EncodeToString(t[:]) }

// Plain is what a ciphertext holds.
type Plain struct {
	Text []byte
	// Token is meaningful only where HasToken is set.
	Token    Token
	HasToken bool
}

// Cipher encrypts and decrypts under one key. It is immutable and safe for
// concurrent use.
type Cipher struct {
	block gocipher.Block
}

// New returns the cipher under key, which it does not keep. It returns
// ErrKeyLength (wrapped) for a key that is not KeyLen bytes long.
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

// Encrypt returns the base64 ciphertext of text, filled with zeros. Texts over
// MaxText are encrypted too; db_proxy cannot store them.
func (c *Cipher) Encrypt(text []byte) []byte {
	return c.seal(frame(text, 0), len(text))
}

// EncryptWithToken returns the base64 ciphertext of text with t as its filler.
// Texts over MaxTextWithToken are encrypted too; db_proxy cannot store them.
func (c *Cipher) EncryptWithToken(text []byte, t Token) []byte {
	b := frame(text, tokenFillerLen)
	filler := b[len(text)+1:]
	for i, v := range t {
		filler[2*i] = nibbleMark | v>>4
		filler[2*i+1] = nibbleMark | v&0x0F
	}
	return c.seal(b, len(text))
}

// frame returns whole blocks, zeroed but for the text at their start, with
// room for filler bytes and the trailer.
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
	out := make([]byte, base64.StdEncoding.EncodedLen(len(b)))
	base64.StdEncoding.Encode(out, b)
	return out
}

// Decrypt returns what data, as Encrypt or EncryptWithToken or any TeamTalk
// client makes it, holds. It returns ErrCiphertext (wrapped) where data is not
// base64, is not whole blocks, or announces a longer text than it has room
// for. There is no other check to make: a wrong key passes with a probability
// of about 1 in 2^20 for the longest texts, and then yields garbage.
func (c *Cipher) Decrypt(data []byte) (Plain, error) {
	b := make([]byte, base64.StdEncoding.DecodedLen(len(data)))
	n, err := base64.StdEncoding.Decode(b, data)
	if err != nil {
		// The decoder's own error gives an offset only, but no more than that
		// is needed either.
		return Plain{}, fmt.Errorf("%w: bad base64", ErrCiphertext)
	}
	b = b[:n]
	if n == 0 || n%aes.BlockSize != 0 {
		return Plain{}, fmt.Errorf("%w: %d bytes are not whole blocks", ErrCiphertext, n)
	}
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

// parseToken returns the token in the filler: a NUL, sixteen marked nibbles,
// zeros. Any other filler holds none.
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
	for _, v := range filler[tokenFillerLen:] {
		if v != 0 {
			return Token{}, false
		}
	}
	return t, true
}

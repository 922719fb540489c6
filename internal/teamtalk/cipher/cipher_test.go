// SPDX-License-Identifier: Apache-2.0

package cipher

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var testKey = []byte("12345678901234567890123456789012")

// vector is one recorded text; TokenHex is empty where there is none.
type vector struct {
	Key          string `json:"key"`
	PlaintextHex string `json:"plaintext_hex"`
	TokenHex     string `json:"token_hex"`
	Ciphertext   string `json:"ciphertext"`
}

func readVectors(tb testing.TB, name string) []vector {
	tb.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(raw, &file); err != nil {
		tb.Fatal(err)
	}
	if len(file.Vectors) < 10 {
		tb.Fatalf("%s holds %d vectors", name, len(file.Vectors))
	}
	return file.Vectors
}

func mustNew(tb testing.TB, key []byte) *Cipher {
	tb.Helper()
	c, err := New(key)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func mustHex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestConformance(t *testing.T) {
	for _, name := range []string{"message_cipher.json", "delivery_token.json"} {
		t.Run(name, func(t *testing.T) {
			for i, v := range readVectors(t, name) {
				c := mustNew(t, []byte(v.Key))
				want := Plain{Text: mustHex(t, v.PlaintextHex)}
				var got []byte
				if v.TokenHex == "" {
					got = c.Encrypt(want.Text)
				} else {
					want.HasToken = copy(want.Token[:], mustHex(t, v.TokenHex)) == len(want.Token)
					got = c.EncryptWithToken(want.Text, want.Token)
					if want.Token.String() != v.TokenHex {
						t.Errorf("vector %d: token %s, want %s", i, want.Token, v.TokenHex)
					}
				}
				if string(got) != v.Ciphertext {
					t.Errorf("vector %d: encrypted to %s, want %s", i, got, v.Ciphertext)
				}
				plain, err := c.Decrypt([]byte(v.Ciphertext))
				if err != nil {
					t.Errorf("vector %d: %v", i, err)
				}
				if diff := cmp.Diff(want, plain); diff != "" {
					t.Errorf("vector %d (-want +got):\n%s", i, diff)
				}
			}
		})
	}
}

func TestNew(t *testing.T) {
	cases := map[string]struct {
		key     []byte
		wantErr string
	}{
		"32 bytes":         {key: testKey},
		"none":             {wantErr: "key length: got 0 bytes, want 32"},
		"AES-128":          {key: []byte("sixteen secrets!"), wantErr: "key length: got 16 bytes, want 32"},
		"trailing newline": {key: append(bytes.Clone(testKey), '\n'), wantErr: "key length: got 33 bytes, want 32"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c, err := New(tc.key)
			if tc.wantErr == "" {
				if err != nil || c == nil {
					t.Fatalf("New: %v, %v", c, err)
				}
				return
			}
			if !errors.Is(err, ErrKeyLength) || err.Error() != tc.wantErr {
				t.Errorf("error %v, want %q", err, tc.wantErr)
			}
			if len(tc.key) > 0 && strings.Contains(err.Error(), string(tc.key)) {
				t.Error("the error holds the key")
			}
		})
	}
}

// TestLengths holds every length up to the limits: the frame is the shortest
// that fits, what comes back is what went in, and the limits are exact.
func TestLengths(t *testing.T) {
	c := mustNew(t, testKey)
	token := Token{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}
	text := bytes.Repeat([]byte{0xFF}, MaxText+1)
	for n := range len(text) + 1 {
		for _, want := range []Plain{{Text: text[:n]}, {Text: text[:n], Token: token, HasToken: true}} {
			data, limit := c.Encrypt(want.Text), MaxText
			if want.HasToken {
				data, limit = c.EncryptWithToken(want.Text, want.Token), MaxTextWithToken
			}
			if fits := len(data) <= MaxData; fits != (n <= limit) {
				t.Fatalf("%d bytes (token: %v) become %d", n, want.HasToken, len(data))
			}
			got, err := c.Decrypt(data)
			if err != nil {
				t.Fatalf("%d bytes (token: %v): %v", n, want.HasToken, err)
			}
			if !bytes.Equal(got.Text, want.Text) || got.Token != want.Token || got.HasToken != want.HasToken {
				t.Fatalf("%d bytes (token: %v) come back as %d (token: %v)", n, want.HasToken, len(got.Text), got.HasToken)
			}
		}
	}
	if MaxText != 3068 || MaxTextWithToken != 3051 {
		t.Errorf("limits %d and %d", MaxText, MaxTextWithToken)
	}
}

// raw encrypts whole blocks as they are.
func raw(tb testing.TB, b []byte) []byte {
	tb.Helper()
	c := mustNew(tb, testKey)
	out := bytes.Clone(b)
	for i := 0; i < len(out); i += 16 {
		c.block.Encrypt(out[i:i+16], out[i:i+16])
	}
	return []byte(base64.StdEncoding.EncodeToString(out))
}

func TestDecrypt(t *testing.T) {
	token := "\x00\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f"
	wantToken := Token{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}
	zeros := func(n int) string { return strings.Repeat("\x00", n) }
	cases := map[string]struct {
		plain   string // whole blocks; encrypted as they are
		data    string // instead of plain
		want    Plain
		wantErr bool
	}{
		"empty text":                {plain: zeros(16), want: Plain{Text: []byte{}}},
		"no filler":                 {plain: "twelve bytes\x00\x00\x00\x0c", want: Plain{Text: []byte("twelve bytes")}},
		"text with NULs":            {plain: "a\x00\x00b" + zeros(8) + "\x00\x00\x00\x04", want: Plain{Text: []byte("a\x00\x00b")}},
		"any other filler":          {plain: "a\x07 8 bytes..\x00\x00\x00\x01", want: Plain{Text: []byte("a")}},
		"more blocks than needed":   {plain: "a" + zeros(43) + "\x00\x00\x00\x01", want: Plain{Text: []byte("a")}},
		"line breaks":               {data: "oUUBHCyH\r\nTnu3QiugETvVpw==\n", want: Plain{Text: []byte("h")}},
		"token":                     {plain: "abc" + token + zeros(8) + "\x00\x00\x00\x03", want: Plain{Text: []byte("abc"), Token: wantToken, HasToken: true}},
		"token without zeros":       {plain: "elevenbytes" + token + "\x00\x00\x00\x0b", want: Plain{Text: []byte("elevenbytes"), Token: wantToken, HasToken: true}},
		"token without text":        {plain: token + zeros(15), want: Plain{Text: []byte{}, Token: wantToken, HasToken: true}},
		"token inside the text":     {plain: "abc" + token + zeros(8) + "\x00\x00\x00\x14", want: Plain{Text: []byte("abc" + token)}},
		"token without its NUL":     {plain: "abc" + token[1:] + zeros(9) + "\x00\x00\x00\x03", want: Plain{Text: []byte("abc")}},
		"token of fifteen nibbles":  {plain: "abc" + token[:16] + zeros(9) + "\x00\x00\x00\x03", want: Plain{Text: []byte("abc")}},
		"token with an unmarked":    {plain: "abc" + token[:16] + "\x0f" + zeros(8) + "\x00\x00\x00\x03", want: Plain{Text: []byte("abc")}},
		"token with a mark over":    {plain: "abc" + token[:16] + "\x31" + zeros(8) + "\x00\x00\x00\x03", want: Plain{Text: []byte("abc")}},
		"token and more":            {plain: "abc" + token + "\x10" + zeros(7) + "\x00\x00\x00\x03", want: Plain{Text: []byte("abc")}},
		"nothing":                   {data: "", wantErr: true},
		"only line breaks":          {data: "\n\n\n\n\n\n", wantErr: true},
		"bad base64":                {data: "oUUBHCyHTnu3QiugETvVp!==", wantErr: true},
		"base64 cut":                {data: "oUUBHCyHTnu3QiugETvVp", wantErr: true},
		"plain text":                {data: "hello", wantErr: true},
		"a byte short of a block":   {data: base64.StdEncoding.EncodeToString(make([]byte, 15)), wantErr: true},
		"a byte over a block":       {data: base64.StdEncoding.EncodeToString(make([]byte, 17)), wantErr: true},
		"length one over":           {plain: zeros(12) + "\x00\x00\x00\x0d", wantErr: true},
		"length over int32":         {plain: zeros(12) + "\x80\x00\x00\x00", wantErr: true},
		"length all ones":           {plain: zeros(12) + "\xff\xff\xff\xff", wantErr: true},
		"length without its blocks": {plain: zeros(28) + "\x00\x00\x10\x00", wantErr: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			data := []byte(tc.data)
			if tc.plain != "" {
				if len(tc.plain)%16 != 0 {
					t.Fatalf("%d bytes", len(tc.plain))
				}
				data = raw(t, []byte(tc.plain))
			}
			before := bytes.Clone(data)
			got, err := mustNew(t, testKey).Decrypt(data)
			if errors.Is(err, ErrCiphertext) != tc.wantErr || (err != nil) != tc.wantErr {
				t.Fatalf("error %v, want one: %v", err, tc.wantErr)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !bytes.Equal(before, data) {
				t.Error("the input was changed")
			}
		})
	}
}

func TestWrongKey(t *testing.T) {
	data := mustNew(t, testKey).EncryptWithToken([]byte("hello"), Token{1})
	plain, err := mustNew(t, []byte("another key, of thirty-two bytes")).Decrypt(data)
	if !errors.Is(err, ErrCiphertext) {
		t.Errorf("got %q, %v", plain.Text, err)
	}
}

func TestKeys(t *testing.T) {
	current, previous := mustNew(t, testKey), mustNew(t, []byte("another key, of thirty-two bytes"))
	other := mustNew(t, []byte("a third key, of thirty-two bytes"))
	both := Keys{Current: current, Previous: []*Cipher{previous}}
	cases := map[string]struct {
		keys   Keys
		sealed *Cipher
		accept string
		want   bool
	}{
		"the current key":    {keys: both, sealed: current, accept: "text", want: true},
		"the previous key":   {keys: both, sealed: previous, accept: "text", want: true},
		"only a previous":    {keys: Keys{Previous: []*Cipher{previous}}, sealed: previous, accept: "text", want: true},
		"an older one":       {keys: Keys{Current: current, Previous: []*Cipher{other, previous}}, sealed: previous, accept: "text", want: true},
		"no previous":        {keys: Keys{Current: current}, sealed: previous, accept: "text"},
		"neither":            {keys: both, sealed: other, accept: "text"},
		"no keys":            {sealed: current, accept: "text"},
		"not what was asked": {keys: both, sealed: current, accept: "another text"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := tc.keys.Open(tc.sealed.Encrypt([]byte("text")), func(p Plain) bool { return string(p.Text) == tc.accept })
			if got != tc.want {
				t.Errorf("opened: %v, want %v", got, tc.want)
			}
		})
	}
}

func TestEqual(t *testing.T) {
	a, same, other := mustNew(t, testKey), mustNew(t, testKey), mustNew(t, []byte("another key, of thirty-two bytes"))
	if !a.Equal(same) || a.Equal(other) {
		t.Error("keys are not compared")
	}
}

func TestConcurrentUse(t *testing.T) {
	c := mustNew(t, testKey)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			text := bytes.Repeat([]byte{byte(i)}, 100+i)
			for range 200 {
				got, err := c.Decrypt(c.EncryptWithToken(text, Token{byte(i)}))
				if err != nil || !bytes.Equal(got.Text, text) || got.Token != (Token{byte(i)}) {
					t.Errorf("goroutine %d: %x, %v", i, got.Text, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func FuzzRoundTrip(f *testing.F) {
	c := mustNew(f, testKey)
	f.Add([]byte("hello"), []byte("12345678"))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, text, tokenBytes []byte) {
		var token Token
		copy(token[:], tokenBytes)
		got, err := c.Decrypt(c.EncryptWithToken(text, token))
		if err != nil || !bytes.Equal(got.Text, text) || got.Token != token || !got.HasToken {
			t.Fatalf("with token: %+v, %v", got, err)
		}
		got, err = c.Decrypt(c.Encrypt(text))
		if err != nil || !bytes.Equal(got.Text, text) || got.HasToken {
			t.Fatalf("without: %+v, %v", got, err)
		}
	})
}

func FuzzDecrypt(f *testing.F) {
	c := mustNew(f, testKey)
	f.Add([]byte{}, false)
	f.Add([]byte("oUUBHCyHTnu3QiugETvVpw=="), false)
	f.Add(make([]byte, 32), true)
	f.Add([]byte("abc\x00\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03"), true)
	// Random ciphertexts hardly ever pass the trailer; where encrypt is set,
	// the input is taken as the plaintext blocks.
	f.Fuzz(func(t *testing.T, data []byte, encrypt bool) {
		if encrypt {
			data = raw(t, data[:len(data)/16*16])
		}
		plain, err := c.Decrypt(data)
		if err != nil {
			if !errors.Is(err, ErrCiphertext) || plain.Text != nil || plain.HasToken {
				t.Fatalf("%+v, %v", plain, err)
			}
			return
		}
		again := c.Encrypt(plain.Text)
		if plain.HasToken {
			again = c.EncryptWithToken(plain.Text, plain.Token)
		}
		if len(again) > len(data) {
			t.Fatalf("%d bytes held a text that needs %d", len(data), len(again))
		}
		got, err := c.Decrypt(again)
		if err != nil || !bytes.Equal(got.Text, plain.Text) || got.Token != plain.Token || got.HasToken != plain.HasToken {
			t.Fatalf("%+v came back as %+v, %v", plain, got, err)
		}
	})
}

func BenchmarkEncrypt(b *testing.B) {
	c := mustNew(b, testKey)
	text := bytes.Repeat([]byte("x"), 200)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		c.EncryptWithToken(text, Token{1, 2, 3})
	}
}

func BenchmarkDecrypt(b *testing.B) {
	c := mustNew(b, testKey)
	text := bytes.Repeat([]byte("x"), 200)
	data := c.EncryptWithToken(text, Token{1, 2, 3})
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := c.Decrypt(data); err != nil {
			b.Fatal(err)
		}
	}
}

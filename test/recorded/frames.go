// SPDX-License-Identifier: Apache-2.0

// Package recorded holds the frames that were exchanged with real TeamTalk servers, for tests.
//
// Frames returns all of them, in the order of their exchange, and Named one of them.
package recorded

import (
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"slices"
	"testing"
)

//go:embed frames.json
var data []byte

// Frame is a request and what followed, as whole PDUs.
type Frame struct {
	Name    string
	Request PDU
	// Response is the answer, or nil if there was none.
	Response PDU
	// PeerReceives is what the router relayed to another peer, or nil.
	PeerReceives PDU `json:"peer_receives"`
}

// PDU is hexadecimal in JSON.
type PDU []byte

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *PDU) UnmarshalText(text []byte) (err error) {
	*p, err = hex.AppendDecode(nil, text)
	return err
}

// Frames returns the frames in order.
func Frames(tb testing.TB) []Frame {
	tb.Helper()
	var file struct{ Frames []Frame }
	if err := json.Unmarshal(data, &file); err != nil || len(file.Frames) < 30 {
		tb.Fatalf("%d recorded frames, want 30 or more: %v", len(file.Frames), err)
	}
	return file.Frames
}

// Named returns the frame of that name.
func Named(tb testing.TB, name string) Frame {
	tb.Helper()
	frames := Frames(tb)
	i := slices.IndexFunc(frames, func(f Frame) bool { return f.Name == name })
	if i < 0 {
		tb.Fatalf("%s was not recorded", name)
	}
	return frames[i]
}

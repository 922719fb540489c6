// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// piece is a row that the store must hold once: one segment of one message, for one recipient.
type piece struct {
	number, segment int
	to              recipient
	// escalated is set if the message was sent because another one was not read.
	escalated bool
}

// These numbers belong to no message.
const (
	// warm is the number of the messages that exist before the scenario begins. A group that shows nothing as old as
	// a message proves nothing about it.
	warm = 0
	// undeclared is the number of texts that were not declared.
	undeclared = -1
)

// segmentBytes is about how much of a text is in each of its segments.
const segmentBytes = cipher.MaxTextWithToken

// head begins every text, and every line of a text that is split. It has the run, the scenario and the number.
func (w *world) head(number int) string {
	return fmt.Sprintf("chaos %s %s #%d", w.id, w.name, number)
}

// text returns the text of a message. A text that is split has lines, so that each segment begins with one.
func (w *world) text(number int) string {
	if w.segments < 2 || number == warm {
		return w.head(number)
	}
	var b strings.Builder
	for line := 1; b.Len() < (w.segments-1)*segmentBytes+segmentBytes/2; line++ {
		fmt.Fprintf(&b, "%s line %d\n", w.head(number), line)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// parsedText is the parsed text of a row or an announcement.
type parsedText struct {
	number, segment int
	// text has neither the number of its segment nor the first line of an escalation.
	text      string
	escalated bool
}

// parse parses a text. It returns false if the text does not belong to the scenario.
func (w *world) parse(text string) (parsedText, bool) {
	s := parsedText{}
	s.text, s.escalated = escalatedText(text)
	text = s.text
	if segments, rest, ok := strings.Cut(text, ") "); ok {
		var of int
		if n, err := fmt.Sscanf(segments, "(%d/%d", &s.segment, &of); n == 2 && err == nil {
			s.segment--
			s.text = rest
		}
	}
	line, _, _ := strings.Cut(s.text, "\n")
	rest, ok := strings.CutPrefix(line, fmt.Sprintf("chaos %s %s #", w.id, w.name))
	if !ok {
		return parsedText{}, false
	}
	number, _, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		n = undeclared
	}
	s.number = n
	return s, true
}

// secondKey is the key that replaces the first one in secret-rotated.
const secondKey = "chaos-second-key-0123456789abcde"

// soundAt is the offset of the sound in a voice message, after its length in seconds.
const soundAt = 4

// read decodes a message: a text under any of the keys, or a sound.
func (w *world) read(kind wire.MsgType, data []byte) (parsedText, bool) {
	if kind.Audio() {
		if len(data) < soundAt {
			return parsedText{}, false
		}
		return w.parse(string(data[soundAt:]))
	}
	for _, key := range append(slices.Clone(w.keys), secondKey, thirdKey) {
		c, err := cipher.New([]byte(key))
		if err != nil {
			continue
		}
		if plain, err := c.Decrypt(data); err == nil {
			if s, ok := w.parse(string(plain.Text)); ok {
				return s, true
			}
		}
	}
	return parsedText{}, false
}

// pieceOf returns which piece a message on the wire is. It returns false if it does not belong to the scenario.
func (w *world) pieceOf(m *wire.IMMsgData) (piece, bool) {
	s, ok := w.read(m.GetMsgType(), m.GetMsgData())
	to := recipient{group: m.GetMsgType().SessionType() == wire.SessionType_SESSION_TYPE_GROUP, id: m.GetToSessionId()}
	return piece{s.number, s.segment, to, s.escalated}, ok
}

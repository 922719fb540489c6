// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

const (
	// maxState is the longest state, in bytes: a ConfigMap holds 1 MiB.
	maxState = 900 << 10
	// maxLines is how long the lines of all digests of a state are, in bytes.
	maxLines = 384 << 10
	// lineRoom is how long the lines of one digest are, in bytes. The rest is for its first line and "+N more", and for
	// the first line of its escalation: the receiver may get escalateTo while the digest is open.
	lineRoom = cipher.MaxTextWithToken - 80 - v1alpha1.MaxFirstLine
	// bullet precedes each line.
	bullet = "\n• "
)

// ErrFull is the error of a request that the state cannot hold.
var ErrFull = errors.New("too many alerts at once for flood control: send fewer at once (Alertmanager's max_alerts)")

// State is the state of flood control for a receiver.
type State struct {
	// Epoch identifies the state: digests of one that was deleted are not continued.
	Epoch string `json:"epoch"`
	// Window is the current window. Sent is the number of messages in it, by recipient.
	Window Window              `json:"window"`
	Sent   map[recipient]int32 `json:"sent,omitempty"`
	// Digests holds the digests that can still change, and those that may not be published completely.
	Digests []*Digest `json:"digests,omitempty"`
	// Entries are the decisions of the last dedup window, by the hash of the notification.
	Entries map[string]Entry `json:"entries,omitempty"`
}

// Entry is a decision on a notification.
type Entry struct {
	// Time in Unix seconds.
	Time int64 `json:"t"`
	// Number of the message.
	Number int `json:"n"`
	// Recipients for which it is suppressed: all, or a list.
	All        bool       `json:"all,omitempty"`
	Suppressed recipients `json:"suppressed,omitempty"`
}

// suppressed reports whether the notification is suppressed for any recipient.
func (e Entry) suppressed() bool { return e.All || len(e.Suppressed) > 0 }

// recipients returns the recipients of the list that get a message.
func (e Entry) recipients(list []v1alpha1.Recipient) []v1alpha1.Recipient {
	switch {
	case e.All:
		return nil
	case len(e.Suppressed) == 0:
		return list
	}
	suppressed := sets.New(e.Suppressed...)
	return slices.DeleteFunc(slices.Clone(list), func(r v1alpha1.Recipient) bool { return suppressed.Has(recipient(r)) })
}

// Window is a time in which messages are counted.
type Window struct {
	// Begin in Unix seconds, a multiple of Seconds.
	Begin   int64 `json:"begin"`
	Seconds int64 `json:"seconds"`
}

// WindowAt returns the window of a time.
func WindowAt(f *v1alpha1.FloodControl, t time.Time) Window {
	seconds := int64(f.WindowSeconds)
	return Window{Begin: t.Unix() - t.Unix()%seconds, Seconds: seconds}
}

// End returns when the window is over.
func (w Window) End() time.Time { return time.Unix(w.Begin+w.Seconds, 0) }

// Digest is one message about notifications of a window that were suppressed for the same recipients.
type Digest struct {
	Window
	To recipients `json:"to"`
	// Count is the number of notifications. Lines are those of the first ones.
	Count int      `json:"count"`
	Lines []string `json:"lines,omitempty"`
	// Full: a line did not fit. The notifications since are only counted.
	Full bool `json:"full,omitempty"`
}

// add adds a line, if it fits.
func (d *Digest) add(line string) {
	used := len(bullet) + len(line)
	for _, other := range d.Lines {
		used += len(bullet) + len(other)
	}
	if d.Full = d.Full || used > lineRoom; !d.Full {
		d.Lines = append(d.Lines, line)
	}
}

// text is the text of the message.
func (d *Digest) text() string {
	var text strings.Builder
	fmt.Fprintf(&text, "📦 %d more within %d s", d.Count, d.Seconds)
	for _, line := range d.Lines {
		text.WriteString(bullet + line)
	}
	if more := d.Count - len(d.Lines); more > 0 {
		fmt.Fprintf(&text, "\n+%d more", more)
	}
	return text.String()
}

// digest returns the digest of a window and recipients. It is created if necessary.
func (s *State) digest(w Window, to recipients) *Digest {
	for _, d := range s.Digests {
		if d.Window == w && slices.Equal(d.To, to) {
			return d
		}
	}
	d := &Digest{Window: w, To: to}
	s.Digests = append(s.Digests, d)
	return d
}

// linesLength is how long the lines of all digests are, in bytes.
func (s *State) linesLength() (length int) {
	for _, d := range s.Digests {
		for _, line := range d.Lines {
			length += len(line)
		}
	}
	return length
}

// decode parses a state.
func decode(text string) (*State, error) {
	s := &State{}
	if err := json.Unmarshal([]byte(text), s); err != nil {
		return nil, err
	}
	for _, d := range s.Digests {
		if d == nil || d.Seconds <= 0 || len(d.To) == 0 {
			return nil, errors.New("a digest is not complete")
		}
	}
	if s.Epoch == "" {
		return nil, errors.New("it has no epoch")
	}
	return s, nil
}

// encode returns the state in at most so many bytes. Entries that are older than the dedup window are dropped first,
// then the oldest ones: their repeats are new notifications. Entries of now are kept.
func (s *State) encode(dedup time.Duration, now time.Time, limit int) (string, error) {
	maps.DeleteFunc(s.Entries, func(_ string, e Entry) bool { return now.Sub(time.Unix(e.Time, 0)) > dedup })
	for {
		text, err := json.Marshal(s)
		if err != nil {
			return "", fmt.Errorf("encode the state of flood control: %w", err)
		}
		if len(text) <= limit {
			return string(text), nil
		}
		oldest := slices.SortedFunc(maps.Keys(s.Entries), func(a, b string) int {
			return cmp.Compare(s.Entries[a].Time, s.Entries[b].Time)
		})
		for i, hash := range oldest[:min(len(oldest), len(oldest)/8+1)] {
			if s.Entries[hash].Time < now.Unix() {
				delete(s.Entries, hash)
			} else if i == 0 {
				return "", ErrFull
			}
		}
		if len(oldest) == 0 {
			return "", ErrFull
		}
	}
}

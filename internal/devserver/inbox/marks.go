// SPDX-License-Identifier: Apache-2.0

package inbox

import (
	"slices"
	"sync"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/store"
)

// readMarks are up to where users have read conversations since the start. TeamTalk keeps only counters of them.
type readMarks struct {
	mu sync.Mutex
	// rows has the last row that was read, by session and user.
	rows map[string]map[uint32]int64
}

// add marks a session as read by a user up to the last of its messages that has at most this id.
func (r *readMarks) add(reader *Reader, session store.Session, user, upTo uint32) error {
	messages, err := reader.LatestOf(session, -1)
	if err != nil {
		return err
	}
	var last int64
	for _, m := range messages {
		if m.MsgID <= upTo {
			last = max(last, m.Row)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	name := session.String()
	if r.rows == nil {
		r.rows = map[string]map[uint32]int64{}
	}
	if r.rows[name] == nil {
		r.rows[name] = map[uint32]int64{}
	}
	r.rows[name][user] = max(r.rows[name][user], last)
	return nil
}

// show adds to messages who has read them. Senders do not count.
func (r *readMarks) show(messages []Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range messages {
		m := &messages[i]
		for user, row := range r.rows[m.Session] {
			if m.Row <= row && user != m.From {
				m.ReadBy = append(m.ReadBy, user)
			}
		}
		slices.Sort(m.ReadBy)
	}
}

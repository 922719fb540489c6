// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
)

// maxBeginnings limits the groups of a store whose beginning is known.
const maxBeginnings = 1 << 10

// beginning is the time of the oldest row of a group that any member is shown, in unix seconds, and who is shown it.
// Without it, each first search for a key would ask all members of a group that is younger than the window of keys.
// It stays true: nobody is shown more later, and what is stored later is shown to those who are shown that row.
type beginning struct{ createTime, reader uint32 }

// membersAsked are the members of a group that were asked for its history.
type membersAsked struct {
	count int32
	// first is the oldest row that they are shown. unsure: one was shown nothing, which may be an outage.
	first  beginning
	unsure bool
	// why says why the message may be hidden among the rows of one of them; "": of none.
	why string
}

func (m membersAsked) add(member uint32, seen *conversationScan) membersAsked {
	m.count++
	m.unsure = m.unsure || seen.rows == 0
	if seen.rows > 0 && !seen.whole {
		m.why = seen.why
	}
	if seen.rows > 0 && (m.first.reader == 0 || seen.oldest.createTime < m.first.createTime) {
		m.first = beginning{seen.oldest.createTime, member}
	}
	return m
}

// reachesBack reports whether a whole scan of a group shows a row from before the window of keys, or its beginning.
func (q *question) reachesBack(found *conversationScan) bool {
	return found.old || q.begins.reader != 0 && found.rows > 0 && found.oldest.createTime <= q.begins.createTime
}

// noteBeginning remembers the oldest row that the sender and all other members are shown, unless something that was
// sent before may still be on its way into the store. found is the sender's scan.
func (q *question) noteBeginning(found *conversationScan) {
	first := found.members.first
	if found.rows > 0 && found.oldest.createTime <= first.createTime {
		first = beginning{found.oldest.createTime, q.task.Sender}
	}
	settled := time.Unix(int64(first.createTime), 0).Before(q.askedAt.Add(-attemptTTL))
	if first.reader != 0 && !found.members.unsure && settled {
		q.known.noteBeginning(q.conversation, first)
	}
}

// beginning returns that of a group; reader 0: it is not known.
func (k *knownRows) beginning(c queue.Conversation) beginning {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.storeOf(c).beginnings[c.Participants]
}

func (k *knownRows) noteBeginning(c queue.Conversation, first beginning) {
	k.mu.Lock()
	defer k.mu.Unlock()
	of := k.storeOf(c)
	if of == k.none {
		return
	}
	if of.beginnings == nil {
		of.beginnings = map[queue.Participants]beginning{}
	}
	of.beginnings[c.Participants] = first
	for other := range of.beginnings { // any
		if len(of.beginnings) <= maxBeginnings {
			break
		}
		if other != c.Participants {
			delete(of.beginnings, other)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
)

// maxBeginnings limits the groups of a store whose beginning is remembered.
const maxBeginnings = 1 << 10

// beginning is the time of the oldest row of a group that any member is shown, in unix seconds, and that member.
// Without it, each first search for a key would read as all members of a group that is younger than the window of keys.
// It remains true: no member is shown older rows later, and later rows are shown to that member.
type beginning struct{ createTime, reader uint32 }

// membersAsked are the members as which a group's history was read.
type membersAsked struct {
	count int32
	// first is the oldest row that they are shown. unsure: one was shown nothing, which may be an outage.
	first  beginning
	unsure bool
	// why tells why the message may be hidden among the rows of one of them, or is "".
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

// noteBeginning remembers the oldest row that the sender and all other members are shown, unless an earlier send may
// still be stored. found is the sender's scan.
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

// beginning returns the beginning of a group. The reader is 0 if it is not known.
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

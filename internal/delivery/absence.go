// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Why a search proves nothing. They are shown in the status: stable from try to try, and short.
const (
	whySilent    = "db_proxy did not answer the search"
	whyUnstable  = "db_proxy gave two different answers to the same request"
	whyControl   = "db_proxy shows no row that is known to be stored: its tables or its replica may be unreadable"
	whyStale     = "db_proxy does not show a row that was stored after the attempt: its replica may have stopped"
	whyDirectory = "TeamTalk shows neither rows nor users: its database may be down"
	whyRecorded  = "the operator has not read all finished messages yet, with which it compares the store"
	whyHidden    = "no queried member sees the group's messages back to the creation of this one"
	whyTooLong   = "the conversation is too long to be searched as far back as needed"
	whyTooSlow   = "db_proxy answers too slowly to search the conversation as far back as needed"
)

func whyMissing(id uint32) string {
	return fmt.Sprintf("row %d is known to be stored, and db_proxy does not show it: a table may be unreadable", id)
}

func whyConcealed(id uint32, hasToken bool) string {
	if !hasToken {
		return fmt.Sprintf("row %d may be this message: its time fits, and its content is another one or unreadable", id)
	}
	return fmt.Sprintf("row %d may be this message, and no key decrypts it: "+
		"add its key as a previous one, or delete it", id)
}

const (
	// membersPerSearch is the number of other members as which one search reads the history of a group. The next search
	// uses others.
	membersPerSearch = 32
	// membersTime limits the time in which a search reads as members: a stock db_proxy executes few requests about groups
	// concurrently.
	membersTime = 2 * scanTime
)

// proveAbsent returns why the sender's scan does not prove that the message is absent, or "" if it does. In a group it
// also reads as other members, and completes the scan if one of them sees the message.
func (q *question) proveAbsent(ctx context.Context, found *conversationScan) (why string, err error) {
	group := q.to.Type == v1alpha1.RecipientGroup
	switch {
	case group && (found.rows == 0 || found.unreached || q.to.unseenKey && found.whole && !q.reachesBack(found)):
		// The end of its rows may be the beginning of the conversation, or when the sender has joined again.
		why, err = q.proveAbsentInGroup(ctx, found)
	case found.rows == 0 && found.whole:
		why, err = q.proveEmpty(ctx, q.scanIsEmpty)
	case !found.whole:
		why = found.why
	}
	return why, err
}

// scanIsEmpty reports whether the sender is shown no rows at all.
func (q *question) scanIsEmpty(ctx context.Context) (bool, error) {
	again, err := q.scan(ctx, q.task.session(q.to))
	return again.rows == 0, err
}

// hasNoLatest reports whether the conversation has no newest row. It does not depend on the rows that the reader may
// see.
func (q *question) hasNoLatest(ctx context.Context) (bool, error) {
	latest, err := q.path.LatestID(ctx, q.task.session(q.to))
	return latest == 0, err
}

// hasRows lists the conversation of a known row, as the search lists its conversation: db_proxy may find rows by id
// although it cannot list them.
func (q *question) hasRows(ctx context.Context, row controlRow) (bool, error) {
	if q.to.Type == v1alpha1.RecipientGroup {
		latest, err := q.path.LatestID(ctx, row.Session)
		return latest != 0, err
	}
	var s controlScanner
	err := q.path.Scan(ctx, row.Session, 1, &s)
	if s.shown || err != nil || row.Type != wire.SessionType_SESSION_TYPE_GROUP {
		return s.shown && s.createTime >= row.createTime, err
	}
	// The row's reader may have left the group.
	latest, err := q.path.LatestID(ctx, row.Session)
	return latest != 0 && latest >= row.id, err
}

// controlScanner keeps the last row's time.
type controlScanner struct {
	shown      bool
	createTime uint32
}

func (s *controlScanner) Begin() { *s = controlScanner{} }

func (s *controlScanner) Row(r *wire.MsgInfo) { s.shown, s.createTime = true, r.GetCreateTime() }

// proveEmpty returns why the conversation may have rows although db_proxy has shown none, or "" if it has none. An
// outage of a table also shows none, so ask is called again between two reads of a known row.
func (q *question) proveEmpty(ctx context.Context, ask func(context.Context) (bool, error)) (why string, err error) {
	complete := q.hasKnownRow() || q.recorded(ctx)
	switch row, known := q.known.shownOrRecorded(q.conversation); {
	case known:
		return whyMissing(row.id), nil
	case !complete:
		return whyRecorded, nil
	}
	control, why, err := q.findControl(ctx)
	if why != "" || err != nil {
		return why, err
	}
	if empty, err := ask(ctx); err != nil || !empty {
		return whyUnstable, err
	}
	if shown, err := control.shown(ctx); err != nil || !shown {
		return control.why, err
	}
	return "", nil
}

// control is a read of a row or user that must exist.
type control struct {
	shown func(context.Context) (bool, error)
	// why is the conclusion if it is not shown.
	why string
}

// findControl returns a control that is shown now: a known row, or one from the recent sessions of sender and
// recipient. If no row is known, it uses the directory.
func (q *question) findControl(ctx context.Context) (found control, why string, err error) {
	candidates, unlike := q.known.controls(q.conversation)
	for _, row := range candidates {
		found := q.rowControl(row, unlike)
		if shown, err := found.shown(ctx); err != nil || shown {
			return found, "", err
		}
	}
	users := []uint32{q.task.Sender}
	if q.to.Type == v1alpha1.RecipientUser {
		users = append(users, q.to.ID)
	}
	for _, user := range users {
		sessions, err := q.path.RecentSessions(ctx, user)
		if err != nil {
			return control{}, "", err
		}
		switch row, rowUnlike := q.recentRow(user, sessions); {
		case rowUnlike < 0:
			return control{}, whyMissing(row.id), nil
		case row.id != 0 && (len(candidates) == 0 || rowUnlike <= unlike):
			// db_proxy has read its id from the tables of messages just now.
			return q.rowControl(row, rowUnlike), "", nil
		}
	}
	if len(candidates) > 0 {
		return control{}, whyControl, nil
	}
	directory := control{q.directoryAnswers, whyDirectory}
	shown, err := directory.shown(ctx)
	if err == nil && !shown {
		why = whyDirectory
	}
	return directory, why, err
}

// rowControl is a read of a row's conversation. A row of a group is weak evidence for single chats, and vice versa. In
// that case the directory must answer as well.
func (q *question) rowControl(row controlRow, unlike int) control {
	return control{why: whyControl, shown: func(ctx context.Context) (bool, error) {
		shown, err := q.hasRows(ctx, row)
		if err == nil && shown && unlike == otherKind {
			return q.directoryAnswers(ctx)
		}
		return shown, err
	}}
}

// recentRow returns the row of a user's recent sessions that is the best evidence for the conversation, and its
// unlikeness. The id is 0 if there is none. A row of the conversation itself is returned with -1.
func (q *question) recentRow(user uint32, sessions []*wire.ContactSessionInfo) (found controlRow, unlike int) {
	unlike = mostUnlike
	for _, s := range sessions {
		if s.GetLatestMsgId() == 0 {
			continue
		}
		row := controlRow{
			dbproxy.Session{Type: s.GetSessionType(), UserID: user, ID: s.GetSessionId()}, knownRow{id: s.GetLatestMsgId()},
		}
		to := v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: row.ID}
		if row.Type == wire.SessionType_SESSION_TYPE_GROUP {
			to.Type = v1alpha1.RecipientGroup
		}
		c := queue.ConversationOf(q.conversation.Server, user, to)
		if c == q.conversation {
			return row, -1
		}
		if u := unlikeness(tableOf(q.conversation.Participants), tableOf(c.Participants)); u < unlike {
			found, unlike = row, u
		}
	}
	return found, unlike
}

// directoryAnswers reports whether the directory shows the sender or the recipient; of a group, the group.
func (q *question) directoryAnswers(ctx context.Context) (bool, error) {
	if q.to.Type == v1alpha1.RecipientGroup {
		groups, err := q.path.Groups(ctx, q.task.Sender, []uint32{q.to.ID}, keepWitnesses(q.task.Sender))
		return groups[q.to.ID] != nil, err
	}
	users, err := q.path.Users(ctx, q.task.Sender, []uint32{q.task.Sender, q.to.ID})
	return len(users) > 0, err
}

// proveAbsentInGroup returns why a group may hold the message although it has shown the sender no rows, or none from
// before the message. It returns "" if the message is absent. The sender may have joined later, or may not be a member.
func (q *question) proveAbsentInGroup(ctx context.Context, found *conversationScan) (why string, err error) {
	if found.rows == 0 {
		// Only 0 is evidence: after a loss of db_proxy's counters, the message may have any other id.
		if empty, err := q.hasNoLatest(ctx); err != nil {
			return "", err
		} else if empty {
			return q.proveEmpty(ctx, q.hasNoLatest)
		}
	}
	return q.askMembers(ctx, found)
}

// askMembers reads a group's history as other members, until one sees enough. db_proxy does not authenticate the
// reader.
func (q *question) askMembers(ctx context.Context, found *conversationScan) (why string, err error) {
	// Either answer will do, if there are two.
	var members atomic.Pointer[groupReaders]
	_, err = q.path.Groups(ctx, q.task.Sender, []uint32{q.to.ID}, func(g *wire.GroupInfo) {
		if g.GetGroupId() == q.to.ID {
			members.Store(q.readers(g, found.rows == 0))
		}
		proto.Reset(g)
	})
	if err != nil {
		return "", err
	}
	of := cmp.Or(members.Load(), &groupReaders{})
	if why = found.why; of.members == 0 {
		why = whyHidden // a flushed cache hides the history from everybody
	}
	began := time.Now()
	for n, id := range of.readers {
		if time.Since(began) > membersTime {
			break
		}
		reader := q.task.session(q.to)
		reader.UserID = id
		seen, err := q.scan(ctx, reader)
		switch {
		case err != nil:
			found.limits = seen.limits
			return seen.why, err
		case seen.row != nil || seen.whole && (q.reach() != 0 || q.reachesBack(&seen)):
			seen.members = found.members
			*found = seen
			return "", nil
		case !seen.whole && seen.rows > 0:
			why = seen.why
		}
		if isExtra := n == 0 && of.extra; !isExtra && id != q.task.Sender {
			found.members = found.members.add(id, &seen)
		}
	}
	return q.concludeMembers(found, of.others, why), nil
}

// concludeMembers returns why all members together do not prove that the message is absent, if none has seen enough. A
// key that this operator has not used counts as absent if no member sees a message with it.
func (q *question) concludeMembers(found *conversationScan, others int, why string) string {
	all := found.members.count >= int32(others)
	switch why = cmp.Or(why, found.members.why); {
	case why != "" && all:
		found.members = membersAsked{} // the next search uses them again
	case why == "" && !all:
		why = whyHidden
	case why == "" && q.to.unseenKey && others > 0:
		q.noteBeginning(found)
	}
	return why
}

// reach is the time back to which a group's history must reach, or 0.
func (q *question) reach() uint32 { return q.task.fingerprint(q.to).Reach }

// groupReaders are the members as which a group's history is read. others counts the members without the sender. extra
// is true if the first reader is the one who was shown most rows before.
type groupReaders struct {
	readers         []uint32
	members, others int
	extra           bool
}

// readers returns some of the other members: the creator among the first, because it joined early, and the sender last
// if it has seen nothing. It reuses the group's memory.
func (q *question) readers(group *wire.GroupInfo, senderAgain bool) *groupReaders {
	all := group.GroupMemberList
	members := len(all)
	slices.Sort(all)
	others := slices.DeleteFunc(all, func(id uint32) bool { return id == q.task.Sender })
	isMember := len(others) < members
	if i := slices.Index(others, group.GetGroupCreatorId()); i > 0 {
		others[0], others[i] = others[i], others[0]
	}
	found := &groupReaders{members: members, others: len(others)}
	for n := range min(membersPerSearch, len(others)) {
		found.readers = append(found.readers, others[(int(q.to.members.count)+n)%len(others)])
	}
	if found.extra = q.to.unseenKey && slices.Contains(others, q.begins.reader); found.extra {
		found.readers = slices.Insert(found.readers, 0, q.begins.reader)
	}
	if senderAgain && isMember {
		found.readers = append(found.readers, q.task.Sender)
	}
	return found
}

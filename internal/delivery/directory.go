package delivery

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// TeamTalk is one installation, as the engine needs it.
type TeamTalk interface {
	// Path returns reads over one path, which vouch for each other. Its errors
	// are those of the reads.
	Path() (dbproxy.Reads, error)
	// Send stores a message and returns the id that db_proxy answers with. It waits
	// for its turn until queue is done, and then for the answer until ctx is.
	Send(ctx, queue context.Context, m dbproxy.Message) (uint32, error)
	// Route hands a stored message to a router.
	Route(ctx context.Context, m dbproxy.Message, msgID uint32) error
	// Keys returns the keys as they are now.
	Keys() cipher.Keys
	// WaitReady blocks until db_proxy is connected, or ctx is done.
	WaitReady(ctx context.Context) error
}

// Look is what the directory showed at one time.
type Look struct {
	// At is when it was asked.
	At     time.Time
	Users  map[uint32]*wire.UserInfo
	Groups map[uint32]*wire.GroupInfo
}

// lookChunk is how many users are asked for at once: an answer stays well below
// what a frame may hold, long signatures included.
const lookChunk = 200

// groupChunk is the same for groups, each of which comes with its members.
const groupChunk = 20

// lookLife is how long a look is good for recipients that come to it later: a
// long queue in a conversation must not end with a user who has left since.
const lookLife = 30 * time.Second

// takeLook asks for the sender beside users and groups: the sender's presence
// in the answer is what makes another's absence believable. One empty answer
// makes the whole look empty: what is missing from it must not pass for missing
// from the directory because another answer was sound.
func takeLook(ctx context.Context, d dbproxy.Reads, sender uint32, users, groups []uint32) (Look, error) {
	look := Look{At: time.Now(), Users: map[uint32]*wire.UserInfo{}, Groups: map[uint32]*wire.GroupInfo{}}
	for len(groups) > 0 {
		n := min(len(groups), groupChunk)
		found, err := d.Groups(ctx, sender, groups[:n])
		if err != nil {
			return Look{}, err
		}
		maps.Copy(look.Groups, found)
		groups = groups[n:]
	}
	if len(users) == 0 {
		// Without another user in the answer, a missing sender would look like an outage.
		users = look.witness(sender)
	}
	for first := true; first || len(users) > 0; first = false {
		n := min(len(users), lookChunk)
		found, err := d.Users(ctx, sender, append([]uint32{sender}, users[:n]...))
		if err != nil {
			return Look{}, err
		}
		if len(found) == 0 {
			return Look{At: look.At}, nil
		}
		maps.Copy(look.Users, found)
		users = users[n:]
	}
	return look, nil
}

// witness returns a member of one of the groups who is not the sender, if there is one.
func (l Look) witness(sender uint32) []uint32 {
	for _, g := range l.Groups {
		for _, m := range g.GetGroupMemberList() {
			if m != sender {
				return []uint32{m}
			}
		}
	}
	return nil
}

// looks shares looks among the recipients of one message: the first one that
// needs it asks for all that are still open.
type looks struct {
	mu   sync.Mutex
	last Look
}

// after returns a look taken no earlier than notBefore, asking for it if the
// last one is older.
func (l *looks) after(ctx context.Context, notBefore time.Time, take func(context.Context) (Look, error)) (Look, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.last.At.IsZero() && !l.last.At.Before(notBefore) {
		return l.last, nil
	}
	if err := ctx.Err(); err != nil {
		return Look{}, err
	}
	look, err := take(ctx)
	if err != nil {
		return Look{}, err
	}
	l.last = look
	return look, nil
}

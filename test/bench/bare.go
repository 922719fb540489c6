// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// bare is a client that sends messages and reads them back, with the operator's connections and limits.
type bare struct {
	client   *dbproxy.Client
	key      *cipher.Cipher
	sender   uint32
	inFlight int
	tokens   atomic.Uint64
}

// dialBare connects a bare client. It is closed when the bench ends.
func (w *world) dialBare(ctx context.Context) *bare {
	spec := w.server.Spec.DBProxy
	b := &bare{key: framework.MustGet(cipher.New(w.o.key)), sender: w.o.sender, inFlight: int(spec.MaxInFlight)}
	b.client = dbproxy.New(dbproxy.Options{
		Address: w.teamtalk.dbProxy, Connections: int(spec.Connections),
		Limits: dbproxy.NewLimits(b.inFlight, int(spec.MaxGroupInFlight)),
	})
	run, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { b.client.Run(run) })
	w.Cleanup(func() { cancel(); wg.Wait() })
	until(ctx, "db_proxy at "+w.teamtalk.dbProxy+" takes connections", func(context.Context) bool {
		return b.client.Connected() == int(spec.Connections)
	})
	return b
}

// checkUsers fails if users do not exist in TeamTalk: messages to them would measure failures.
func (b *bare) checkUsers(ctx context.Context, users []uint32) {
	var unknown []uint32
	for part := range slices.Chunk(append([]uint32{b.sender}, users...), 200) {
		found, err := b.client.Users(ctx, b.sender, part)
		framework.Mustf(err, "ask db_proxy for the users")
		for _, id := range part {
			if found[id] == nil {
				unknown = append(unknown, id)
			}
		}
	}
	if len(unknown) > 0 {
		framework.Failf("TeamTalk does not know %d of the users, %d among them: name others in SENDER and USERS",
			len(unknown), unknown[0])
	}
}

// send sends n messages to the users in turn, reads each one back, and returns how long that took.
func (b *bare) send(ctx context.Context, users []uint32, n int, text func(int) string) time.Duration {
	return b.sendAll(ctx, users, n, text, true)
}

// sendUnverified is send without reading back.
func (b *bare) sendUnverified(ctx context.Context, users []uint32, n int, text func(int) string) time.Duration {
	return b.sendAll(ctx, users, n, text, false)
}

func (b *bare) sendAll(
	ctx context.Context, users []uint32, n int, text func(int) string, verify bool,
) time.Duration {
	began := time.Now()
	framework.Must(framework.Parallel(ctx, b.inFlight, n, func(ctx context.Context, i int) {
		framework.Mustf(b.sendOne(ctx, users[i%len(users)], text(i), verify), "the bare client: message %d", i)
	}))
	return time.Since(began)
}

func (b *bare) sendOne(ctx context.Context, to uint32, text string, verify bool) error {
	var token cipher.Token
	binary.BigEndian.PutUint64(token[:], b.tokens.Add(1))
	m := dbproxy.Message{
		From: b.sender, To: to, CreateTime: uint32(time.Now().Unix()),
		Type: wire.MsgType_MSG_TYPE_SINGLE_TEXT, Data: b.key.EncryptWithToken([]byte(text), token),
	}
	id, err := b.client.Send(ctx, ctx, m)
	if err != nil || !verify {
		return err
	}
	rows, err := b.client.ByID(ctx, b.conversation(to), []uint32{id})
	if err != nil {
		return err
	}
	if len(rows) != 1 || !bytes.Equal(rows[0].GetMsgData(), m.Data) {
		return fmt.Errorf("the store does not show what was sent to user %d", to)
	}
	return nil
}

func (b *bare) conversation(user uint32) dbproxy.Session {
	return dbproxy.Session{Type: wire.SessionType_SESSION_TYPE_SINGLE, UserID: b.sender, ID: user}
}

// verify fails unless each user's newest rows show each of the texts exactly once. A figure counts only if the
// statuses are true.
func (b *bare) verify(ctx context.Context, users []uint32, rows uint32, texts func(user int) []string) {
	framework.Must(framework.Parallel(ctx, b.inFlight, len(users), func(ctx context.Context, i int) {
		count := b.textsTo(ctx, users[i], rows)
		var t framework.Tally
		for _, text := range texts(i) {
			if t.Add(true, count[text]); t.Sum() > 0 {
				framework.Failf("user %d has %q %d times", users[i], text, count[text])
			}
		}
	}))
}

// textsTo returns how often each text is among a user's newest rows.
func (b *bare) textsTo(ctx context.Context, user, rows uint32) map[string]int {
	found, err := b.client.List(ctx, b.conversation(user), rows)
	framework.Mustf(err, "read user %d's messages", user)
	count := map[string]int{}
	for _, row := range found {
		if plain, err := b.key.Decrypt(row.GetMsgData()); err == nil {
			count[string(plain.Text)]++
		}
	}
	return count
}

// stored returns the names of the batch's messages that the store has.
func (b *bare) stored(ctx context.Context, sent batch) sets.Set[string] {
	var mu sync.Mutex
	names := sets.New[string]()
	users := sent.users[:min(len(sent.users), sent.n)]
	framework.Must(framework.Parallel(ctx, b.inFlight, len(users), func(ctx context.Context, user int) {
		count := b.textsTo(ctx, users[user], uint32(sent.n))
		mu.Lock()
		defer mu.Unlock()
		for i := user; i < sent.n; i += len(sent.users) {
			if count[sent.text(i)] > 0 {
				names.Insert(sent.name(i))
			}
		}
	}))
	return names
}

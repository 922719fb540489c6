// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// bare is a client that does nothing but send messages and read them back, over
// as many connections and with as many requests in flight as the operator has.
type bare struct {
	client   *dbproxy.Client
	key      *cipher.Cipher
	sender   uint32
	inFlight int
	tokens   atomic.Uint64
	stop     func()
}

func dialBare(ctx context.Context, address string, connections, inFlight, groupInFlight int, key *cipher.Cipher,
	sender uint32) (*bare, error) {
	b := &bare{key: key, sender: sender, inFlight: inFlight}
	b.client = dbproxy.New(dbproxy.Options{
		Address: address, Connections: connections, Limiter: dbproxy.NewLimiter(inFlight, groupInFlight),
	})
	run, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { b.client.Run(run) })
	b.stop = func() { cancel(); wg.Wait() }
	err := until(ctx, "db_proxy at "+address+" takes connections", func(context.Context) (bool, error) {
		return b.client.Connected() == connections, nil
	})
	if err != nil {
		b.stop()
		return nil, err
	}
	return b, nil
}

// knows returns an error that names the users that TeamTalk does not know: what
// is sent to them would measure failures.
func (b *bare) knows(ctx context.Context, users []uint32) error {
	asked := append([]uint32{b.sender}, users...)
	var unknown []uint32
	for len(asked) > 0 {
		part := asked[:min(len(asked), 200)]
		asked = asked[len(part):]
		found, err := b.client.Users(ctx, b.sender, part)
		if err != nil {
			return fmt.Errorf("ask db_proxy for the users: %w", err)
		}
		for _, id := range part {
			if found[id] == nil {
				unknown = append(unknown, id)
			}
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("TeamTalk does not know %d of the users, %d among them: name others in SENDER and USERS",
			len(unknown), unknown[0])
	}
	return nil
}

// send sends n messages to the users in turn, reads each one back, compares it,
// and returns how long all of that took.
func (b *bare) send(ctx context.Context, users []uint32, n int, text func(int) string) (time.Duration, error) {
	var next atomic.Int64
	began := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for range b.inFlight {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return nil
				}
				if err := b.sendOne(ctx, users[i%len(users)], text(i)); err != nil {
					return fmt.Errorf("the bare client: message %d: %w", i, err)
				}
			}
		})
	}
	err := g.Wait()
	return time.Since(began), err
}

func (b *bare) sendOne(ctx context.Context, to uint32, text string) error {
	var token cipher.Token
	binary.BigEndian.PutUint64(token[:], b.tokens.Add(1))
	m := dbproxy.Message{
		From: b.sender, To: to, CreateTime: uint32(time.Now().Unix()),
		Type: wire.MsgType_MSG_TYPE_SINGLE_TEXT, Data: b.key.EncryptWithToken([]byte(text), token),
	}
	id, err := b.client.Send(ctx, ctx, m)
	if err != nil {
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

// verify returns an error unless each user's newest rows, as many as are given,
// show each of the texts exactly once: what a status says must be true, and a
// figure without it is worth nothing.
func (b *bare) verify(ctx context.Context, users []uint32, rows uint32, texts func(user int) []string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(b.inFlight)
	for i, user := range users {
		g.Go(func() error {
			found, err := b.client.List(ctx, b.conversation(user), rows)
			if err != nil {
				return fmt.Errorf("read user %d's messages: %w", user, err)
			}
			count := map[string]int{}
			for _, row := range found {
				if plain, err := b.key.Decrypt(row.GetMsgData()); err == nil {
					count[string(plain.Text)]++
				}
			}
			for _, text := range texts(i) {
				if count[text] != 1 {
					return fmt.Errorf("user %d has %q %d times", user, text, count[text])
				}
			}
			return nil
		})
	}
	return g.Wait()
}

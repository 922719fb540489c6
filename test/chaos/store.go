// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

func (w *world) cipher(key string) *cipher.Cipher { return framework.MustGet(cipher.New([]byte(key))) }

// direct runs f with a client that does not use the proxies.
func (w *world) direct(ctx context.Context, f func(context.Context, *dbproxy.Client)) {
	ctx, cancel := context.WithCancel(ctx)
	db := dbproxy.New(dbproxy.Options{Address: w.dbProxy, Connections: 1, RequestTimeout: w.patience})
	var wg sync.WaitGroup
	wg.Go(func() { db.Run(ctx) })
	err := framework.Try(func() {
		w.await(ctx, "db_proxy is connected", func() (string, bool) { return "no connection", db.Connected() > 0 })
		f(ctx, db)
	})
	cancel()
	wg.Wait()
	framework.Must(err)
}

func (w *world) warmUp(ctx context.Context) {
	c := w.cipher(w.keys[0])
	w.direct(ctx, func(ctx context.Context, db *dbproxy.Client) {
		for _, id := range w.groups {
			// The message may be stored more than once.
			stored := untilAnswered(ctx, func() (uint32, error) {
				return db.Send(ctx, ctx, dbproxy.Message{
					From: w.sender, To: id, CreateTime: uint32(time.Now().Unix()) - 1,
					Type: wire.MsgType_MSG_TYPE_GROUP_TEXT, Data: c.Encrypt([]byte(w.text(warm))),
				})
			})
			if stored == 0 {
				framework.Failf("send a first message to group %d: db_proxy answers with id 0", id)
			}
		}
	})
}

// row is a piece as it is in the store.
type row struct {
	id uint32
	// at is the time that the sender gave, in unix seconds.
	at   uint32
	text string
}

// stored has the rows of each piece.
type stored map[piece][]row

// rows reads the history of every conversation from TeamTalk, as any client can.
func (w *world) rows(ctx context.Context) stored {
	rows := stored{}
	conversations := sets.New[recipient]()
	for _, m := range w.messages {
		conversations.Insert(m.to...)
		conversations.Insert(m.escalateTo...)
	}
	w.direct(ctx, func(ctx context.Context, db *dbproxy.Client) {
		for to := range conversations {
			for _, r := range w.history(ctx, db, to) {
				if w.foreign[to][r.GetMsgId()] {
					continue
				}
				s, ok := w.read(r.GetMsgType(), r.GetMsgData())
				if !ok && w.dev != nil {
					s, ok = parsedText{number: undeclared}, true // no other program writes here
				}
				if ok && r.GetFromSessionId() == w.sender && s.number != warm {
					p := piece{s.number, s.segment, to, s.escalated}
					rows[p] = append(rows[p], row{r.GetMsgId(), r.GetCreateTime(), s.text})
				}
			}
		}
	})
	return rows
}

// untilAnswered repeats a request until it is answered. A db_proxy with a hanging thread leaves some unanswered.
func untilAnswered[T any](ctx context.Context, request func() (T, error)) (answer T) {
	framework.Must(framework.Await(ctx, "db_proxy answers", func(context.Context) (string, bool, error) {
		var err error
		answer, err = request()
		return fmt.Sprint(err), err == nil, nil
	}))
	return answer
}

// history reads the rows since before the scenario began.
func (w *world) history(ctx context.Context, db *dbproxy.Client, to recipient) []*wire.MsgInfo {
	s := dbproxy.Session{Type: wire.SessionType_SESSION_TYPE_SINGLE, UserID: w.sender, ID: to.id}
	if to.group {
		s.Type = wire.SessionType_SESSION_TYPE_GROUP
	}
	before := uint32(w.began.Add(-time.Minute).Unix())
	for count := uint32(256); ; count *= 4 {
		rows := untilAnswered(ctx, func() ([]*wire.MsgInfo, error) { return db.List(ctx, s, count) })
		if uint32(len(rows)) < count || rows[len(rows)-1].GetCreateTime() < before {
			return rows
		}
	}
}

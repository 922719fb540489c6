package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// tally is what the count has shown.
type tally struct {
	missing, duplicated, unexpected int
	routesMissing, routesRepeated   int
	// problems are what is wrong beside these, in words.
	problems []string
}

func (t *tally) clean() bool {
	return t.missing+t.duplicated+t.unexpected+t.routesMissing+t.routesRepeated+len(t.problems) == 0
}

func (t *tally) problem(format string, args ...any) {
	t.problems = append(t.problems, fmt.Sprintf(format, args...))
}

func (w *world) cipher(key string) (*cipher.Cipher, error) { return cipher.New([]byte(key)) }

// direct runs f with a client that goes past the proxies.
func (w *world) direct(ctx context.Context, f func(context.Context, *dbproxy.Client) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	db := dbproxy.New(dbproxy.Options{Address: w.dbProxy, Connections: 1})
	ended := make(chan error, 1)
	go func() { ended <- db.Run(ctx) }()
	err := w.await(ctx, "db_proxy is connected", func(context.Context) (string, bool, error) {
		return "no connection", db.Connected() > 0, nil
	})
	if err == nil {
		err = f(ctx, db)
	}
	cancel()
	return errors.Join(err, <-ended)
}

// nobodys is the number of what nobody has declared.
const nobodys = -1

// stored are the ids under which each number is in the store.
type stored map[int][]uint32

// read asks TeamTalk for the history of every conversation, as any client can.
func (w *world) read(ctx context.Context) (stored, error) {
	rows := stored{}
	conversations := map[recipient]bool{}
	for _, m := range w.messages {
		conversations[m.to] = true
	}
	err := w.direct(ctx, func(ctx context.Context, db *dbproxy.Client) error {
		for to := range conversations {
			history, err := w.history(ctx, db, to)
			if err != nil {
				return fmt.Errorf("read the history with %+v: %w", to, err)
			}
			for _, row := range history {
				number, ok := w.numberIn(row.GetMsgData())
				if !ok && w.dev != nil {
					number, ok = nobodys, true // nobody else writes here
				}
				if ok && row.GetFromSessionId() == w.sender && number != warm {
					rows[number] = append(rows[number], row.GetMsgId())
				}
			}
		}
		return nil
	})
	return rows, err
}

// history reads back to before the scenario began.
func (w *world) history(ctx context.Context, db *dbproxy.Client, to recipient) ([]*wire.MsgInfo, error) {
	s := dbproxy.Session{Type: wire.SessionType_SESSION_TYPE_SINGLE, UserID: w.sender, ID: to.id}
	if to.group {
		s.Type = wire.SessionType_SESSION_TYPE_GROUP
	}
	before := uint32(w.began.Add(-time.Minute).Unix())
	for count := uint32(256); ; count *= 4 {
		rows, err := db.List(ctx, s, count)
		if err != nil || uint32(len(rows)) < count || rows[len(rows)-1].GetCreateTime() < before {
			return rows, err
		}
	}
}

// secondKey is what secret-rotated replaces the key by.
const secondKey = "chaos-second-key-0123456789abcde"

// numberIn decrypts a text and reads its number.
func (w *world) numberIn(data []byte) (int, bool) {
	for _, key := range append(slices.Clone(w.keys), secondKey) {
		c, err := w.cipher(key)
		if err != nil {
			return 0, false
		}
		if plain, err := c.Decrypt(data); err == nil {
			if n, ok := w.numberOf(string(plain.Text)); ok {
				return n, true
			}
		}
	}
	return 0, false
}

// count compares the store, the router and the resources with what was declared.
func (w *world) count(ctx context.Context) (*tally, error) {
	if err := errors.Join(w.db.Idle(ctx), w.route.Idle(ctx)); err != nil {
		return nil, err
	}
	rows, err := w.read(ctx)
	if err != nil {
		return nil, err
	}
	objects, err := w.objects(ctx, w.lane.admin)
	if err != nil {
		return nil, err
	}
	t := &tally{}
	known := map[int]bool{}
	for _, m := range w.messages {
		known[m.number] = true
		w.judge(t, m, rows[m.number], objects[m.uid])
	}
	for number, ids := range rows {
		if !known[number] {
			t.unexpected += len(ids)
		}
	}
	w.countRoutes(ctx, t, rows, func(m *message) bool { return adopted(objects[m.uid]) })
	return t, nil
}

func adopted(o *v1alpha1.TeamTalkMessage) bool {
	return o != nil && len(o.Status.Recipients) == 1 && o.Status.Recipients[0].Reason == v1alpha1.ReasonAdopted
}

// judge settles one message.
func (w *world) judge(t *tally, m *message, ids []uint32, o *v1alpha1.TeamTalkMessage) {
	if len(ids) > 1 {
		t.duplicated += len(ids) - 1
	}
	if m.want == atMostOnce {
		return
	}
	if len(ids) == 0 {
		t.missing++
	}
	switch {
	case o == nil:
		t.problem("message %d: its resource is gone", m.number)
		return
	case !o.Finished() || len(o.Status.Recipients) != 1:
		t.problem("message %d is not finished: %+v", m.number, o.Status.Recipients)
		return
	}
	r, c := o.Status.Recipients[0], o.Status.Counts
	if r.State == v1alpha1.StateFailed && r.Reason != v1alpha1.ReasonOutcomeUnknown && len(ids) > 0 {
		t.unexpected += len(ids)
	}
	if !meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionDelivered) {
		t.problem("message %d ended as %s %s: %s", m.number, r.State, r.Reason, r.Message)
		return
	}
	if c == nil || c.Recipients != 1 || c.Stored != 1 || c.Failed != 0 {
		t.problem("message %d is delivered with counts %+v", m.number, c)
	}
	if len(ids) == 1 && (len(r.MessageIDs) != 1 || r.MessageIDs[0] != int64(ids[0])) {
		t.problem("message %d is stored as %d, its resource says %v", m.number, ids[0], r.MessageIDs)
	}
}

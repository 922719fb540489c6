// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// rowScenarios are about other rows in a conversation, and about messages that were never sent.
func rowScenarios() []scenario {
	return append(takeovers([]scenario{
		{name: "unsent-audio", run: unsentAudio,
			clause: "voice messages and texts without tokens are created while no operator runs"},
		{name: "groups-unknown", needsDev: true, run: groupsUnknown,
			clause: "kill -9; groups do not exist or lack the sender"},
	}), []scenario{
		{name: "foreign-rows", needsDev: true, run: foreignRows,
			clause: "conversations hold rows of the sender that no key decrypts"},
		{name: "key-removed", needsDev: true, run: keyRemoved,
			clause: "the key of old messages is removed, they are created again, and it is restored"},
		{name: "slow-audio-history", needsDev: true, run: slowAudioHistory,
			clause: "a read of many voice messages exceeds the operator's timeout"},
	}...)
}

// eachUser is how many messages go to each user.
const eachUser = 3

func unsentAudio(ctx context.Context, w *world) {
	framework.Must(framework.MergePatch(ctx, w.cluster.admin, w.server(), `{"spec":{"deliveryToken":"Disabled"}}`))
	w.kill(w.leader)
	w.counts(func() int { return 1 })
	w.few = max(1, w.size/eachUser)
	sounds(ctx, w)
	w.endBy(110 * time.Second)
	w.send(ctx, w.size/2)
	w.shape = nil
	w.endBy(110 * time.Second)
	w.send(ctx, w.size/2)
	w.replace(ctx)
	w.finished(ctx)
}

// These groups are not in the target. The first ones do not exist, and the sender is not in the others.
const (
	unknownGroups = 900
	foreignGroups = 950
	someGroups    = 10
)

func groupsUnknown(ctx context.Context, w *world) {
	other := w.users[0]
	w.direct(ctx, func(ctx context.Context, db *dbproxy.Client) {
		for id := range uint32(someGroups) {
			framework.Must(w.dev.AddGroup(foreignGroups+id, "without the sender", other, w.users[1]))
			framework.MustGet(db.Send(ctx, ctx, dbproxy.Message{
				From: other, To: foreignGroups + id, CreateTime: uint32(w.began.Unix()),
				Type: wire.MsgType_MSG_TYPE_GROUP_TEXT, Data: w.cipher(w.keys[0]).Encrypt([]byte("hello")),
			}))
		}
	})
	w.deal = func(m *message) {
		switch id := uint32(m.number % someGroups); m.number % 3 {
		case 0:
			m.to, m.want, m.refusal = []recipient{{true, unknownGroups + id}}, refused, []string{v1alpha1.ReasonGroupNotFound}
		case 1:
			m.to, m.want, m.refusal = []recipient{{true, foreignGroups + id}}, refused, []string{v1alpha1.ReasonSenderNotInGroup}
		}
	}
	w.counts(func() int { return 1 })
	w.endBy(110 * time.Second)
	w.send(ctx, w.size/2)
	w.kill(w.leader)
	w.send(ctx, w.size/2)
	w.replace(ctx)
	w.finished(ctx)
	for id := range uint32(someGroups) { // to be counted
		framework.Must(w.dev.AddGroup(foreignGroups+id, "with the sender", w.sender))
		framework.Must(w.dev.AddGroup(unknownGroups+id, "with the sender", w.sender))
	}
}

// write stores a row of the sender as another program does.
func (w *world) write(ctx context.Context, db *dbproxy.Client, to recipient, at time.Time, kind wire.MsgType,
	data []byte) uint32 {
	id := untilAnswered(ctx, func() (uint32, error) {
		return db.Send(ctx, ctx, dbproxy.Message{
			From: w.sender, To: to.id, CreateTime: uint32(at.Unix()), Type: kind, Data: data,
		})
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.foreign[to] == nil {
		w.foreign[to] = map[uint32]bool{}
	}
	w.foreign[to][id] = true
	return id
}

// foreignKey is a key that no Secret of a scenario has.
const foreignKey = "chaos-foreign-key-0123456789abcd"

// keysSince sets the time at which the server's record of its keys begins, as that of an older server.
func (w *world) keysSince(ctx context.Context, since time.Time) {
	admin, server, secret := w.cluster.admin, w.server(), w.secret(w.keys[0], "")
	framework.Must(retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(server), server); err != nil {
			return err
		}
		for i := range server.Status.KeysInUse {
			server.Status.KeysInUse[i].Since = metav1.NewTime(since)
		}
		return admin.Status().Update(ctx, server)
	}))
	// The operator reads the record with the Secret.
	framework.Must(framework.MergePatch(ctx, admin, secret, `{"metadata":{"annotations":{"chaos":"1"}}}`))
	framework.Must(admin.Get(ctx, client.ObjectKeyFromObject(secret), secret))
	w.await(ctx, "the operator has read the record", func() (string, bool) {
		framework.Must(admin.Get(ctx, client.ObjectKeyFromObject(server), server))
		record := server.Status.KeysInUse
		return fmt.Sprint(record), len(record) == 1 && record[0].ResourceVersion == secret.ResourceVersion
	})
}

// foreignRows: rows that cannot be the operator's hide nothing. Rows under another key also hide nothing, if they are
// newer than the record of the keys. Older rows may be the message.
func foreignRows(ctx context.Context, w *world) {
	all := w.recipients(false, 0)
	w.sendTo(ctx, len(all), all)
	w.finished(ctx)
	w.keysSince(ctx, time.Now().Add(-time.Hour))
	const text = wire.MsgType_MSG_TYPE_SINGLE_TEXT
	sealed := w.cipher(foreignKey).Encrypt([]byte("another program's"))
	contents := [][]byte{[]byte("plain text"), []byte("{}"), sealed[:len(sealed)-5]}
	hidden := map[recipient]uint32{}
	old := time.Now().Add(-20 * 24 * time.Hour) // before the record
	w.counts(func() int { return len(all) })
	w.direct(ctx, func(ctx context.Context, db *dbproxy.Client) {
		for i, to := range all {
			w.write(ctx, db, to, time.Now(), text, sealed)
			w.write(ctx, db, to, old, text, contents[i%len(contents)])
			if i%20 == 0 {
				hidden[to] = w.write(ctx, db, to, old, text, sealed)
			}
		}
	})
	w.endBy(60 * time.Second)
	w.deal = func(m *message) {
		w.giveKey(m)
		m.to = []recipient{all[m.number%len(all)]}
		if hidden[m.to[0]] != 0 {
			m.want, m.refusal = refused, []string{v1alpha1.ReasonOutcomeUnknown}
		}
	}
	w.send(ctx, max(w.size-len(all), len(all)))
	w.finished(ctx)
	w.explained(ctx, func(to recipient) string { return fmt.Sprintf("row %d ", hidden[to]) })
}

// thirdKey replaces the second one.
const thirdKey = "chaos-third-key-0123456789abcdef"

func keyRemoved(ctx context.Context, w *world) {
	w.deal = w.giveKey
	some := w.size / 3
	w.send(ctx, some)
	w.finished(ctx)
	first := w.keys[0]
	framework.Must(w.cluster.admin.Update(ctx, w.secret(secondKey, first)))
	w.send(ctx, some)
	w.finished(ctx)
	framework.Must(w.cluster.admin.Update(ctx, w.secret(thirdKey, secondKey)))
	w.counts(func() int { return 2 })
	keyed := w.messages[:2*some]
	// A message does not wait if only its own resource can have sent it.
	w.deal = nil
	w.send(ctx, some)
	w.finished(ctx)
	for _, m := range keyed {
		m.waits = true
	}
	w.endBy(60 * time.Second)
	w.each(ctx, keyed, w.recreate)
	after(ctx, settle+lag+2*time.Second)
	all := w.secret(thirdKey, secondKey)
	all.Data["aesKey.previous.2"] = []byte(first)
	framework.Must(w.cluster.admin.Update(ctx, all))
	for _, m := range keyed {
		m.waits = false
	}
}

// slowRows take longer than the operator waits for an answer, at 0.1 s each.
const (
	slowRows  = 130
	slowUsers = 6
)

// slowAudioHistory: with one row per day, the rows in the key's window can be read in time. With one row per hour
// they cannot, and the status says so.
func slowAudioHistory(ctx context.Context, w *world) {
	slow := w.recipients(false, 0)[:slowUsers]
	isLong := func(n int) bool { return n%3 == 0 }
	w.direct(ctx, func(ctx context.Context, db *dbproxy.Client) {
		for i, to := range slow {
			each := 24 * time.Hour
			if isLong(i) {
				each = time.Hour
			}
			for n := range slowRows {
				at := time.Now().Add(-each * time.Duration(slowRows-n))
				w.write(ctx, db, to, at, wire.MsgType_MSG_TYPE_SINGLE_AUDIO, []byte("\x00\x00\x00\x01 sound"))
			}
		}
	})
	framework.MustGet(w.dev.Faults().Add(devserver.Fault{Kind: devserver.SlowAudio}))
	w.counts(func() int { return w.dev.Faults().Fired(devserver.SlowAudio) })
	w.endBy(60 * time.Second)
	w.deal = func(m *message) {
		if m.number > slowUsers {
			m.to = []recipient{{false, w.users[slowUsers+m.number%(len(w.users)-slowUsers)]}}
			return
		}
		w.giveKey(m)
		if m.to = []recipient{slow[m.number-1]}; isLong(m.number - 1) {
			m.want, m.refusal = refused, []string{v1alpha1.ReasonOutcomeUnknown}
		}
	}
	w.send(ctx, w.size)
	w.finished(ctx)
	w.dev.Faults().Clear()
	w.explained(ctx, func(recipient) string { return "too slowly" })
}

// endBy gives messages a deadline, which ends a doubt that cannot be settled.
func (w *world) endBy(d time.Duration) {
	before, seconds := w.shape, int64(d/time.Second)
	w.shape = func(m *message, o *v1alpha1.TeamTalkMessage) {
		if before != nil {
			before(m, o)
		}
		o.Spec.ActiveDeadlineSeconds = &seconds
	}
}

// explained checks that messages that end as OutcomeUnknown say why.
func (w *world) explained(ctx context.Context, why func(recipient) string) {
	objects := w.objects(ctx, w.cluster.admin)
	for _, m := range w.messages {
		if r := statusOf(objects[m.uid], m.to[0]); r != nil && r.Reason == v1alpha1.ReasonOutcomeUnknown &&
			!strings.Contains(r.Message, why(m.to[0])) {
			w.odd = append(w.odd,
				fmt.Sprintf("message %d ended as %q, which does not say %q", m.number, r.Message, why(m.to[0])))
		}
	}
}

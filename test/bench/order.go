// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const orderMessages = 200

const orderFormat = "Step %d of %x"

// order creates messages to one group, one after the other, and compares the order of the store's ids. Names
// are random because the operator might order by them.
func order(ctx context.Context, w *world, r *report) {
	group := w.o.groups[0]
	tag := rand.Uint64() // tells the messages from those of earlier runs
	names := make([]string, orderMessages)
	for i := range names {
		names[i] = fmt.Sprintf("order-%016x", rand.Uint64())
		m := message(namespace, names[i], fmt.Sprintf(orderFormat, i, tag))
		m.Spec.To.Groups = []v1alpha1.GroupID{v1alpha1.GroupID(group)}
		w.create(ctx, m)
	}
	w.tracker.await(ctx, names...)
	session := dbproxy.Session{Type: wire.SessionType_SESSION_TYPE_GROUP, UserID: w.o.sender, ID: group}
	rows, err := w.bare.client.List(ctx, session, 4*orderMessages)
	framework.Mustf(err, "read the group's messages")
	slices.SortFunc(rows, func(a, b *wire.MsgInfo) int { return cmp.Compare(a.GetMsgId(), b.GetMsgId()) })
	var stored []int
	for _, row := range rows {
		plain, err := w.bare.key.Decrypt(row.GetMsgData())
		if err != nil {
			continue // another's
		}
		var i int
		var of uint64
		if n, _ := fmt.Sscanf(string(plain.Text), orderFormat, &i, &of); n == 2 && of == tag {
			stored = append(stored, i)
		}
	}
	r.add("order_violations", float64(violations(stored, orderMessages)), 0)
}

// violations counts messages that an older one follows, that are missing, or that are stored twice.
func violations(stored []int, n int) int {
	count := 0
	seen := make([]int, n)
	for i, s := range stored {
		seen[s]++
		if i > 0 && s < stored[i-1] {
			count++
		}
	}
	for _, times := range seen {
		count += max(times-1, 1-times)
	}
	return count
}

// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// ReadRecorded passes the rows that the status of each message shows as stored to note. It is for
// delivery.Engine.Recorded: messages that have finished are not in the cache. It holds one page of them at a time.
func (r *Reconciler) ReadRecorded(ctx context.Context, note func(delivery.RecordedRow)) error {
	began, log := time.Now(), logf.FromContext(ctx).WithName("recorded")
	if err := r.addServers(ctx); err != nil {
		return err
	}
	messages := apiwatch.Collection{
		Client: r.Live, NewList: func() client.ObjectList { return &v1alpha1.TeamTalkMessageList{} },
	}
	var read, rows int
	_, err := messages.Read(ctx, func(o client.Object) {
		read++
		if m, ok := o.(*v1alpha1.TeamTalkMessage); ok && r.Engine.Queue.Knows(m.ServerKey()) {
			recorded := recordedRows(m)
			if m.Status.Escalated() {
				recorded = append(recorded, recordedRows(m.Escalation())...)
			}
			for _, row := range recorded {
				note(row)
				rows++
			}
		}
	})
	if err != nil {
		log.Info("cannot read what messages have recorded; retrying", "reason", err.Error())
		return fmt.Errorf("read the messages: %w", err)
	}
	log.Info("read what messages have recorded", "messages", read, "rows", rows, "seconds", time.Since(began).Seconds())
	return nil
}

// addServers adds the servers that the engine does not know yet: they may share stores with others.
func (r *Reconciler) addServers(ctx context.Context) error {
	servers := &v1alpha1.TeamTalkServerList{}
	if err := r.Client.List(ctx, servers); err != nil {
		return fmt.Errorf("list the servers: %w", err)
	}
	for i := range servers.Items {
		s := &servers.Items[i]
		if key := client.ObjectKeyFromObject(s); !r.Engine.Queue.Knows(key) {
			r.Engine.SetAddresses(key, connection.AddressesOf(s))
		}
	}
	return nil
}

// recordedRows returns the last row of each recipient that was read from the store. An id that db_proxy has only
// answered proves nothing.
func recordedRows(m *v1alpha1.TeamTalkMessage) []delivery.RecordedRow {
	if m.Status.SenderID == nil {
		return nil
	}
	var rows []delivery.RecordedRow
	for _, r := range m.Status.Recipients {
		ids := r.MessageIDs
		if r.StoredAt == nil || len(ids) == 0 || r.State == v1alpha1.StateAcknowledged {
			if r.FormerMessageID != 0 {
				rows = append(rows, delivery.RecordedRow{
					Server: m.ServerKey(), Sender: uint32(*m.Status.SenderID), Recipient: r.Recipient(),
					ID: uint32(r.FormerMessageID), By: m.Begins(),
				})
			}
			continue
		}
		by := r.StoredAt.Time
		if m.Status.CompletionTime != nil {
			by = m.Status.CompletionTime.Time // of several segments, the last was stored later
		}
		rows = append(rows, delivery.RecordedRow{
			Server: m.ServerKey(), Sender: uint32(*m.Status.SenderID), Recipient: r.Recipient(),
			ID: uint32(ids[len(ids)-1]), By: by,
		})
	}
	return rows
}

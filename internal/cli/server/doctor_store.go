// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
	"github.com/teamtalk-io/teamtalk-operator/internal/history"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// checkedSessions and checkedMessages are how much of the sender's conversations is read.
	checkedSessions, checkedMessages = 5, 10
)

// checkDBProxies checks each db_proxy, and what can be read through it.
func (d *doctor) checkDBProxies(ctx context.Context) {
	for _, address := range d.target.addresses {
		d.checkDBProxy(ctx, address)
	}
}

func (d *doctor) checkDBProxy(ctx context.Context, address string) {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	c, stop, err := dialDBProxy(ctx, address)
	if err != nil {
		d.report(resultFail, "db_proxy", "%v: check spec.dbProxy.endpoints and the network; "+
			"if it can be reached only inside the cluster, use kubectl port-forward and --db-proxy", err)
		return
	}
	defer stop()
	if d.checkDirectory(ctx, c, address) {
		d.checkReadPath(ctx, c, address)
	}
}

// checkDirectory checks the senders of the server. It reports whether the default one can read.
func (d *doctor) checkDirectory(ctx context.Context, c *dbproxy.Client, address string) bool {
	ids := sendersOf(d.target.server)
	began := time.Now()
	found, err := c.Users(ctx, d.target.sender, ids)
	if err != nil {
		d.report(resultFail, "db_proxy", "%v", explainRead(address, err))
		return false
	}
	d.report(resultOK, "db_proxy", "%s answers in %s", address, rounded(time.Since(began)))
	if len(found) == 0 {
		d.report(resultFail, "directory", "db_proxy shows none of the senders %v: correct spec.senders; "+
			"if they exist, db_proxy cannot read its database", ids)
		return false
	}
	before := len(d.findings)
	for _, id := range ids {
		switch u := found[id]; {
		case u == nil:
			d.report(resultFail, "directory", "sender %d does not exist in TeamTalk: correct spec.senders", id)
		case u.GetStatus() == wire.UserStatusDeparted:
			d.report(resultFail, "directory", "sender %d has left TeamTalk: correct spec.senders", id)
		}
	}
	groups, err := readGroups(ctx, c, d.target.sender)
	if err != nil {
		d.report(resultFail, "directory", "%v", err)
	}
	if len(d.findings) == before {
		d.report(resultOK, "directory", "it has the %s of spec.senders; sender %d is a member of %s",
			kube.Count(len(ids), "user"), d.target.sender, kube.Count(len(groups), "group"))
	}
	return found[d.target.sender] != nil
}

// checkReadPath reads the sender's latest conversations, as the operator does to prove what was stored.
func (d *doctor) checkReadPath(ctx context.Context, c *dbproxy.Client, address string) {
	sessions, err := c.RecentSessions(ctx, d.target.sender)
	switch {
	case err != nil:
		d.report(resultFail, "read path", "the conversations of sender %d cannot be read from %s: %v",
			d.target.sender, address, err)
		return
	case len(sessions) == 0:
		d.report(resultWarn, "read path", "not checked: sender %d has no conversation yet", d.target.sender)
		return
	}
	keys := cipher.Keys{}
	if d.keys != nil {
		keys = *d.keys
	}
	var all []history.Message
	failed := false
	for _, s := range sessions[:min(len(sessions), checkedSessions)] {
		session := dbproxy.Session{Type: s.GetSessionType(), UserID: d.target.sender, ID: s.GetSessionId()}
		messages, err := readSession(ctx, c, keys, session)
		if err != nil {
			failed = true
			d.report(resultFail, "read path", "the conversation of sender %d with %s: %v",
				d.target.sender, nameSession(session), err)
		}
		all = append(all, messages...)
	}
	if !failed {
		d.report(resultOK, "read path", "the latest messages of sender %d are shown, in %s", d.target.sender,
			kube.Count(min(len(sessions), checkedSessions), "conversation"))
	}
	if d.keys != nil {
		d.judgeTexts(all)
	}
	d.judgeTimes(all, time.Now())
}

// readSession reads a conversation, and checks that it shows the latest message.
func readSession(
	ctx context.Context, c *dbproxy.Client, keys cipher.Keys, s dbproxy.Session,
) ([]history.Message, error) {
	latest, err := c.LatestID(ctx, s)
	if err != nil {
		return nil, err
	}
	messages, err := history.Read(ctx, c, keys, s, checkedMessages)
	if err != nil {
		return nil, err
	}
	isLatest := func(m history.Message) bool { return m.ID == latest }
	if latest != 0 && !slices.ContainsFunc(messages, isLatest) {
		return messages, fmt.Errorf("message %d is the latest one and is not shown: a replica is behind, or a table "+
			"cannot be read; the operator does not send again what it cannot look for", latest)
	}
	return messages, nil
}

func nameSession(s dbproxy.Session) string {
	kind := "user"
	if s.Type == wire.SessionType_SESSION_TYPE_GROUP {
		kind = "group"
	}
	return fmt.Sprintf("%s %d", kind, s.ID)
}

// judgeTexts says whether the key is that of TeamTalk's clients.
func (d *doctor) judgeTexts(messages []history.Message) {
	texts, unreadable := countTexts(messages)
	secret := d.target.server.Spec.AESKeySecretRef.Name
	switch {
	case texts+unreadable == 0:
		d.report(resultWarn, "key", "not compared: the conversations hold no text")
	case texts == 0:
		d.report(resultFail, "key", "the keys in Secret %q open none of %d texts: it is not the key of TeamTalk's clients; "+
			"put theirs into it, and keep an earlier one with the suffix .previous", secret, unreadable)
	case unreadable > 0:
		d.report(resultWarn, "key", "the keys in Secret %q open %d of %d texts: add the key of the others with the suffix "+
			".previous, so that the operator can look for messages among them", secret, texts, texts+unreadable)
	default:
		d.report(resultOK, "key", "it opens what was read: %s", kube.Count(texts, "text"))
	}
}

// judgeTimes finds clocks of senders that are ahead: db_proxy orders messages by these times.
func (d *doctor) judgeTimes(messages []history.Message, now time.Time) {
	for _, m := range messages {
		if ahead := m.Time.Sub(now); ahead > maxAhead {
			d.report(resultWarn, "clocks", "message %d of user %d is dated %s ahead: set the clock of who sent it, "+
				"as TeamTalk orders messages by it", m.ID, m.From, ahead.Round(time.Second))
			return
		}
	}
}

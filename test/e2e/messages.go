// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// batchLabel is on every message; its value is the batch's name.
const batchLabel = "teamtalk-e2e/batch"

// The users of teamtalk-dev that messages are between. The default sender writes to the others.
const (
	sender           = 1
	firstUser, users = 2, 11
)

// groups are those that the sender is in.
var groups = []v1alpha1.GroupID{7, 8}

// pair is the i-th pair of users but the sender: a conversation without messages that a probe waits for.
func pair(i int) (from, to v1alpha1.UserID) {
	i %= users * (users - 1) / 2
	for from = firstUser; ; from++ {
		others := firstUser + users - 1 - int(from) // those after it
		if i < others {
			return from, from + 1 + v1alpha1.UserID(i)
		}
		i -= others
	}
}

const creators = 8

// batch is messages of one purpose, numbered from 0.
type batch struct {
	name string
	// probes are each between two who have nothing else under way.
	probes bool

	mu       sync.Mutex
	declared map[string]bool // by text
}

func (w *world) batch(name string) *batch {
	b := &batch{name: name, declared: map[string]bool{}}
	w.batches = append(w.batches, b)
	return b
}

func (b *batch) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.declared)
}

func (w *world) prefix() string { return "e2e " + w.id + " " }

func (w *world) declare(ctx context.Context, b *batch, i int) error {
	text := fmt.Sprintf("%s%s #%d", w.prefix(), b.name, i)
	m := &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", b.name, i), Namespace: chat,
			Labels: map[string]string{batchLabel: b.name}},
		Spec: v1alpha1.TeamTalkMessageSpec{Content: v1alpha1.Content{Text: &text}},
	}
	switch {
	case b.probes:
		from, to := pair(i)
		m.Spec.SenderID, m.Spec.To.Users = &from, []v1alpha1.UserID{to}
	case i%6 == 5:
		m.Spec.To.Groups = []v1alpha1.GroupID{groups[i/6%len(groups)]}
	default:
		m.Spec.To.Users = []v1alpha1.UserID{v1alpha1.UserID(firstUser + i%users)}
	}
	// Before the request: the store may have the message even if the answer is lost.
	b.mu.Lock()
	b.declared[text] = true
	b.mu.Unlock()
	if err := w.admin.Create(ctx, m); err != nil {
		return fmt.Errorf("declare message %s: %w", m.Name, err)
	}
	return nil
}

// declareAll declares n messages, several at a time, until stopped is closed.
func (w *world) declareAll(ctx context.Context, b *batch, n int, stopped <-chan struct{}) error {
	return framework.Parallel(ctx, creators, n, func(ctx context.Context, i int) {
		select {
		case <-stopped:
		default:
			framework.Must(w.declare(ctx, b, i))
		}
	})
}

type progress struct {
	delivered, open int
	// wrong is one that ended some other way than delivered, in words.
	wrong string
	waits string
}

func (w *world) progress(ctx context.Context, b *batch) (p progress) {
	list := &v1alpha1.TeamTalkMessageList{}
	framework.Must(w.admin.List(ctx, list, client.InNamespace(chat), client.MatchingLabels{batchLabel: b.name}))
	states := map[string]int{}
	for i := range list.Items {
		m := &list.Items[i]
		var of v1alpha1.RecipientStatus
		if len(m.Status.Recipients) == 1 {
			of = m.Status.Recipients[0]
		}
		switch {
		case !m.Finished():
			p.open++
			states[strings.TrimSpace(fmt.Sprintf("%s %s", of.State, of.Reason))]++
		case meta.IsStatusConditionTrue(m.Status.Conditions, v1alpha1.ConditionDelivered) && len(of.MessageIDs) == 1:
			p.delivered++
		default:
			p.wrong = fmt.Sprintf("%s ended as %s %s: %s", m.Name, of.State, of.Reason, of.Message)
		}
	}
	for state, n := range states {
		p.waits += fmt.Sprintf(", %d %s", n, state)
	}
	return p
}

func (w *world) delivered(ctx context.Context, b *batch) {
	w.await(ctx, "every message of "+b.name+" is Delivered", func() (string, bool) {
		p := w.progress(ctx, b)
		if p.wrong != "" && p.open == 0 {
			framework.Failf("%s", p.wrong)
		}
		return fmt.Sprintf("%d of %d delivered%s", p.delivered, b.size(), p.waits), p.delivered == b.size()
	})
}

// stored is a row of TeamTalk's store, as teamtalk-dev shows it.
type stored struct {
	ID            uint32 `json:"id"`
	From          uint32 `json:"from"`
	Text          string `json:"text"`
	Undecryptable bool   `json:"undecryptable"`
	Routed        int    `json:"routed"`
}

func (w *world) store(ctx context.Context) (rows []stored) {
	pods := framework.MustGet(w.core.CoreV1().Pods(chat).List(ctx, metav1.ListOptions{LabelSelector: "app=" + dev}))
	if len(pods.Items) != 1 || restarts(&pods.Items[0]) > 0 {
		framework.Failf("the store is gone with its pod: %s", describe(pods.Items))
	}
	status, body := w.ask(ctx, request{
		namespace: chat, pod: pods.Items[0].Name, port: inboxPort, method: http.MethodGet,
		path: "/api/messages?session=all&limit=1000000",
	})
	if status != http.StatusOK {
		framework.Failf("read the store: status %d: %.300s", status, body)
	}
	framework.Mustf(json.Unmarshal([]byte(body), &rows), "read the store")
	return rows
}

// count compares the store with everything that was declared so far.
func (w *world) count(ctx context.Context) (seen string) { return tally(w.batches, w.store(ctx)) }

// tally fails unless the store holds exactly the declared messages: no other program writes there.
func tally(batches []*batch, rows []stored) (seen string) {
	var t framework.Tally
	times := map[string]int{}
	for _, r := range rows {
		times[r.Text]++
		if r.Routed == 0 {
			t.NotAnnounced++
		}
	}
	var wrong []string
	add := func(text string, declared bool) {
		sum := t.Sum()
		if t.Add(declared, times[text]); t.Sum() > sum {
			wrong = append(wrong, text)
		}
		delete(times, text)
	}
	total := 0
	for _, b := range batches {
		for text := range b.declared {
			add(text, true)
			total++
		}
	}
	for text := range times {
		add(text, false)
	}
	seen = fmt.Sprintf("%d messages so far: %s", total, &t)
	if total == 0 {
		framework.Failf("nothing was declared")
	}
	if t.Sum() > 0 {
		framework.Failf("%s; such as %q", seen, wrong[:min(3, len(wrong))])
	}
	return seen
}

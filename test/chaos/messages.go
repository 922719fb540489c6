package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// fate is what is to become of a message.
type fate int

const (
	// delivered: in the store once, and the resource says so.
	delivered fate = iota
	// atMostOnce: its resource was deleted meanwhile.
	atMostOnce
)

// message is one numbered message.
type message struct {
	number int
	name   string
	// uid is that of the object, where several had the name.
	uid  types.UID
	want fate
	to   recipient
}

// recipient is a user or a group.
type recipient struct {
	group bool
	id    uint32
}

// groupEvery: each n-th message goes to a group.
const groupEvery = 4

// recipientOf deals the numbers out to users and groups.
func (w *world) recipientOf(number int) recipient {
	if w.onlyGroups {
		return recipient{true, w.groups[number%len(w.groups)]}
	}
	if number%groupEvery == 0 {
		return recipient{true, w.groups[number/groupEvery%len(w.groups)]}
	}
	return recipient{false, w.users[(number-number/groupEvery)%len(w.users)]}
}

// text is a message's: it names the run, the scenario and the number.
func (w *world) text(number int) string {
	return fmt.Sprintf("chaos %s %s #%d", w.id, w.name, number)
}

// numberOf reads text back; false for a text of somebody else's.
func (w *world) numberOf(text string) (int, bool) {
	rest, ok := strings.CutPrefix(text, fmt.Sprintf("chaos %s %s #", w.id, w.name))
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(rest)
	if err != nil {
		return nobodys, true
	}
	return n, true
}

// warm is the number of the messages that are there before the scenario begins. A
// group that shows nothing as old as a message proves nothing about it.
const warm = 0

func (w *world) warmUp(ctx context.Context) error {
	c, err := w.cipher(w.keys[0])
	if err != nil {
		return err
	}
	return w.direct(ctx, func(ctx context.Context, db *dbproxy.Client) error {
		for _, id := range w.groups {
			stored, err := db.Send(ctx, ctx, dbproxy.Message{
				From: w.sender, To: id, CreateTime: uint32(time.Now().Unix()) - 1,
				Type: wire.MsgType_MSG_TYPE_GROUP_TEXT, Data: c.Encrypt([]byte(w.text(warm))),
			})
			if err != nil || stored == 0 {
				return fmt.Errorf("send a first message to group %d (id %d): %w", id, stored, err)
			}
		}
		return nil
	})
}

// object is a message's resource.
func (w *world) object(m *message) *v1alpha1.TeamTalkMessage {
	text := w.text(m.number)
	o := &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{Name: m.name, Namespace: w.namespace},
		Spec:       v1alpha1.TeamTalkMessageSpec{Content: v1alpha1.Content{Text: &text}},
	}
	if m.to.group {
		o.Spec.To.Groups = []v1alpha1.GroupID{v1alpha1.GroupID(m.to.id)}
	} else {
		o.Spec.To.Users = []v1alpha1.UserID{v1alpha1.UserID(m.to.id)}
	}
	return o
}

// send declares n messages more.
func (w *world) send(ctx context.Context, n int, edits ...func(*v1alpha1.TeamTalkMessage)) error {
	w.mu.Lock()
	var fresh []*message
	for range n {
		number := len(w.messages) + 1
		m := &message{number: number, name: fmt.Sprintf("m-%d", number), to: w.recipientOf(number)}
		w.messages = append(w.messages, m)
		fresh = append(fresh, m)
	}
	w.mu.Unlock()
	return w.each(ctx, fresh, func(ctx context.Context, m *message) error {
		o := w.object(m)
		if w.misdirect != nil && w.misdirect(m) {
			o.Spec.To.Users = []v1alpha1.UserID{absent}
		}
		for _, edit := range edits {
			edit(o)
		}
		if err := w.lane.admin.Create(ctx, o); err != nil {
			return fmt.Errorf("declare message %d: %w", m.number, err)
		}
		m.uid = o.UID
		return nil
	})
}

// creators is how many messages are written at a time.
const creators = 8

// each does something for every message, several at a time.
func (w *world) each(ctx context.Context, all []*message, do func(context.Context, *message) error) error {
	queue := make(chan *message)
	errs := make(chan error, creators)
	for range creators {
		go func() {
			var failed error
			for m := range queue {
				if failed == nil {
					failed = do(ctx, m)
				}
			}
			errs <- failed
		}()
	}
	for _, m := range all {
		queue <- m
	}
	close(queue)
	var joined error
	for range creators {
		joined = errors.Join(joined, <-errs)
	}
	return joined
}

// objects are the resources by UID, as reader has them.
func (w *world) objects(ctx context.Context, reader client.Reader) (map[types.UID]*v1alpha1.TeamTalkMessage, error) {
	list := &v1alpha1.TeamTalkMessageList{}
	if err := reader.List(ctx, list, client.InNamespace(w.namespace)); err != nil {
		return nil, err
	}
	byUID := map[types.UID]*v1alpha1.TeamTalkMessage{}
	for i := range list.Items {
		byUID[list.Items[i].UID] = &list.Items[i]
	}
	return byUID, nil
}

// finished waits until every message's resource says that it is.
func (w *world) finished(ctx context.Context) error {
	return w.await(ctx, "every message is finished", func(ctx context.Context) (string, bool, error) {
		open, seen, err := w.open(ctx, w.lane.seen)
		if open == 0 && err == nil {
			// A watch may be behind: the API server has the last word.
			open, seen, err = w.open(ctx, w.lane.admin)
		}
		return seen, open == 0, err
	})
}

// open counts the messages that are not finished, and says what they wait for.
func (w *world) open(ctx context.Context, reader client.Reader) (int, string, error) {
	objects, err := w.objects(ctx, reader)
	if err != nil {
		return 0, "", err
	}
	states := map[string]int{}
	open := 0
	for _, m := range w.messages {
		o := objects[m.uid]
		if m.want == atMostOnce || o != nil && o.Finished() {
			continue
		}
		open++
		state := "not taken up"
		if o != nil && len(o.Status.Recipients) == 1 {
			r := o.Status.Recipients[0]
			state = fmt.Sprintf("%s %s (%s)", r.State, r.Reason, r.Message)
		}
		states[state]++
	}
	var seen []string
	for state, n := range states {
		seen = append(seen, fmt.Sprintf("%d %s", n, state))
	}
	slices.Sort(seen)
	return open, fmt.Sprintf("%d of %d open: %s", open, len(w.messages), strings.Join(seen, "; ")), nil
}

// finishedCount is how many are.
func (w *world) finishedCount(ctx context.Context) (int, error) {
	open, _, err := w.open(ctx, w.lane.seen)
	return len(w.messages) - open, err
}

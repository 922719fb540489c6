// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unique"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

const (
	// parallel is how many messages of one notification are made at once.
	parallel = 8
	// listPage is how many messages are listed at once.
	listPage = 500
)

// outcome is what became of a message.
type outcome struct {
	// message is the name of the one that was made; empty: none was.
	message string
	// duplicate tells that the notification was there before.
	duplicate bool
	// folded tells that somebody gets it in a digest.
	folded bool
}

// receive makes the messages of a body. It is an answer of 200 only if each is
// there; those that are already stay, and the next try finds them.
func (h *Handler) receive(ctx context.Context, r *v1alpha1.TeamTalkReceiver, body []byte, contentType string) answer {
	key := client.ObjectKeyFromObject(r)
	messages, err := h.decode(r, body, contentType)
	if err != nil {
		return refuse(http.StatusBadRequest, "%s", err)
	}
	templates, fault := template.ParseSet(&r.Spec)
	if fault != nil {
		h.status.note(key, func(d *delta) { d.fail(h.now(), fault.Error()) })
	}
	outcomes, err := h.take(ctx, r, &texts{handler: h, receiver: r, templates: templates}, messages)
	a := answer{code: http.StatusOK}
	if err != nil {
		a = h.failed(key, err)
	}
	// What was made is counted now, whatever has failed: the next try does not make it.
	for _, o := range outcomes {
		if o.message != "" {
			a.Messages = append(a.Messages, o.message)
		}
		if o.folded {
			a.Folded++
		}
		if o.duplicate && err == nil {
			a.Duplicates++
		}
	}
	return a
}

// decode returns the messages of a body. It records in the status that alerts name recipients that are not allowed.
func (h *Handler) decode(
	r *v1alpha1.TeamTalkReceiver, body []byte, contentType string,
) ([]notification.Message, error) {
	messages, refused, err := notification.Decode(r, body, contentType)
	if refused > 0 {
		h.status.note(client.ObjectKeyFromObject(r), func(d *delta) {
			d.fail(h.now(), fmt.Sprintf("%d alerts name recipients under the label %q that spec.allow does not list, or that "+
				"are no ids", refused, r.Spec.ToLabel))
		})
	}
	return messages, err
}

// take creates the messages, unless they were made before. What it has done
// stays done where it fails, so that enough tries come to an end.
func (h *Handler) take(ctx context.Context, r *v1alpha1.TeamTalkReceiver, texts *texts,
	messages []notification.Message) ([]outcome, error) {
	last, err := h.newest(ctx, r, messages)
	if err != nil {
		return nil, err
	}
	if r.Spec.FloodControl != nil {
		return h.takeWithin(ctx, r, texts, messages, last)
	}
	outcomes := make([]outcome, len(messages))
	err = each(ctx, messages, func(i int, p notification.Message) (err error) {
		was := last[p.Hash]
		if was.of(r) && h.young(r, was.created) {
			outcomes[i].duplicate = true
			return nil
		}
		outcomes[i], err = h.create(ctx, r, p, texts.of(ctx, p), was.number+1, h.now().Add(-r.DedupWindow()))
		return err
	})
	return outcomes, err
}

// each calls f for every item, for some at once, also where it fails for others: what
// is tried again must find as much done as could be. It returns the first error.
func each[T any](ctx context.Context, items []T, f func(i int, item T) error) error {
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, item := range items {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("there was not enough time for all at once: %w", err)
			}
			return f(i, item)
		})
	}
	return group.Wait()
}

// texts makes the texts of one request's messages, each at most once.
type texts struct {
	handler   *Handler
	receiver  *v1alpha1.TeamTalkReceiver
	templates *template.Set

	made sync.Map // by hash
}

// of returns a message's text. Where ctx is done meanwhile, it is not to be used.
func (x *texts) of(ctx context.Context, p notification.Message) string {
	if text, ok := x.made.Load(p.Hash); ok {
		return text.(string)
	}
	text, fault := render(ctx, x.templates, x.receiver, p)
	if ctx.Err() != nil {
		return ""
	}
	x.made.Store(p.Hash, text)
	if h, key := x.handler, client.ObjectKeyFromObject(x.receiver); fault != nil {
		countFault(key)
		h.status.note(key, func(d *delta) {
			d.counts.TemplateFaults++
			d.fail(h.now(), "the built-in template was used: "+fault.Error())
		})
	}
	return text
}

// numbered is a message of a notification.
type numbered struct {
	number  int
	created metav1.Time
	// owner is the receiver that made it; nobody's is one that is being deleted.
	owner unique.Handle[types.UID]
}

// numberedOf is what is kept of a message.
func numberedOf(m metav1.Object) (hash string, n numbered) {
	hash, n.number = numberIn(m)
	n.created = m.GetCreationTimestamp()
	var owner types.UID
	if o := metav1.GetControllerOfNoCopy(m); o != nil && m.GetDeletionTimestamp() == nil {
		owner = o.UID
	}
	n.owner = unique.Make(owner)
	return hash, n
}

// of reports whether there is such a message, which the receiver has made and nobody
// deletes: one of the same name may have had messages of the same notification.
func (n numbered) of(r *v1alpha1.TeamTalkReceiver) bool {
	return n.number > 0 && n.owner == unique.Make(r.UID)
}

func (h *Handler) young(r *v1alpha1.TeamTalkReceiver, t metav1.Time) bool {
	return h.now().Sub(t.Time) < r.DedupWindow()
}

// newest finds the last messages of notifications. What the index shows may be behind:
// then the next number is taken already, see create.
func (h *Handler) newest(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, messages []notification.Message,
) (map[string]numbered, error) {
	found := map[string]numbered{}
	for _, p := range messages {
		last, ok := h.index.newest(r.Namespace, p.Hash)
		switch {
		case ok:
		case len(messages) > 1:
			// Once for all of them.
			return h.list(ctx, r, client.HasLabels{v1alpha1.NotificationLabel})
		default:
			return h.list(ctx, r, client.MatchingLabels{v1alpha1.NotificationLabel: p.Hash})
		}
		found[p.Hash] = last
	}
	return found, nil
}

// list is newest by the API server itself, which looks through all messages of the
// namespace for it.
func (h *Handler) list(ctx context.Context, r *v1alpha1.TeamTalkReceiver,
	which client.ListOption) (map[string]numbered, error) {
	list, found := metadataList(), map[string]numbered{}
	for {
		err := h.client.List(ctx, list, client.InNamespace(r.Namespace), which,
			client.MatchingLabels{v1alpha1.ReceiverLabel: r.Name}, client.Limit(listPage), client.Continue(list.Continue))
		if err != nil {
			return nil, fmt.Errorf("list the messages of a notification: %w", err)
		}
		for i := range list.Items {
			recordNewest(found, &list.Items[i])
		}
		if list.Continue == "" {
			return found, nil
		}
	}
}

// metadataList is an empty list of messages without specs and statuses.
func metadataList() *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TeamTalkMessageList"))
	return list
}

// create makes the message with a number, or with the next one that is free. That it
// is there already, and was made after a time, decides between processes that found the
// same one to be the next.
func (h *Handler) create(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, p notification.Message, text string, number int, after time.Time,
) (outcome, error) {
	if err := ctx.Err(); err != nil {
		return outcome{}, fmt.Errorf("make the text of a message: %w", err) // see texts.of
	}
	for listed := false; ; number++ {
		m := message(r, nameOf(r, p.Hash, number), p.To)
		m.Labels[v1alpha1.NotificationLabel] = p.Hash
		m.Spec.Content.Text = &text
		err := h.client.Create(ctx, m)
		if err == nil {
			return outcome{message: m.Name}, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return outcome{}, fmt.Errorf("create TeamTalkMessage %s: %w", m.Name, err)
		}
		other := &v1alpha1.TeamTalkMessage{}
		if err := h.client.Get(ctx, client.ObjectKeyFromObject(m), other); client.IgnoreNotFound(err) != nil {
			return outcome{}, fmt.Errorf("read TeamTalkMessage %s: %w", m.Name, err)
		}
		if _, n := numberedOf(other); n.owner == unique.Make(r.UID) && n.created.After(after) {
			return outcome{duplicate: true}, nil
		}
		if listed {
			continue // one that lost its labels is not found by them
		}
		// The index was behind, and there may be many more.
		all, err := h.list(ctx, r, client.MatchingLabels{v1alpha1.NotificationLabel: p.Hash})
		last := all[p.Hash]
		switch {
		case err != nil:
			return outcome{}, err
		case last.number > number && last.of(r) && last.created.After(after):
			return outcome{duplicate: true}, nil
		}
		number, listed = max(number, last.number), true
	}
}

// message returns a message of the receiver, without its content. Its identity in
// the store is its UID: a key would have every conversation searched for it, and
// one with too many messages could not be told anything any more. So it bears no
// time to live, by which its name would be one; the controller deletes it.
func message(r *v1alpha1.TeamTalkReceiver, name string, to []v1alpha1.Recipient) *v1alpha1.TeamTalkMessage {
	return &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.Namespace, Name: name,
			Labels:          map[string]string{v1alpha1.ReceiverLabel: r.Name},
			OwnerReferences: []metav1.OwnerReference{r.OwnerReference()},
		},
		Spec: v1alpha1.TeamTalkMessageSpec{ServerRef: r.Spec.ServerRef, SenderID: r.Spec.SenderID, To: recipientSet(to)},
	}
}

func nameOf(r *v1alpha1.TeamTalkReceiver, hash string, number int) string {
	return fmt.Sprintf("%s-%s-%d", r.Name, hash, number)
}

// numberIn returns which notification a message is of, and its number in it; 0: its
// labels and its name are not a receiver's.
func numberIn(m metav1.Object) (hash string, number int) {
	labels := m.GetLabels()
	hash = labels[v1alpha1.NotificationLabel]
	digits, ours := strings.CutPrefix(m.GetName(), labels[v1alpha1.ReceiverLabel]+"-"+hash+"-")
	n, err := strconv.ParseInt(digits, 10, 32)
	if !ours || err != nil || n < 1 {
		return hash, 0
	}
	return hash, int(n)
}

// recipientSet is the inverse of v1alpha1.Recipients.All.
func recipientSet(list []v1alpha1.Recipient) v1alpha1.Recipients {
	var to v1alpha1.Recipients
	for _, r := range list {
		if r.Type == v1alpha1.RecipientGroup {
			to.Groups = append(to.Groups, v1alpha1.GroupID(r.ID))
		} else {
			to.Users = append(to.Users, v1alpha1.UserID(r.ID))
		}
	}
	return to
}

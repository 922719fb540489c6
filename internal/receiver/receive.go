package receiver

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// parallel is how many messages of one notification are made at once.
const parallel = 8

// outcome is what became of a part.
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
func (h *Handler) receive(ctx context.Context, r *v1alpha1.TeamTalkReceiver, body []byte) answer {
	key := client.ObjectKeyFromObject(r)
	parts, err := h.parts(r, body)
	if err != nil {
		return refuse(http.StatusBadRequest, "%s", err)
	}
	templates, fault := ParseTemplates(r)
	if fault != nil {
		h.status.note(key, func(d *delta) { d.fail(h.now(), fault.Error()) })
	}
	a := answer{code: http.StatusOK}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, p := range parts {
		group.Go(func() error {
			o, err := h.take(ctx, r, templates, p)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if o.message != "" {
				a.Messages = append(a.Messages, o.message)
			}
			if o.duplicate {
				a.Duplicates++
			}
			if o.folded {
				a.Folded++
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return h.failed(key, err)
	}
	return a
}

// parts reads a body, and puts on record whom its alerts may not name.
func (h *Handler) parts(r *v1alpha1.TeamTalkReceiver, body []byte) ([]part, error) {
	parts, refused, err := read(r, body)
	if err != nil {
		return nil, err
	}
	if refused > 0 {
		h.status.note(client.ObjectKeyFromObject(r), func(d *delta) {
			d.fail(h.now(), fmt.Sprintf("%d alerts name recipients under the label %q that spec.allow does not list, or that are no ids", refused, r.Spec.ToLabel))
		})
	}
	return parts, nil
}

// take makes the message of a part, unless it was made before.
func (h *Handler) take(ctx context.Context, r *v1alpha1.TeamTalkReceiver, templates *Templates, p part) (outcome, error) {
	last, err := h.newest(ctx, r, p.hash)
	if err != nil {
		return outcome{}, err
	}
	if last.number > 0 && h.young(r, last.created) && r.Spec.FloodControl == nil {
		return outcome{duplicate: true}, nil
	}
	text, fault := templates.text(ctx, r, p)
	if err := ctx.Err(); err != nil {
		return outcome{}, fmt.Errorf("make the text of a message: %w", err)
	}
	if fault != nil {
		key := client.ObjectKeyFromObject(r)
		countFault(key)
		h.status.note(key, func(d *delta) {
			d.counts.TemplateFaults++
			d.fail(h.now(), "the built-in template was used: "+fault.Error())
		})
	}
	if r.Spec.FloodControl != nil {
		return h.takeWithin(ctx, r, p, text, last)
	}
	return h.create(ctx, r, p, text, last.number+1, h.now().Add(-r.DedupWindow()))
}

// numbered is a message of a notification.
type numbered struct {
	number  int
	created metav1.Time
}

func (h *Handler) young(r *v1alpha1.TeamTalkReceiver, t metav1.Time) bool {
	return h.now().Sub(t.Time) < r.DedupWindow()
}

// newest finds the last message of a notification. What the index shows may be
// behind: then the next number is taken already, see create.
func (h *Handler) newest(ctx context.Context, r *v1alpha1.TeamTalkReceiver, hash string) (numbered, error) {
	if last, ok := h.index.newest(r.Namespace, hash); ok {
		return last, nil
	}
	return h.list(ctx, r, hash)
}

// list is newest by the API server itself, which looks through all messages of the
// namespace for it.
func (h *Handler) list(ctx context.Context, r *v1alpha1.TeamTalkReceiver, hash string) (numbered, error) {
	list := metadataList()
	err := h.client.List(ctx, list, client.InNamespace(r.Namespace),
		client.MatchingLabels{v1alpha1.ReceiverLabel: r.Name, v1alpha1.NotificationLabel: hash})
	if err != nil {
		return numbered{}, fmt.Errorf("list the messages of a notification: %w", err)
	}
	var last numbered
	for i := range list.Items {
		if _, n := numberIn(&list.Items[i]); n > last.number {
			last = numbered{n, list.Items[i].CreationTimestamp}
		}
	}
	return last, nil
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
func (h *Handler) create(ctx context.Context, r *v1alpha1.TeamTalkReceiver, p part, text string, number int, after time.Time) (outcome, error) {
	for listed := false; ; number++ {
		m := message(r, nameOf(r, p.hash, number), p.to)
		m.Labels[v1alpha1.NotificationLabel] = p.hash
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
		if other.CreationTimestamp.After(after) {
			return outcome{duplicate: true}, nil
		}
		if listed {
			continue // one that lost its labels is not found by them
		}
		// The index was behind, and there may be many more.
		last, err := h.list(ctx, r, p.hash)
		switch {
		case err != nil:
			return outcome{}, err
		case last.number > number && last.created.After(after):
			return outcome{duplicate: true}, nil
		}
		number, listed = max(number, last.number), true
	}
}

// message returns a message of the receiver, without its content. Its identity in
// the store is its UID: a key would have every conversation searched for it, and
// one with too many messages could not be told anything any more. So it bears no
// time to live, by which its name would be one; the controller deletes it.
func message(r *v1alpha1.TeamTalkReceiver, name string, to []recipient) *v1alpha1.TeamTalkMessage {
	return &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.Namespace, Name: name,
			Labels:          map[string]string{v1alpha1.ReceiverLabel: r.Name},
			OwnerReferences: []metav1.OwnerReference{owned(r)},
		},
		Spec: v1alpha1.TeamTalkMessageSpec{ServerRef: r.Spec.ServerRef, SenderID: r.Spec.SenderID, To: spec(to)},
	}
}

// owned has what a receiver makes go with it.
func owned(r *v1alpha1.TeamTalkReceiver) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "TeamTalkReceiver", Name: r.Name, UID: r.UID,
		Controller: ptr.To(true),
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

package receiver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// A digest is a TeamTalkMessage that takes its text from a ConfigMap at its time:
// it is sent whatever becomes of who received its alerts. It is written to for
// digestOpen after its window, which is longer than a request of the window takes,
// and sent a good while after that.
const (
	digestOpen  = 10 * time.Second
	digestDelay = 20 * time.Second
)

const (
	// digestKey is where the text is in its ConfigMap, foldedKey what was folded.
	digestKey = "text"
	foldedKey = "folded"
)

// errClosed tells that a digest takes no more.
var errClosed = errors.New("the digest is closed")

// takeWithin makes the message of a part for those whose budget allows it, and
// folds it into the digests of the others. The ledger comes first: whoever finds
// the notification in it does what it says, again if need be.
func (h *Handler) takeWithin(ctx context.Context, r *v1alpha1.TeamTalkReceiver, p part, text string, last numbered) (outcome, error) {
	var o outcome
	var mine ledgerEntry
	l, err := h.agree(ctx, r, func(l *ledger) bool {
		now := h.now()
		known := l.find(p.hash)
		switch {
		case known != nil && now.Sub(time.Unix(known.Time, 0)) < r.DedupWindow():
			mine, o.duplicate = clone(*known), true
			return false
		case known == nil && last.number > 0 && h.young(r, last.created):
			// It was made while there was no flood control.
			mine, o.duplicate = ledgerEntry{}, true
			return false
		}
		number := last.number
		if known != nil {
			number = max(number, known.Number)
		}
		mine, o.duplicate = clone(*l.enter(r.Spec.FloodControl, now, p, number+1, beginning(text))), false
		return true
	})
	if err != nil {
		return outcome{}, err
	}
	if len(mine.To) > 0 {
		now := slices.DeleteFunc(slices.Clone(p.to), func(r recipient) bool { return !slices.Contains(mine.To, r.String()) })
		if len(now) > 0 {
			// The number is the ledger's. Who finds it taken by a message from long before,
			// which was not in the index yet, takes the next one.
			after := time.Unix(mine.Time, 0).Add(-r.DedupWindow() / 2)
			made, err := h.create(ctx, r, part{hash: p.hash, to: now}, text, mine.Number, after)
			if err != nil {
				return outcome{}, err
			}
			o.message = made.message
		}
	}
	for _, name := range slices.Sorted(maps.Keys(mine.Fold)) {
		if err := h.fold(ctx, r, l, mine, name); err != nil {
			return outcome{}, err
		}
		o.folded = !o.duplicate
	}
	return o, nil
}

// clone keeps an entry apart from its ledger, which may be read again.
func clone(e ledgerEntry) ledgerEntry {
	e.To, e.Fold = slices.Clone(e.To), maps.Clone(e.Fold)
	return e
}

// fold sees to it that a notification is in a recipient's digest. One that was
// entered, but never written before the digest closed, goes to a later one.
func (h *Handler) fold(ctx context.Context, r *v1alpha1.TeamTalkReceiver, l *ledger, e ledgerEntry, name string) error {
	err := h.writeDigest(ctx, r, l, e, name)
	if !errors.Is(err, errClosed) {
		return err
	}
	window := windowOf(r.Spec.FloodControl, h.now())
	l, err = h.agree(ctx, r, func(l *ledger) bool {
		known := l.find(e.Hash)
		if known == nil || known.Number != e.Number || known.Fold[name] != e.Fold[name] {
			return false // another process has moved it meanwhile, or it is long over
		}
		known.Fold[name] = window
		return true
	})
	if err != nil {
		return err
	}
	if known := l.find(e.Hash); known != nil && known.Number == e.Number {
		return h.writeDigest(ctx, r, l, *known, name)
	}
	return nil
}

// writeDigest writes a recipient's digest as the ledger has it, and makes its
// message.
func (h *Handler) writeDigest(ctx context.Context, r *v1alpha1.TeamTalkReceiver, l *ledger, e ledgerEntry, name string) error {
	window := e.Fold[name]
	end := time.Unix(window, 0).Add(time.Duration(r.Spec.FloodControl.WindowSeconds) * time.Second)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: r.Namespace, Name: fmt.Sprintf("%s-digest-%d-%s", r.Name, window, name),
		Labels:          map[string]string{v1alpha1.ReceiverLabel: r.Name},
		OwnerReferences: []metav1.OwnerReference{owned(r)},
	}}
	err := h.client.Get(ctx, client.ObjectKeyFromObject(cm), cm)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read digest %s: %w", cm.Name, err)
	}
	found := err == nil
	id := e.Hash + "-" + strconv.Itoa(e.Number)
	if !found || !slices.Contains(strings.Fields(cm.Data[foldedKey]), id) {
		if h.now().After(end.Add(digestOpen)) {
			return errClosed
		}
		// What is in the ledger is in no other digest; what others have written
		// meanwhile is in theirs.
		text, folded := digest(l, name, window, r.Spec.FloodControl)
		inTime, cancel := context.WithDeadline(ctx, end.Add(digestDelay-2*time.Second))
		defer cancel()
		if err := h.put(inTime, cm, found, text, folded); err != nil {
			if conflicted(err) {
				return h.again(ctx, r, e, name)
			}
			return fmt.Errorf("write digest %s: %w", cm.Name, err)
		}
	}
	return h.sendDigest(ctx, r, cm, name, end)
}

// again writes a digest from the ledger as it is now: another process has written
// it from another one.
func (h *Handler) again(ctx context.Context, r *v1alpha1.TeamTalkReceiver, e ledgerEntry, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l, err := h.agree(ctx, r, func(*ledger) bool { return false })
	if err != nil {
		return err
	}
	return h.writeDigest(ctx, r, l, e, name)
}

func (h *Handler) put(ctx context.Context, cm *corev1.ConfigMap, found bool, text string, folded []string) error {
	if !found {
		cm.Data = map[string]string{digestKey: text, foldedKey: strings.Join(folded, " ")}
		return h.client.Create(ctx, cm)
	}
	// An older ledger must not take out what a newer one had.
	for id := range strings.FieldsSeq(cm.Data[foldedKey]) {
		if !slices.Contains(folded, id) {
			return apierrors.NewConflict(corev1.Resource("configmaps"), cm.Name, errors.New("it is ahead of the ledger"))
		}
	}
	cm.Data = map[string]string{digestKey: text, foldedKey: strings.Join(folded, " ")}
	return h.client.Update(ctx, cm)
}

func conflicted(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

// sendDigest makes the message of a digest. The ConfigMap goes with it.
func (h *Handler) sendDigest(ctx context.Context, r *v1alpha1.TeamTalkReceiver, cm *corev1.ConfigMap, name string, end time.Time) error {
	var to recipient
	switch id, _ := strconv.ParseInt(name[1:], 10, 64); name[0] {
	case 'g':
		to = recipient{v1alpha1.RecipientGroup, id}
	default:
		to = recipient{v1alpha1.RecipientUser, id}
	}
	m := message(r, cm.Name, []recipient{to})
	m.Spec.SendAfter = ptr.To(metav1.NewTime(end.Add(digestDelay)))
	m.Spec.Content.TextFrom = &v1alpha1.TextSource{ConfigMapKeyRef: v1alpha1.ConfigMapKeyRef{Name: cm.Name, Key: digestKey}}
	err := h.client.Create(ctx, m)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create TeamTalkMessage %s: %w", m.Name, err)
	}
	before := cm.DeepCopy()
	cm.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "TeamTalkMessage", Name: m.Name, UID: m.UID,
	}}
	// If it fails, the ConfigMap is kept for as long as the receiver.
	_ = h.client.Patch(ctx, cm, client.MergeFrom(before))
	return nil
}

// digest is the text of a recipient's digest, and what is folded in it.
func digest(l *ledger, name string, window int64, f *v1alpha1.FloodControl) (text string, folded []string) {
	var lines []string
	for _, e := range l.Entries {
		if w, ok := e.Fold[name]; ok && w == window {
			lines = append(lines, "• "+e.Line)
			folded = append(folded, e.Hash+"-"+strconv.Itoa(e.Number))
		}
	}
	text = fmt.Sprintf("📦 %d more within %d s", len(lines), f.WindowSeconds)
	const room = MaxText - 32 // for "+N more"
	for i, line := range lines {
		if len(text)+1+len(line) > room {
			return text + more(len(lines)-i), folded
		}
		text += "\n" + line
	}
	return text, folded
}

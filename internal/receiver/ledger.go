package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

const (
	// ledgerKey is where a ledger is in its ConfigMap.
	ledgerKey = "ledger.json"
	// maxLedger is the longest ledger, in bytes: a ConfigMap holds 1 MiB.
	maxLedger = 900 << 10
)

// ledger is what a receiver with flood control has decided lately. It is in a
// ConfigMap, whose version is what processes agree by: a notification is entered
// once, and everybody's budget is counted in one place.
type ledger struct {
	Entries []ledgerEntry `json:"entries"`
}

// ledgerEntry is one notification.
type ledgerEntry struct {
	Hash   string `json:"hash"`
	Number int    `json:"number"`
	// Time of the decision, in Unix seconds.
	Time int64 `json:"time"`
	// To are those who get a message now.
	To []string `json:"to,omitempty"`
	// Fold are those who get it in the digest of a window, which is given by the
	// Unix second at which it begins.
	Fold map[string]int64 `json:"fold,omitempty"`
	// Line stands for the notification in a digest.
	Line string `json:"line,omitempty"`
}

// find returns the newest entry of a notification.
func (l *ledger) find(hash string) *ledgerEntry {
	for i := len(l.Entries) - 1; i >= 0; i-- {
		if l.Entries[i].Hash == hash {
			return &l.Entries[i]
		}
	}
	return nil
}

// enter decides for a notification who gets a message, within the budget, and for
// whom it is folded.
func (l *ledger) enter(f *v1alpha1.FloodControl, now time.Time, p part, number int, line string) *ledgerEntry {
	e := ledgerEntry{Hash: p.hash, Number: number, Time: now.Unix()}
	window := windowOf(f, now)
	got := map[string]int32{}
	for _, other := range l.Entries {
		if windowOf(f, time.Unix(other.Time, 0)) == window {
			for _, name := range other.To {
				got[name]++
			}
		}
	}
	for _, r := range p.to {
		if got[r.String()] < f.Messages {
			e.To = append(e.To, r.String())
			continue
		}
		if e.Fold == nil {
			e.Fold, e.Line = map[string]int64{}, line
		}
		e.Fold[r.String()] = window
	}
	l.Entries = append(l.Entries, e)
	return &l.Entries[len(l.Entries)-1]
}

// prune drops what nothing depends on any more: it is neither a repeat's first, nor
// in a window whose digest is still written to.
func (l *ledger) prune(r *v1alpha1.TeamTalkReceiver, now time.Time) {
	f := r.Spec.FloodControl
	window := time.Duration(f.WindowSeconds) * time.Second
	l.Entries = slices.DeleteFunc(l.Entries, func(e ledgerEntry) bool {
		for _, begin := range e.Fold {
			// It may have been moved to a window later than its own.
			if now.Before(time.Unix(begin, 0).Add(window + digestDelay)) {
				return false
			}
		}
		return now.Sub(time.Unix(e.Time, 0)) > max(r.DedupWindow(), window)
	})
}

// windowOf is the Unix second at which the window of a time begins.
func windowOf(f *v1alpha1.FloodControl, t time.Time) int64 {
	return t.Unix() - t.Unix()%int64(f.WindowSeconds)
}

// errFull is answered with 503: the ledger has room again as time goes by.
var errFull = errors.New("flood control has no room for more notifications in this window")

// agree changes the ledger by edit, again for as long as another process was faster.
// Where edit reports no change, nothing is written.
func (h *Handler) agree(ctx context.Context, r *v1alpha1.TeamTalkReceiver, edit func(*ledger) (changed bool)) (*ledger, error) {
	release, err := h.ledgers.take(ctx, client.ObjectKeyFromObject(r))
	if err != nil {
		return nil, err
	}
	defer release()
	for {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: r.Namespace, Name: ledgerName(r),
			Labels:          map[string]string{v1alpha1.ReceiverLabel: r.Name},
			OwnerReferences: []metav1.OwnerReference{owned(r)},
		}}
		err := h.client.Get(ctx, client.ObjectKeyFromObject(cm), cm)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("read flood control's ConfigMap %s: %w", cm.Name, err)
		}
		found := err == nil
		l := &ledger{}
		if text := cm.Data[ledgerKey]; text != "" {
			if err := json.Unmarshal([]byte(text), l); err != nil {
				return nil, fmt.Errorf("flood control's ConfigMap %s was damaged: delete it", cm.Name)
			}
		}
		if !edit(l) {
			return l, nil
		}
		l.prune(r, h.now())
		b, err := json.Marshal(l)
		if err != nil {
			return nil, fmt.Errorf("write flood control's ledger: %w", err)
		}
		if len(b) > maxLedger {
			return nil, errFull
		}
		cm.Data = map[string]string{ledgerKey: string(b)}
		if found {
			err = h.client.Update(ctx, cm)
		} else {
			err = h.client.Create(ctx, cm)
		}
		switch {
		case err == nil:
			return l, nil
		case !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err):
			return nil, fmt.Errorf("write flood control's ConfigMap %s: %w", cm.Name, err)
		}
		select {
		case <-time.After(rand.N(100 * time.Millisecond)):
		case <-ctx.Done():
			return nil, fmt.Errorf("write flood control's ConfigMap %s: others are always faster: %w", cm.Name, ctx.Err())
		}
	}
}

func ledgerName(r *v1alpha1.TeamTalkReceiver) string { return "teamtalk-receiver-" + r.Name }

// beginning is a text's first two lines in one, for a digest.
func beginning(text string) string {
	lines := strings.SplitN(text, "\n", 3)
	return abbreviate(160, strings.Join(strings.Fields(strings.Join(lines[:min(2, len(lines))], " ")), " "))
}

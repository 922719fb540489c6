// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// lineTime bounds the rendering of lines for digests: the ledger must be written
// whatever a template takes.
const lineTime = 1500 * time.Millisecond

// takeWithin makes the messages of parts for those whose budget allows it, and folds
// them into the digests of the others. The ledger comes first, with all parts at once:
// whoever finds a notification in it does what it says, as far as that is not done.
// An error leaves done what is done, and the outcomes say so.
func (h *Handler) takeWithin(ctx context.Context, r *v1alpha1.TeamTalkReceiver, texts *texts, parts []part,
	last map[string]numbered) ([]outcome, error) {
	outcomes := make([]outcome, len(parts))
	l, fresh, err := h.decide(ctx, r, texts, parts, last)
	if err != nil {
		return outcomes, err
	}
	// entries are what there is to do, by the part.
	entries, seen := make([]ledgerEntry, len(parts)), map[string]bool{}
	for i, p := range parts {
		outcomes[i].duplicate = !fresh[p.hash] || seen[p.hash]
		if seen[p.hash] {
			continue // the same alerts twice
		}
		seen[p.hash] = true
		if e := l.find(p.hash); e != nil {
			entries[i] = *e
			outcomes[i].folded = fresh[p.hash] && e.Fold != 0
		} else if fresh[p.hash] {
			return outcomes, errFull
		}
	}
	folding := h.foldAll(ctx, r, l, texts, parts, entries)
	making := each(ctx, parts, func(i int, p part) error {
		e := entries[i]
		after := time.Unix(e.Time, 0).Add(-r.DedupWindow() / 2)
		if was := last[p.hash]; e.To == 0 || was.of(r) && was.created.After(after) {
			return nil
		}
		// The number is the ledger's. Who finds it taken by a message from long before,
		// which was not in the index yet, takes the next one.
		made, err := h.create(ctx, r, part{hash: p.hash, to: recipientsOf(l.to(e.To))}, texts.of(ctx, p), e.Number, after)
		if err == nil {
			outcomes[i].message = made.message
			outcomes[i].duplicate = made.message == "" && !outcomes[i].folded
		}
		return err
	})
	if making != nil {
		return outcomes, making
	}
	return outcomes, folding
}

// decide enters what is not in the ledger, and returns it with what was entered.
func (h *Handler) decide(ctx context.Context, r *v1alpha1.TeamTalkReceiver, texts *texts, parts []part,
	last map[string]numbered) (*ledger, map[string]bool, error) {
	_, l, err := h.readLedger(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	// Tried on what was read, which nobody else sees: what is known already, or needs
	// no line, is not rendered.
	tried := l.book(r, h.now())
	fresh := h.enter(tried, parts, last)
	if len(fresh) == 0 {
		return l, fresh, nil
	}
	rendering, cancel := context.WithTimeout(ctx, h.lineTime)
	defer cancel()
	lines := tried.lines(rendering, texts, parts, fresh)
	l, err = h.agree(ctx, r, func(l *ledger) bool {
		b := l.book(r, h.now())
		fresh = h.enter(b, parts, last)
		for _, p := range parts {
			if !fresh[p.hash] {
				continue
			}
			if e := *b.find(p.hash); b.wants(e, 0) {
				b.admit(e, lineOf(p, lines))
			}
		}
		return len(fresh) > 0
	})
	if err != nil {
		return nil, nil, err
	}
	return l, fresh, nil
}

// enter enters the parts that nothing was decided on within the dedup window.
func (h *Handler) enter(b *booking, parts []part, last map[string]numbered) map[string]bool {
	fresh := map[string]bool{}
	r := b.receiver
	for _, p := range parts {
		known, was := b.find(p.hash), last[p.hash]
		number := was.number
		switch {
		case known != nil && b.now.Sub(time.Unix(known.Time, 0)) < r.DedupWindow():
			continue
		case known == nil && was.of(r) && h.young(r, was.created):
			continue // it was made while there was no flood control
		case known != nil:
			number = max(number, known.Number)
		}
		b.enter(p, number+1)
		fresh[p.hash] = true
	}
	return fresh
}

// lines makes the lines of those parts that a digest has room for, until ctx is done.
func (b *booking) lines(ctx context.Context, texts *texts, parts []part, fresh map[string]bool) map[string]string {
	made := map[string]string{}
	// The others' texts are needed as well, and their lines if another process has used
	// up the budget by then.
	var order, others []part
	for _, p := range parts {
		switch {
		case !fresh[p.hash]:
		case b.find(p.hash).Fold != 0:
			order = append(order, p)
		default:
			others = append(others, p)
		}
	}
	for some := range slices.Chunk(append(order, others...), parallel) {
		some = slices.DeleteFunc(slices.Clone(some), func(p part) bool {
			e := *b.find(p.hash)
			return e.Fold != 0 && !b.wants(e, 0)
		})
		lines := make([]string, len(some))
		_ = each(ctx, some, func(i int, p part) error {
			if text := texts.of(ctx, p); ctx.Err() == nil {
				lines[i] = beginning(text)
			}
			return nil
		})
		if ctx.Err() != nil {
			break
		}
		for i, p := range some {
			made[p.hash] = lines[i]
			b.admit(*b.find(p.hash), lines[i])
		}
	}
	return made
}

// lineOf is a part's line, or a plain one where the template has not made it in time.
func lineOf(p part, lines map[string]string) string {
	if text := lines[p.hash]; text != "" {
		return text
	}
	if p.alerts == nil {
		return "received"
	}
	name := p.alerts.Alerts[0].Labels["alertname"]
	return template.Abbreviate(160, fmt.Sprintf("%s %d %s", p.alerts.Status, len(p.alerts.Alerts), name))
}

// foldAll has the digests of entries written. One that was entered, but never written
// before its digest closed, goes to a later one.
func (h *Handler) foldAll(ctx context.Context, r *v1alpha1.TeamTalkReceiver, l *ledger, texts *texts, parts []part,
	entries []ledgerEntry) error {
	for range 3 {
		written, err := h.writeDigests(ctx, r, l, entries)
		late := map[string]ledgerEntry{}
		for _, e := range entries {
			if len(l.late(e, written)) > 0 {
				late[e.Hash] = e
			}
		}
		if err != nil || len(late) == 0 {
			return err
		}
		before := l
		rendering, cancel := context.WithTimeout(ctx, h.lineTime)
		l, err = h.agree(ctx, r, func(l *ledger) bool {
			b, changed := l.book(r, h.now()), false
			for _, p := range parts {
				e, known := late[p.hash], l.find(p.hash)
				if e.Seq == 0 || known == nil || known.Seq != e.Seq {
					continue // another process has moved it meanwhile, or it is long over
				}
				b.again(known, before.late(e, written))
				changed = true
				if !b.wants(*known, 0) {
					continue
				}
				made := map[string]string{}
				if text := texts.of(rendering, p); rendering.Err() == nil {
					made[p.hash] = beginning(text)
				}
				b.admit(*known, lineOf(p, made))
			}
			return changed
		})
		cancel()
		if err != nil {
			return err
		}
		for i := range entries {
			if known := l.find(entries[i].Hash); known != nil && late[entries[i].Hash].Seq != 0 {
				entries[i] = *known
			} else {
				entries[i].Fold = 0
			}
		}
	}
	return errNeverOpen
}

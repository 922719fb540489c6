// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

const (
	// maxEntries bounds what has to be read and written for one notification.
	maxEntries = 30_000
	// maxLines is how long all lines of a ledger are, in bytes.
	maxLines = 256 << 10
	// lineRoom is how long the lines of one digest are, in bytes: the rest of it is
	// for its first line and "+N more".
	lineRoom = cipher.MaxTextWithToken - 80
	// bullet precedes each line.
	bullet = "\n• "
	// manyNamed are so many recipients of one alert that a digest for each of them would
	// be too many to write at once, and maxShared how many digests a window has at most
	// that such recipients share, beside their own.
	manyNamed, maxShared = 32, 4
)

// booking decides on the notifications of a request.
type booking struct {
	*ledger
	receiver *v1alpha1.TeamTalkReceiver
	now      time.Time
	// got is how many messages of the window a recipient has.
	got map[int64]int32
	// alone are those whom alerts may name: they have digests of their own. All
	// others are addressed together or not at all, and share one.
	alone map[int64]bool
}

func (l *ledger) book(r *v1alpha1.TeamTalkReceiver, now time.Time) *booking {
	b := &booking{ledger: l, receiver: r, now: now, got: map[int64]int32{}, alone: map[int64]bool{}}
	if r.Spec.Allow != nil {
		for _, id := range idsOf(r.Spec.Allow.All()) {
			b.alone[id] = true
		}
	}
	window, lists := windowOf(r.Spec.FloodControl, now), map[int]int32{}
	for _, e := range l.Entries {
		if e.To != 0 && windowOf(r.Spec.FloodControl, time.Unix(e.Time, 0)) == window {
			lists[e.To]++
		}
	}
	for ref, count := range lists {
		for _, id := range l.to(ref) {
			b.got[id] += count
		}
	}
	return b
}

// enter decides for a notification who gets a message, within the budget, and for
// whom it is folded.
func (b *booking) enter(p part, number int) *ledgerEntry {
	var now, later []int64
	for _, id := range idsOf(p.to) {
		if b.got[id] < b.receiver.Spec.FloodControl.Messages {
			b.got[id]++
			now = append(now, id)
		} else {
			later = append(later, id)
		}
	}
	b.Seq++
	e := b.add(ledgerEntry{Hash: p.hash, Number: number, Time: b.now.Unix(), Seq: b.Seq, To: b.names(now)})
	e.Fold = b.fold(later, e.Seq)
	return e
}

// again folds a notification into the digests of the window of now: those that it
// was to be in are closed.
func (b *booking) again(e *ledgerEntry, late []int64) {
	b.Seq++
	e.Seq = b.Seq
	e.Fold = b.fold(late, e.Seq)
}

// fold enters a notification into digests.
func (b *booking) fold(list []int64, seq int64) int {
	f := b.receiver.Spec.FloodControl
	id := digestID{Begin: windowOf(f, b.now), Seconds: int64(f.WindowSeconds)}
	var refs []int
	into := func(list ...int64) {
		id.To = b.names(list)
		ref := b.digest(id)
		d := &b.Digests[ref-1]
		d.Count++
		d.Last = seq
		refs = append(refs, ref)
	}
	var shared, named []int64
	for _, one := range list {
		if b.alone[one] {
			named = append(named, one)
		} else {
			shared = append(shared, one)
		}
	}
	if len(shared) > 0 {
		into(shared...)
	}
	if len(named) > manyNamed && b.mayShare(digestID{id.Begin, id.Seconds, b.names(named)}) {
		into(named...)
		return b.folds(refs)
	}
	for _, one := range named {
		into(one)
	}
	return b.folds(refs)
}

// mayShare reports whether recipients who were named together may have a digest in
// common: they have it already, or its window has few of them.
func (b *booking) mayShare(id digestID) bool {
	others := 0
	for _, d := range b.Digests {
		if d.digestID == id {
			return true
		}
		if to := b.to(d.To); d.Begin == id.Begin && d.Seconds == id.Seconds && len(to) > manyNamed && b.alone[to[0]] {
			others++
		}
	}
	return others < maxShared
}

// wants reports whether a line of that length has room in a digest of the entry.
func (l *ledger) wants(e ledgerEntry, length int) bool {
	if e.Fold == 0 {
		return false
	}
	if l.used == nil {
		l.used = map[int]int{}
		for _, one := range l.Lines {
			l.use(one)
		}
	}
	return l.used[0]+length <= maxLines && slices.ContainsFunc(l.digestsOf(e), func(ref int) bool {
		return l.used[ref]+len(bullet)+length <= lineRoom
	})
}

func (l *ledger) use(one line) {
	l.used[0] += len(one.Text) // of all
	for _, ref := range listOf(l.Folds, one.Fold) {
		l.used[ref] += len(bullet) + len(one.Text)
	}
}

// admit has a line stand for an entry in its digests, if any has room for it; where
// none has, the entry is only counted.
func (l *ledger) admit(e ledgerEntry, text string) {
	if !l.wants(e, len(text)) {
		return
	}
	one := line{Fold: e.Fold, Text: text}
	l.Lines = append(l.Lines, one)
	l.use(one)
}

// text is what a digest says.
func (l *ledger) text(ref int) string {
	d := l.Digests[ref-1]
	text := fmt.Sprintf("📦 %d more within %d s", d.Count, d.Seconds)
	room, shown := len(text)+lineRoom, 0
	for _, one := range l.Lines {
		if !slices.Contains(listOf(l.Folds, one.Fold), ref) {
			continue
		}
		if len(text)+len(bullet)+len(one.Text) > room {
			break
		}
		text += bullet + one.Text
		shown++
	}
	return text + template.More(d.Count-shown, 0)
}

// errFull tells of a single request that a whole ledger does not hold.
var errFull = errors.New("flood control has no room for so much at once: have fewer alerts sent at once " +
	"(Alertmanager's max_alerts)")

// fit writes the ledger so that it has at most so many bytes: where it has more, the
// oldest notifications are forgotten. Their repeats would be told again, which is
// better than a new one that is not told. What is folded stays so.
func (l *ledger) fit(r *v1alpha1.TeamTalkReceiver, now time.Time, limit int) ([]byte, error) {
	l.prune(r, now)
	for {
		if len(l.Entries) <= max(maxEntries, l.entered) {
			b, err := l.encode()
			if err != nil || len(b) <= limit {
				return b, err
			}
		}
		if !l.forget(r, now) {
			return nil, errFull
		}
	}
}

// forget drops an eighth of the entries: the oldest, those last that a budget still
// needs. It does not drop what was entered just now.
func (l *ledger) forget(r *v1alpha1.TeamTalkReceiver, now time.Time) bool {
	window, before := windowOf(r.Spec.FloodControl, now), len(l.Entries)
	left := before/8 + 1
	for _, all := range []bool{false, true} {
		old := len(l.Entries) - l.entered
		l.Entries = slices.DeleteFunc(l.Entries, func(e ledgerEntry) bool {
			old--
			counts := e.To != 0 && windowOf(r.Spec.FloodControl, time.Unix(e.Time, 0)) == window
			if old < 0 || left == 0 || counts && !all {
				return false
			}
			left--
			return true
		})
	}
	l.compact(now)
	return len(l.Entries) < before
}

// prune drops what nothing depends on any more: it is neither a repeat's first, nor
// in a window whose digest is still written to.
func (l *ledger) prune(r *v1alpha1.TeamTalkReceiver, now time.Time) {
	open := make([]bool, len(l.Folds)+1)
	for i, refs := range l.Folds {
		open[i+1] = slices.ContainsFunc(refs,
			func(ref int) bool { return now.Before(l.Digests[ref-1].end().Add(digestDelay)) })
	}
	before := len(l.Entries) + len(l.Lines)
	l.Lines = slices.DeleteFunc(l.Lines, func(one line) bool { return !open[one.Fold] })
	keep := max(r.DedupWindow(), time.Duration(r.Spec.FloodControl.WindowSeconds)*time.Second)
	l.Entries = slices.DeleteFunc(l.Entries, func(e ledgerEntry) bool {
		return !open[e.Fold] && now.Sub(time.Unix(e.Time, 0)) > keep
	})
	if len(l.Entries)+len(l.Lines) < before {
		l.compact(now)
	}
}

// compact drops lists and digests that nothing refers to.
func (l *ledger) compact(now time.Time) {
	old := *l
	l.Names, l.Digests, l.Folds = nil, nil, nil
	l.byHash, l.byNames, l.byFolds, l.byDigest, l.used = nil, nil, nil, nil, nil
	names := func(ref int) int { return l.names(old.to(ref)) }
	digests := func(ref int) int {
		d := old.Digests[ref-1]
		d.To = names(d.To)
		renewed := l.digest(d.digestID)
		l.Digests[renewed-1] = d
		return renewed
	}
	renewed := make([]int, len(old.Folds)+1)
	folds := func(ref int) int {
		if ref != 0 && renewed[ref] == 0 {
			var list []int
			for _, one := range listOf(old.Folds, ref) {
				list = append(list, digests(one))
			}
			renewed[ref] = l.folds(list)
		}
		return renewed[ref]
	}
	for i := range old.Digests {
		if now.Before(old.Digests[i].end().Add(digestDelay)) {
			digests(i + 1)
		}
	}
	for i := range l.Lines {
		l.Lines[i].Fold = folds(l.Lines[i].Fold)
	}
	for i := range l.Entries {
		l.Entries[i].To, l.Entries[i].Fold = names(l.Entries[i].To), folds(l.Entries[i].Fold)
	}
}

// windowOf is the Unix second at which the window of a time begins.
func windowOf(f *v1alpha1.FloodControl, t time.Time) int64 {
	return t.Unix() - t.Unix()%int64(f.WindowSeconds)
}

// idsOf are recipients as a ledger has them, recipientsOf is its inverse.
func idsOf(list []v1alpha1.Recipient) []int64 {
	ids := make([]int64, len(list))
	for i, r := range list {
		ids[i] = int64(r.ID)
		if r.Type == v1alpha1.RecipientGroup {
			ids[i] = -ids[i]
		}
	}
	return ids
}

func recipientsOf(ids []int64) []v1alpha1.Recipient {
	list := make([]v1alpha1.Recipient, len(ids))
	for i, id := range ids {
		list[i] = v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: uint32(id)}
		if id < 0 {
			list[i] = v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, ID: uint32(-id)}
		}
	}
	return list
}

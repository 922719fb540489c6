package delivery

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// desk is a register, and whom it has woken.
type desk struct {
	*Arrivals
	t     *testing.T
	woken []string
}

func newDesk(t *testing.T) *desk {
	d := &desk{t: t}
	d.Arrivals = NewArrivals(func(key types.NamespacedName) { d.woken = append(d.woken, key.Name) })
	return d
}

var deskServer = types.NamespacedName{Namespace: "im", Name: "default"}

// arrive enters a message that was created at second, and first seen at version.
func (d *desk) arrive(name string, second, version int, to ...Recipient) {
	d.Enter(arrivalOf(name, second, version, to...))
}

func arrivalOf(name string, second, version int, to ...Recipient) Arrival {
	key := types.NamespacedName{Namespace: "chat", Name: name}
	return Arrival{
		Key: key, UID: types.UID(name), Version: fmt.Sprint(version), Server: deskServer, Recipients: to,
		Order: Order{Created: time.Unix(int64(second), 0), Seen: fmt.Sprint(version), Name: key.String()},
	}
}

func (d *desk) wantTurn(want bool, names ...types.UID) {
	d.t.Helper()
	for _, n := range names {
		if got := d.Turn(n); got != want {
			d.t.Errorf("the turn of %s: %v", n, got)
		}
	}
}

func (d *desk) wantWoken(want ...string) {
	d.t.Helper()
	slices.Sort(d.woken)
	if !slices.Equal(d.woken, want) {
		d.t.Errorf("woken %q, want %q", d.woken, want)
	}
	d.woken = nil
}

// wantEmpty checks that nothing is left.
func (d *desk) wantEmpty() {
	d.t.Helper()
	if n, m, l := len(d.known), len(d.names), len(d.lines); n+m+l != 0 {
		d.t.Errorf("%d known, %d names, %d lines are left", n, m, l)
	}
}

// TestArrivalsInOrder: whatever order they are entered in, they are looked at by
// creation, then version.
func TestArrivalsInOrder(t *testing.T) {
	d := newDesk(t)
	want := []string{"z", "y", "m", "b", "a"}
	order := map[string][2]int{"z": {1, 70}, "y": {2, 9}, "m": {2, 10}, "b": {3, 11}, "a": {3, 100}}
	entered := slices.Clone(want)
	rand.Shuffle(len(entered), func(i, j int) { entered[i], entered[j] = entered[j], entered[i] })
	for _, n := range entered {
		d.arrive(n, order[n][0], order[n][1], toGroup)
	}
	for i, n := range want {
		d.wantTurn(true, types.UID(n))
		for _, later := range want[i+1:] {
			d.wantTurn(false, types.UID(later))
		}
		d.CheckIn(types.UID(n))
		d.wantWoken(want[i+1 : min(i+2, len(want))]...)
		d.CheckIn(types.UID(n)) // once is enough
		if seen, ok := d.Seen(types.UID(n)); !ok || seen != fmt.Sprint(order[n][1]) {
			t.Errorf("%s was first seen at %s", n, seen)
		}
		d.Leave(types.UID(n), "100")
	}
	d.wantWoken()
	d.wantEmpty()
}

// TestArrivalsMeetWhereTheyShareARecipient: through one server, and nowhere else.
func TestArrivalsMeetWhereTheyShareARecipient(t *testing.T) {
	d := newDesk(t)
	d.arrive("a", 1, 1, toAlice)
	d.arrive("b", 2, 2, user(bob))
	d.arrive("both", 3, 3, toAlice, user(bob), toGroup)
	d.arrive("c", 4, 4, toGroup)
	elsewhere := arrivalOf("elsewhere", 5, 5, toAlice)
	elsewhere.Server.Name = "other"
	d.Enter(elsewhere)
	d.wantTurn(true, "a", "b", "elsewhere")
	d.wantTurn(false, "both", "c")
	d.CheckIn("a")
	d.wantWoken() // both still waits for b
	d.CheckIn("b")
	d.wantWoken("both")
	d.wantTurn(true, "both")
	d.CheckIn("both")
	d.wantWoken("c")
	d.wantTurn(true, "stranger")
}

// TestArrivalsGone: what is deleted, replaced or finished holds up nobody.
func TestArrivalsGone(t *testing.T) {
	key := func(name string) types.NamespacedName {
		return types.NamespacedName{Namespace: "chat", Name: name}
	}
	cases := map[string]struct {
		leave    func(*desk)
		wantGone bool
	}{
		"deleted":            {func(d *desk) { d.Gone(key("a"), "") }, true},
		"another is deleted": {func(d *desk) { d.Gone(key("b"), "") }, false},
		"replaced":           {func(d *desk) { d.Gone(key("a"), "a2") }, true},
		"still there":        {func(d *desk) { d.Gone(key("a"), "a") }, false},
		"finished":           {func(d *desk) { d.Leave("a", "10") }, true},
		"edited since":       {func(d *desk) { d.arrive("a", 1, 10, toAlice); d.Leave("a", "9") }, false},
		"successor entered": {func(d *desk) {
			next := arrivalOf("a", 9, 10, toGroup)
			next.UID = "a2"
			d.Enter(next)
		}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.arrive("a", 1, 2, toAlice)
			d.arrive("z", 2, 3, toAlice)
			d.wantTurn(false, "z")
			tc.leave(d)
			d.wantTurn(tc.wantGone, "z")
			if tc.wantGone {
				d.wantWoken("z")
			} else {
				d.wantWoken()
			}
			for _, n := range []string{"a", "z"} {
				d.Gone(key(n), "")
			}
			d.wantEmpty()
		})
	}
}

// TestArrivalsAgain: those who waited for the same thing go on in order.
func TestArrivalsAgain(t *testing.T) {
	d := newDesk(t)
	a, b := arrivalOf("a", 1, 1, toAlice), arrivalOf("b", 2, 2, toAlice)
	d.Enter(a)
	d.CheckIn("a")
	d.Enter(b)
	d.wantTurn(true, "b")
	d.Again(b)
	d.Again(a)
	d.Again(a)
	d.Again(arrivalOf("stranger", 0, 0, toAlice))
	d.wantTurn(false, "b")
	d.CheckIn("a")
	d.wantWoken("b")
	d.wantTurn(true, "b")
}

// TestArrivalsTwiceToOne: nobody waits for himself.
func TestArrivalsTwiceToOne(t *testing.T) {
	d := newDesk(t)
	d.arrive("a", 1, 1, toAlice, toAlice)
	d.wantTurn(true, "a")
}

// TestArrivalsAtRandom: whatever happens in whatever order, somebody has his turn,
// and whoever is turned away is woken when he has it.
func TestArrivalsAtRandom(t *testing.T) {
	d := newDesk(t)
	var present []string
	waiting := map[string]bool{}
	for n := range 5000 {
		if len(present) < 50 && rand.N(2) == 0 {
			name := fmt.Sprint("m", n)
			var to []Recipient
			for range 1 + rand.N(4) {
				to = append(to, user(uint32(10+rand.N(8))))
			}
			d.arrive(name, rand.N(5), n, to...)
			present = append(present, name)
		}
		if len(present) == 0 {
			continue
		}
		i := rand.N(len(present))
		name := present[i]
		switch {
		case rand.N(5) == 0:
			d.Gone(types.NamespacedName{Namespace: "chat", Name: name}, "")
		case d.Turn(types.UID(name)):
			d.CheckIn(types.UID(name))
			d.Leave(types.UID(name), "999999")
		default:
			waiting[name] = true
			continue
		}
		present = slices.Delete(present, i, i+1)
		delete(waiting, name)
		for _, w := range d.woken {
			delete(waiting, w)
			if e := d.known[types.UID(w)]; e == nil || e.behind != 0 {
				t.Fatalf("%s is woken, but has not its turn", w)
			}
		}
		d.woken = nil
	}
	for len(present) > 0 {
		i := slices.IndexFunc(present, func(n string) bool { return d.known[types.UID(n)].behind == 0 })
		if i < 0 {
			t.Fatal("everybody waits for somebody")
		}
		d.Gone(types.NamespacedName{Namespace: "chat", Name: present[i]}, "")
		delete(waiting, present[i])
		present = slices.Delete(present, i, i+1)
		for _, w := range d.woken {
			delete(waiting, w)
		}
	}
	if len(waiting) > 0 {
		t.Errorf("%d were turned away and never woken", len(waiting))
	}
	d.wantEmpty()
}

// TestArrivalYields: a message lets others go first once, and keeps its place in line.
func TestArrivalYields(t *testing.T) {
	a := NewArrivals(func(types.NamespacedName) {})
	older, younger := arrivalOf("older", 1, 1, user(bob)), arrivalOf("younger", 1, 2, user(bob))
	a.Enter(older)
	a.Enter(younger)
	if !a.Yield(older.UID) || a.Yield(older.UID) || a.Yield("unknown") {
		t.Error("not once, or somebody who is not here")
	}
	if a.Turn(younger.UID) || !a.Turn(older.UID) {
		t.Error("it has lost its place")
	}
}

// BenchmarkArrivals is the cost of a message to as many as it may name.
func BenchmarkArrivals(b *testing.B) {
	var to []Recipient
	for id := range uint32(v1alpha1.MaxRecipients) {
		to = append(to, user(id))
	}
	a := NewArrivals(func(types.NamespacedName) {})
	for n := 0; b.Loop(); n++ {
		m := arrivalOf("m", 1, n, to...)
		a.Enter(m)
		a.Turn(m.UID)
		a.CheckIn(m.UID)
		a.Leave(m.UID, m.Version)
	}
}

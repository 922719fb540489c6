// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// tenants is a Queue whose namespaces admit others: all ("*"), or those with a label of a name.
type tenants struct {
	*Queue
	admits map[string]string
}

func newTenants() *tenants {
	x := &tenants{New(func(types.NamespacedName) {}), map[string]string{}}
	x.Admits = func(server types.NamespacedName) labels.Selector {
		switch admits := x.admits[server.String()]; admits {
		case "":
			return nil
		case "*":
			return labels.Everything()
		default:
			return labels.SelectorFromSet(labels.Set{"name": admits})
		}
	}
	x.Labels = func(namespace string) labels.Labels { return labels.Set{"name": namespace} }
	return x
}

func key(server string) types.NamespacedName {
	namespace, name, _ := strings.Cut(server, "/")
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// apply sets servers that are written as namespace/name[>admits]=address,address, or removes them without addresses.
func (x *tenants) apply(servers string) {
	for s := range strings.FieldsSeq(servers) {
		name, addresses, _ := strings.Cut(s, "=")
		name, admits, _ := strings.Cut(name, ">")
		if x.admits[name] = admits; addresses == "" {
			x.RemoveServer(key(name))
			continue
		}
		x.SetServer(key(name), strings.Split(addresses, ","))
	}
}

// stores returns the servers by store, as "a/1 a/2 | b/1".
func (x *tenants) grouped() string {
	byStore := map[StoreID][]string{}
	for k, s := range x.servers {
		byStore[s.store.id] = append(byStore[s.store.id], k.String())
	}
	var all []string
	for _, servers := range byStore {
		slices.Sort(servers)
		all = append(all, strings.Join(servers, " "))
	}
	slices.Sort(all)
	return strings.Join(all, " | ")
}

func TestStores(t *testing.T) {
	cases := map[string]struct {
		// steps are applied one after the other.
		steps []string
		want  string
	}{
		"a common address":              {[]string{"a/1=x,y a/2=y,z a/3=w"}, "a/1 a/2 | a/3"},
		"by way of a third":             {[]string{"a/1=x a/2=y a/3=x,y"}, "a/1 a/2 a/3"},
		"until the third is gone":       {[]string{"a/1=x a/2=y a/3=x,y", "a/3="}, "a/1 | a/2"},
		"until it has other addresses":  {[]string{"a/1=x a/2=y a/3=x,y", "a/3=y"}, "a/1 | a/2 a/3"},
		"another tenant's":              {[]string{"a/1=x b/1=x,dead"}, "a/1 | b/1"},
		"one admits the other":          {[]string{"a/1>b=x b/1=x"}, "a/1 | b/1"},
		"one admits all":                {[]string{"a/1=x b/1>*=x"}, "a/1 | b/1"},
		"they admit each other":         {[]string{"a/1>b=x b/1>a=x"}, "a/1 b/1"},
		"all admit all":                 {[]string{"a/1>*=x b/1>*=x c/1>*=x d/1>*=y"}, "a/1 b/1 c/1 | d/1"},
		"they admit others":             {[]string{"a/1>c=x b/1>a=x"}, "a/1 | b/1"},
		"they admit each other no more": {[]string{"a/1>b=x b/1>a=x", "b/1=x"}, "a/1 | b/1"},
		"nor the other one":             {[]string{"a/1>b=x b/1>a=x", "a/1=x"}, "a/1 | b/1"},
		"one that admits all lets nobody in": {
			[]string{"a/1>b=x b/1>*=x", "evil/1>*=x"}, "a/1 b/1 | evil/1",
		},
		"by way of an address of its own":   {[]string{"a/1>b=x b/1>*=x,y evil/1>*=y"}, "a/1 b/1 | evil/1"},
		"a server that admits nobody":       {[]string{"a/1>b=x a/2=x b/1>a=x"}, "a/1 a/2 | b/1"},
		"it is gone":                        {[]string{"a/1>b=x a/2=x b/1>a=x", "a/2="}, "a/1 b/1"},
		"a unit between two":                {[]string{"a/1>*=x b/1>*=y c/1>*=x,y"}, "a/1 b/1 c/1"},
		"gone from between":                 {[]string{"a/1>*=x b/1>*=y c/1>*=x,y", "c/1="}, "a/1 | b/1"},
		"created again":                     {[]string{"a/1=x a/2=x", "a/1=", "a/1=x"}, "a/1 a/2"},
		"removed twice, and one not known":  {[]string{"a/1=x", "a/1=", "a/1= b/7="}, ""},
		"its namespace admits others again": {[]string{"a/1>b=x b/1>a=x", "a/1=", "a/1>b=x"}, "a/1 b/1"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			x := newTenants()
			for _, step := range tc.steps {
				x.apply(step)
			}
			if got := x.grouped(); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

// TestLabelsChange: the namespaces that admit each other may change with their labels.
func TestLabelsChange(t *testing.T) {
	x := newTenants()
	x.apply("a/1>b=x b/1>a=x")
	x.Labels = func(string) labels.Labels { return nil } // it is gone
	x.RefreshAdmits()
	if got := x.grouped(); got != "a/1 | b/1" {
		t.Errorf("without labels: %s", got)
	}
}

// TestServersAreForgotten: nothing is kept of servers that are gone, whether or not they have had messages.
func TestServersAreForgotten(t *testing.T) {
	x := newTenants()
	x.apply("a/1=x b/1=x")
	changes := 0
	x.StoresChanged = func() { changes += len(x.TakeStoreChanges()) }
	const servers = 3000
	for n := range servers {
		name := fmt.Sprintf("b/%d", n+2)
		x.apply(name + "=x,dead" + fmt.Sprint(n))
		p := x.Submit(Submission{
			Conversations: []Conversation{{key(name), Participants{High: 1}}}, Wake: func(int) {},
		})[0]
		x.apply(name + "=")
		if x.StoreOf(key(name)) == 0 {
			t.Fatal("it is forgotten while its message holds a conversation")
		}
		p.Done()
	}
	if len(x.servers) != 2 || len(x.namespaces) != 2 || len(x.stores) != 2 || len(x.storeChanges) != 0 {
		t.Errorf("%d servers, %d namespaces, %d stores, %d changes are kept",
			len(x.servers), len(x.namespaces), len(x.stores), len(x.storeChanges))
	}
	if changes == 0 {
		t.Error("no change was told")
	}
}

// TestPartedWhileHeld: a conversation is passed on once only servers of other stores hold it.
func TestPartedWhileHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConversations(t)
		c.SetServer(named("a"), []string{"x"})
		c.SetServer(named("b"), []string{"x"})
		held := c.place(peers("a", 1), Order{Name: "1"})
		c.acquire(held)
		c.pass(t.Context(), peers("b", 1), Order{Name: "2"})
		if len(c.acquired) > 0 {
			t.Error("two servers of a store had the conversation at once")
		}
		// A request of the holder may be in flight at its former address.
		c.SetServer(named("a"), []string{"y"})
		c.SetServer(named("c"), []string{"y"})
		c.pass(t.Context(), peers("c", 1), Order{Name: "3"})
		if len(c.acquired) > 0 {
			t.Error("passed on although a request may be in flight")
		}
		c.SetServer(named("b"), []string{"z"})
		if len(c.acquired) > 0 {
			t.Error("passed on although a request may be in flight")
		}
		held.Release()
		synctest.Wait() // b and c have no address in common
		if n := len(c.acquired); n != 2 {
			t.Errorf("%d have acquired it at the end", n)
		}
	})
}

// TestStoresConcurrently: whatever becomes of the servers, each place gets its conversation, none of one server twice
// at once.
func TestStoresConcurrently(t *testing.T) {
	x := newTenants()
	c := &conversations{x.Queue, t, nil}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2000 {
			server := fmt.Sprintf("%c/%d", 'a'+rand.N(3), rand.N(3))
			x.apply(server + []string{"=", "=x", "=x,y", "=y", ">*=y,z", ">*=x"}[rand.N(6)])
		}
	}()
	var holders [9]chan struct{}
	for i := range holders {
		holders[i] = make(chan struct{}, 1)
	}
	finished := make(chan struct{})
	const senders = 8
	for range senders {
		go func() {
			defer func() { finished <- struct{}{} }()
			for range 300 {
				i := rand.N(9)
				server := key(fmt.Sprintf("%c/%d", 'a'+i/3, i%3))
				p := c.place(Conversation{Server: server}, Order{Name: fmt.Sprint(rand.N(5))})
				if err := p.Acquire(t.Context()); err != nil {
					t.Error(err)
				}
				for p.Requeue() {
					_ = p.Acquire(t.Context())
				}
				select {
				case holders[i] <- struct{}{}:
				default:
					t.Error("two hold a conversation of one server")
				}
				<-holders[i]
				p.Done()
			}
		}()
	}
	for range senders {
		<-finished
	}
	<-done
	for n := range 9 {
		x.apply(fmt.Sprintf("%c/%d=", 'a'+n/3, n%3))
	}
	if len(x.servers) != 0 || len(x.namespaces) != 0 || len(x.stores) != 0 {
		t.Errorf("%d servers, %d namespaces, %d stores are kept", len(x.servers), len(x.namespaces), len(x.stores))
	}
}

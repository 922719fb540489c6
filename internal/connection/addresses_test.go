// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// TestConfigOfSpellings: an endpoint that is given twice is connected to once.
func TestConfigOfSpellings(t *testing.T) {
	server := &v1alpha1.TeamTalkServer{}
	server.Spec.DBProxy.Endpoints = []v1alpha1.Endpoint{"Db:10600", "db:10600", "db.:10600", "other:1", "db:010600", "db:10601"}
	server.Spec.Router.Endpoints = []v1alpha1.Endpoint{"router:8200", "ROUTER:8200"}
	c := ConfigOf(server)
	if got := strings.Join(append(c.DBProxy, c.Router...), " "); got != "Db:10600 other:1 db:10601 router:8200" {
		t.Errorf("connects to %s", got)
	}
}

// spellings of the address of a local server.
func spellings(t *testing.T, address string) []string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return []string{"127.0.0.1:" + port, "localhost:" + port, "LOCALHOST:0" + port, "[::ffff:127.0.0.1]:" + port}
}

// addressBook records what a Manager reports of the addresses of its servers.
type addressBook struct {
	*Manager
	mu       sync.Mutex
	reported map[string][]string
}

func newAddressBook(t *testing.T, limits *dbproxy.Limits) *addressBook {
	b, ignore := &addressBook{reported: map[string][]string{}}, func(types.NamespacedName) {}
	b.Manager = NewManager(logr.Discard(), limits, nil, Events{
		Connection: ignore, Usable: ignore,
		Addresses: func(server types.NamespacedName, addresses []string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.reported[server.Name] = addresses
		},
	})
	run(t, b.Manager)
	return b
}

// connect connects a server for each address, and returns when all connections are up.
func (b *addressBook) connect(t *testing.T, server *devserver.Server, addresses []string) (sessions []*Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i, address := range addresses {
		c := config(server)
		c.DBProxy, c.Connections = []string{address}, 1
		s := b.Ensure(types.NamespacedName{Namespace: "chat", Name: fmt.Sprint(i)}, c, keys(t))
		if err := s.WaitReady(ctx); err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		sessions = append(sessions, s)
	}
	return sessions
}

// TestSpellingsShareLimits: servers that name one db_proxy in different ways send it no more group requests at once
// than the process may.
func TestSpellingsShareLimits(t *testing.T) {
	server := serve(t)
	const limit = 3 // two servers may have more
	b := newAddressBook(t, dbproxy.NewLimits(64, limit))
	sessions := b.connect(t, server, spellings(t, server.DBProxyAddr()))
	unanswered, err := server.Faults().Add(devserver.Fault{Kind: devserver.Drop, Command: wire.CommandGroupInfoReq})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var requests sync.WaitGroup
	for _, s := range sessions {
		p, done, err := s.Path()
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		for range limit {
			requests.Go(func() { _, _ = p.Groups(ctx, 1, []uint32{7}, func(*wire.GroupInfo) {}) })
		}
	}
	// A request after them shows that they have had their chance.
	for range limit {
		for _, s := range sessions {
			for s.inFlight.Load() < limit {
				runtime.Gosched()
			}
			p, done, err := s.Path()
			if err != nil {
				t.Fatal(err)
			}
			defer done()
			if _, err := p.Users(ctx, 1, []uint32{1}); err != nil {
				t.Error(err)
			}
		}
	}
	if n := server.Faults().FiredByID(unanswered); n != limit {
		t.Errorf("%d group requests at once, want %d", n, limit)
	}
	cancel()
	requests.Wait()
}

// TestAddresses: the addresses of a server are those of its spec in one spelling, and those that it is connected to.
func TestAddresses(t *testing.T) {
	server := serve(t)
	b, names := newAddressBook(t, dbproxy.NewLimits(64, 1)), spellings(t, server.DBProxyAddr())
	b.connect(t, server, names)
	reported := func(name string) ([]string, bool) {
		b.mu.Lock()
		defer b.mu.Unlock()
		addresses, ok := b.reported[name]
		return addresses, ok
	}
	for i, address := range names {
		want := []string{names[0], string(v1alpha1.Endpoint(address).Normalized())}
		slices.Sort(want)
		if got, _ := reported(fmt.Sprint(i)); !slices.Equal(got, slices.Compact(want)) {
			t.Errorf("%s has %v, want %v", address, got, want)
		}
	}
	for _, name := range []string{"0", "unknown"} {
		b.Remove(types.NamespacedName{Namespace: "chat", Name: name})
		if got, ok := reported(name); !ok || len(got) > 0 {
			t.Errorf("%s has %v after its end", name, got)
		}
	}
}

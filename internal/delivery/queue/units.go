// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"cmp"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/labels"
)

// unit is servers that share a store.
type unit []*server

func byNumber(a, b *server) int { return cmp.Compare(a.number, b.number) }

// addresses returns the addresses of all servers, including those at which requests may still be in flight.
func (u unit) addresses() []string {
	var addresses []string
	for _, s := range u {
		for _, g := range s.generations {
			addresses = append(addresses, g.addresses...)
		}
	}
	return addresses
}

// namespace is the servers of one namespace. They trust each other.
type namespace struct {
	servers []*server
	units   []unit
	// open: a server admits another namespace.
	open bool
}

// regroup builds units of servers that have addresses in common, directly or through other servers.
func (n *namespace) regroup() {
	n.open, n.units = false, nil
	root := make([]int, len(n.servers))
	find := func(i int) int {
		for root[i] != i {
			root[i] = root[root[i]]
			i = root[i]
		}
		return i
	}
	first := map[string]int{}
	for i, s := range n.servers {
		root[i], n.open = i, n.open || s.admits != nil
		for _, address := range (unit{s}).addresses() {
			if other, ok := first[address]; ok {
				root[find(other)] = find(i)
			}
			first[address] = i
		}
	}
	members := map[int]unit{}
	for i, s := range n.servers {
		members[find(i)] = append(members[find(i)], s)
	}
	n.units = slices.Collect(maps.Values(members))
}

// union joins units of several namespaces. Two are joined if they have an address in common, and each server of the
// one admits the namespaces of the other. All servers in a joined unit admit each other. Otherwise a server that
// admits all namespaces would let in a server that another one does not admit. The oldest are joined first.
type union struct {
	labels    func(namespace string) labels.Labels
	known     map[string]labels.Labels
	byAddress map[string][]*joined
	all       map[*joined]struct{}
}

// joined is a unit of several namespaces.
type joined struct {
	servers    unit
	namespaces map[string]struct{}
	addresses  map[string]struct{}
}

func joinUnits(units []unit, labelsOf func(namespace string) labels.Labels) []unit {
	for _, u := range units {
		slices.SortFunc(u, byNumber)
	}
	slices.SortFunc(units, func(u, v unit) int { return byNumber(u[0], v[0]) })
	x := &union{labelsOf, map[string]labels.Labels{}, map[string][]*joined{}, map[*joined]struct{}{}}
	for _, u := range units {
		x.add(u)
	}
	var result []unit
	for of := range x.all {
		result = append(result, of.servers)
	}
	return result
}

func (x *union) add(u unit) {
	into := &joined{namespaces: map[string]struct{}{}, addresses: map[string]struct{}{}}
	x.all[into] = struct{}{}
	x.merge(u, u.addresses(), into)
	for _, address := range u.addresses() {
		for _, other := range slices.Clone(x.byAddress[address]) {
			if other == into || !x.admits(into, other) || !x.admits(other, into) {
				continue
			}
			from := other
			if len(from.servers) >= len(into.servers) {
				from, into = into, from
			}
			delete(x.all, from)
			for old := range from.addresses {
				x.byAddress[old] = slices.DeleteFunc(x.byAddress[old], func(o *joined) bool { return o == from })
			}
			x.merge(from.servers, slices.Collect(maps.Keys(from.addresses)), into)
		}
	}
}

// merge adds servers with their addresses.
func (x *union) merge(servers unit, addresses []string, into *joined) {
	into.servers = append(into.servers, servers...)
	for _, s := range servers {
		into.namespaces[s.key.Namespace] = struct{}{}
	}
	for _, address := range addresses {
		if _, ok := into.addresses[address]; !ok {
			into.addresses[address] = struct{}{}
			x.byAddress[address] = append(x.byAddress[address], into)
		}
	}
}

// admits reports whether each server of one unit admits the namespaces of another.
func (x *union) admits(one, other *joined) bool {
	for _, s := range one.servers {
		for name := range other.namespaces {
			if name != s.key.Namespace && !x.matches(s.admits, name) {
				return false
			}
		}
	}
	return true
}

func (x *union) matches(selector labels.Selector, name string) bool {
	if selector == nil || selector.Empty() {
		return selector != nil
	}
	of, ok := x.known[name]
	if !ok && x.labels != nil {
		of = x.labels(name)
		x.known[name] = of
	}
	return of != nil && selector.Matches(of)
}

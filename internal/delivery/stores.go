package delivery

import "k8s.io/apimachinery/pkg/types"

// stores says which db_proxy addresses have one message store behind them: those that
// one server names, together or one after the other, and all that others name together
// with one of these. What was joined stays so, for as long as the process runs: an
// address that is taken out of a server's list may still have requests of its
// conversations in flight, and two stores that are taken for one only wait for each
// other. The zero value knows none.
type stores struct {
	above map[string]string
	// named is one address that each server has named.
	named map[types.NamespacedName]string
}

// of returns the name of the store behind an address: the same for all of its addresses.
func (s *stores) of(address string) string {
	for {
		above, ok := s.above[address]
		if !ok {
			return address
		}
		address = above
	}
}

// join has all of the addresses be of one store, the server's. It calls renamed for
// each store that goes by another name now.
func (s *stores) join(server types.NamespacedName, addresses []string, renamed func(from, to string)) {
	if s.above == nil {
		s.above, s.named = map[string]string{}, map[types.NamespacedName]string{}
	}
	for _, address := range addresses {
		first, ok := s.named[server]
		if !ok {
			first = address
			s.named[server] = first
		}
		if from, to := s.of(address), s.of(first); from != to {
			s.above[from] = to
			renamed(from, to)
		}
	}
}

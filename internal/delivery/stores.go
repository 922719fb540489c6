package delivery

// stores says which db_proxy addresses have one message store behind them: those that
// one server names together, and all that others name together with one of these. What
// was joined stays so, for as long as the process runs: an address that is taken out of
// a server's list may still have requests of its conversations in flight, and two
// stores that are taken for one only wait for each other. The zero value knows none.
type stores struct{ above map[string]string }

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

// join has all of the addresses be of one store. It calls renamed for each store that
// goes by another name now.
func (s *stores) join(addresses []string, renamed func(from, to string)) {
	for _, address := range addresses {
		from, to := s.of(address), s.of(addresses[0])
		if from == to {
			continue
		}
		if s.above == nil {
			s.above = map[string]string{}
		}
		s.above[from] = to
		renamed(from, to)
	}
}

// SPDX-License-Identifier: Apache-2.0

package fairqueue

// Shares divides a limit so that a part of it is always left for others. A tenant may have a portion of the unused
// rest, and a flow the same portion of the rest of its tenant. With a portion of 1/4, one tenant gets 1/5 of the limit,
// each of ten gets 1/14, and the only flow of an only tenant gets 1/21. A fixed share for each would either be small,
// or add up to more than there is.
type Shares struct {
	limit, portion, used int
	tenants              map[string]int
	flows                map[Flow]int
}

// NewShares returns the shares of a limit. The portion is 1/portion.
func NewShares(limit, portion int) *Shares {
	return &Shares{limit: limit, portion: portion, tenants: map[string]int{}, flows: map[Flow]int{}}
}

// Fits reports whether a flow may take n more. A tenant that has nothing may take all that is left of the limit, and a
// flow that has nothing all that its tenant may have. If nothing is taken, any number fits.
func (s *Shares) Fits(f Flow, n int) bool {
	tenant, flow := s.tenants[f.Tenant], s.flows[f]
	if tenant == 0 {
		return s.used == 0 || s.used+n <= s.limit
	}
	left := (s.limit-s.used-n)/s.portion - (tenant + n)
	return left >= 0 && (flow == 0 || flow+n <= left/s.portion)
}

// Take takes n, whether or not they fit.
func (s *Shares) Take(f Flow, n int) { s.add(f, n) }

// Return returns n that were taken.
func (s *Shares) Return(f Flow, n int) { s.add(f, -n) }

// Used returns how much is taken in all.
func (s *Shares) Used() int { return s.used }

// UsedBy returns how much a tenant has taken.
func (s *Shares) UsedBy(tenant string) int { return s.tenants[tenant] }

func (s *Shares) add(f Flow, n int) {
	s.used += n
	if s.tenants[f.Tenant] += n; s.tenants[f.Tenant] == 0 {
		delete(s.tenants, f.Tenant)
	}
	if s.flows[f] += n; s.flows[f] == 0 {
		delete(s.flows, f)
	}
}

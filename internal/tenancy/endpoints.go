// SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// anyNamespace is the namespace of rules that apply to all.
const anyNamespace = "*"

// Endpoints are the endpoints that TeamTalkServers may name, by their namespace. The rules of a namespace and those of
// anyNamespace add up. A nil *Endpoints permits all.
type Endpoints struct{ rules map[string][]endpointRule }

// endpointRule permits one host, or several, and one port or all.
type endpointRule struct {
	// addresses are permitted for all names that resolve to them. If not valid, name is used.
	addresses netip.Prefix
	// name is a host name, ".x" for all names below x, or "*" for all names and addresses.
	name string
	// port, or "" for any port.
	port string
}

// ParseEndpoints reads rules of the form NAMESPACE=HOST[:PORT][,HOST[:PORT]...]. It returns nil if there are none. If
// there are rules, endpoints that no rule permits are refused.
func ParseEndpoints(values []string) (*Endpoints, error) {
	if len(values) == 0 {
		return nil, nil
	}
	e := &Endpoints{rules: map[string][]endpointRule{}}
	for _, value := range values {
		namespace, hosts, ok := strings.Cut(value, "=")
		if !ok || namespace != anyNamespace && len(validation.IsDNS1123Label(namespace)) > 0 {
			return nil, fmt.Errorf("%q is not NAMESPACE=HOST[:PORT],...: the namespace is a name, or * for all", value)
		}
		if hosts == "" { // nothing is permitted there
			continue
		}
		for host := range strings.SplitSeq(hosts, ",") {
			rule, err := parseEndpointRule(host)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", value, err)
			}
			e.rules[namespace] = append(e.rules[namespace], rule)
		}
	}
	return e, nil
}

var hostName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$`)

func parseEndpointRule(text string) (rule endpointRule, err error) {
	host, port, splitErr := net.SplitHostPort(text)
	if splitErr != nil { // without a port
		host, port = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"), "*"
	}
	if port != "*" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return rule, fmt.Errorf("%q has no port from 1 to 65535: leave it off, or write * for any", text)
		}
		rule.port = strconv.FormatUint(n, 10)
	}
	if address, err := netip.ParseAddr(host); err == nil && address.Zone() == "" {
		address = address.Unmap()
		rule.addresses = netip.PrefixFrom(address, address.BitLen())
		return rule, nil
	}
	if rule.addresses, err = netip.ParsePrefix(host); err == nil {
		if rule.addresses = rule.addresses.Masked(); rule.addresses.Addr().Is4In6() {
			return rule, fmt.Errorf("%q is a range of IPv4 addresses in IPv6: write it as IPv4", text)
		}
		return rule, nil
	}
	rule.addresses, rule.name = netip.Prefix{}, strings.TrimSuffix(strings.ToLower(host), ".")
	below, isSuffix := strings.CutPrefix(rule.name, "*.")
	switch {
	case host == "*":
	case !hostName.MatchString(below):
		return rule, fmt.Errorf("%q is no host: want a name, *.NAME, an IP address, a range such as 10.0.0.0/8, or *", text)
	case isSuffix:
		rule.name = "." + below
	}
	return rule, nil
}

// Check returns why a server may not connect to one of its endpoints, or nil. A name passes if an address that it
// resolves to may be permitted: PermitsAddress decides at each connection.
func (e *Endpoints) Check(server *v1alpha1.TeamTalkServer) *v1alpha1.Cause {
	for _, endpoint := range slices.Concat(server.Spec.DBProxy.Endpoints, server.Spec.Router.Endpoints) {
		if !e.permits(server.Namespace, string(endpoint), netip.Addr{}) {
			return NotPermitted(server.Namespace, string(endpoint))
		}
	}
	return nil
}

// PermitsAddress reports whether servers of a namespace may connect to an address that the host of an endpoint resolves
// to.
func (e *Endpoints) PermitsAddress(namespace, endpoint string, address netip.Addr) bool {
	return e.permits(namespace, endpoint, address.Unmap())
}

// NotPermitted is the cause of a server in a namespace whose endpoint is not permitted.
func NotPermitted(namespace, endpoint string) *v1alpha1.Cause {
	return &v1alpha1.Cause{Reason: v1alpha1.ReasonEndpointNotPermitted, Message: fmt.Sprintf(
		"TeamTalkServers of namespace %q are not permitted to connect to %s: "+
			"ask the administrator to add it to --allowed-endpoints", namespace, endpoint)}
}

// permits decides about an endpoint, and the address that it resolves to; not valid: it is not resolved yet.
func (e *Endpoints) permits(namespace, endpoint string, resolved netip.Addr) bool {
	if e == nil {
		return true
	}
	host, port, err := net.SplitHostPort(string(v1alpha1.Endpoint(endpoint).Normalized()))
	if err != nil {
		return false // Unreachable: the API server has checked it.
	}
	address, err := netip.ParseAddr(host)
	isName := err != nil
	if !isName && !resolved.IsValid() {
		resolved = address
	}
	permitted := func(r endpointRule) bool {
		switch {
		case r.port != "" && r.port != port:
			return false
		case r.addresses.IsValid():
			return isName && !resolved.IsValid() || r.addresses.Contains(resolved)
		case r.name == "*":
			return true
		case strings.HasPrefix(r.name, "."):
			return isName && strings.HasSuffix(host, r.name)
		}
		return isName && host == r.name
	}
	return slices.ContainsFunc(e.rules[namespace], permitted) || slices.ContainsFunc(e.rules[anyNamespace], permitted)
}

// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/teamtalk-io/teamtalk-operator/internal/tenancy"
)

const allowedEndpointsFlag = "allowed-endpoints"

// EndpointOptions are the endpoints that TeamTalkServers may name.
type EndpointOptions struct{ Allowed []string }

// Flags adds the options to a flag set.
func (o *EndpointOptions) Flags(fs *pflag.FlagSet) {
	fs.StringArrayVar(&o.Allowed, allowedEndpointsFlag, nil,
		"`NAMESPACE=HOST[:PORT],...`: the endpoints that TeamTalkServers of a namespace, or of all (*), may use. "+
			"HOST is a name, *.NAME, an IP address, a range such as 10.0.0.0/8, or *. May be repeated. "+
			"If unset, all are allowed")
}

// Validate returns an error of one line that names the flag to change.
func (o *EndpointOptions) Validate() error {
	if _, err := tenancy.ParseEndpoints(o.Allowed); err != nil {
		return fmt.Errorf("--%s: %w", allowedEndpointsFlag, err)
	}
	return nil
}

// Endpoints returns the allowed endpoints, or nil if all are allowed. The options must be valid.
func (o *EndpointOptions) Endpoints() *tenancy.Endpoints {
	endpoints, err := tenancy.ParseEndpoints(o.Allowed)
	if err != nil {
		panic(err) // Unreachable: Validate refuses it.
	}
	return endpoints
}

// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// DBProxyOptions limit the requests in flight at each db_proxy.
type DBProxyOptions struct {
	MaxInFlight, MaxGroupInFlight int

	flags *pflag.FlagSet
}

const (
	maxInFlightFlag      = "db-proxy-max-in-flight"
	maxGroupInFlightFlag = "db-proxy-max-group-in-flight"
	// maxDBProxyInFlight is the highest value of both, as in a TeamTalkServer.
	maxDBProxyInFlight = 1024
)

// Flags adds the options to a flag set.
func (o *DBProxyOptions) Flags(fs *pflag.FlagSet) {
	fs.IntVar(&o.MaxInFlight, maxInFlightFlag, dbproxy.DefaultMaxInFlight,
		"limit of requests in flight at each db_proxy, over all TeamTalkServers that use it. Namespaces take turns; "+
			"maxInFlight of a TeamTalkServer limits its own requests further")
	fs.IntVar(&o.MaxGroupInFlight, maxGroupInFlightFlag, dbproxy.DefaultMaxGroupInFlight,
		"limit of those that concern groups. A stock db_proxy may lose threads with more than 1, and deadlocks with 32")
	o.flags = fs
}

// Validate returns an error of one line that names the flag to change.
func (o *DBProxyOptions) Validate() error {
	switch {
	case o.MaxInFlight < 1 || o.MaxInFlight > maxDBProxyInFlight:
		return fmt.Errorf("--%s must be from 1 to %d, not %d", maxInFlightFlag, maxDBProxyInFlight, o.MaxInFlight)
	case o.MaxGroupInFlight < 1 || o.MaxGroupInFlight > o.MaxInFlight:
		return fmt.Errorf("--%s must be from 1 to --%s (%d), not %d",
			maxGroupInFlightFlag, maxInFlightFlag, o.MaxInFlight, o.MaxGroupInFlight)
	}
	return nil
}

// Given returns the name of a flag that was set, or "".
func (o *DBProxyOptions) Given() string {
	for _, name := range []string{maxInFlightFlag, maxGroupInFlightFlag} {
		if o.flags.Changed(name) {
			return name
		}
	}
	return ""
}

// Limits returns the limits of the process.
func (o *DBProxyOptions) Limits() *dbproxy.Limits {
	return dbproxy.NewLimits(o.MaxInFlight, o.MaxGroupInFlight)
}

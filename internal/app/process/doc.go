// SPDX-License-Identifier: Apache-2.0

// Package process holds what the operator's process and the gateway's process have in common.
//
// RESTConfig and NewManager set up the access to the cluster, LogOptions the log, and MetricsOptions the metrics
// endpoint. AwaitManager waits for a manager to stop.
package process

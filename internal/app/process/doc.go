// SPDX-License-Identifier: Apache-2.0

// Package process holds the code that the processes of the operator and the gateway share.
//
// RESTConfig and NewManager set up the access to the cluster, LogOptions the log, and MetricsOptions the metrics
// endpoint. AwaitManager waits for a manager to stop.
package process

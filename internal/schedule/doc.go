// SPDX-License-Identifier: Apache-2.0

// Package schedule provides cron schedules with time zones, and computes which times are due.
//
// Parse returns a Schedule. Schedule.Next and Schedule.Latest return its ticks, and Schedule.Plan the due ones.
//
// The expressions are those of a CronJob. github.com/netresearch/go-cron (MIT) reads them. It is a maintained fork of
// github.com/robfig/cron, which Kubernetes uses and which had its last release in 2020. Neither handles changes of a
// clock well. Both leave out a daily tick on a skipped midnight or in a skipped half hour, and robfig/cron in a
// skipped hour. Both return a daily tick twice in a repeated hour. Therefore the library only reads expressions and
// finds times on a clock that is never changed. This package converts them to instants.
package schedule

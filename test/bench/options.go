// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// defaultRounds is the default number of rounds, the smallest for the median of a ratio.
const defaultRounds = 5

// stockPace makes teamtalk-dev as fast as a stock db_proxy on two cores: 1,190 messages/s at 64 in flight.
const stockPace = 27 * time.Millisecond

// options come from the environment. make passes its variables on.
type options struct {
	figures []figure
	rounds  int
	// operator is a binary to measure instead of the one built from these sources.
	operator string
	// pace is how long teamtalk-dev waits before each answer in the figures that are paced.
	pace time.Duration
	// own is the user's own TeamTalk. If it is nil, teamtalk-dev is started.
	own           *framework.OwnTeamTalk
	sender        uint32
	users, groups []uint32
	key           []byte
}

// The users and groups of the teamtalk-dev that the bench starts.
const (
	devSender    = 1
	devFirstUser = 1001
	// devGroups are numbered from 1 on.
	devGroups = 30
	// devMembers is how many users are in each group, beside the sender.
	devMembers = 8
)

func parse(getenv func(string) string) (options, error) {
	o := options{
		rounds: defaultRounds, operator: getenv("OPERATOR"), pace: stockPace,
		sender: devSender, key: []byte(devserver.DevelopmentKey),
	}
	var err error
	if o.figures, err = choose(getenv("BENCH")); err != nil {
		return o, err
	}
	if s := getenv("ROUNDS"); s != "" {
		if o.rounds, err = strconv.Atoi(s); err != nil || o.rounds < 1 {
			return o, fmt.Errorf("ROUNDS=%s: want a number from 1 on", s)
		}
	}
	if o.own, err = framework.ReadOwnTeamTalk(getenv); err != nil {
		return o, err
	}
	if s := getenv("LATENCY"); s != "" {
		if o.pace, err = time.ParseDuration(s); err != nil || o.pace < 0 {
			return o, fmt.Errorf("LATENCY=%s: want a duration, such as 27ms or 0", s)
		}
		if o.own != nil {
			return o, fmt.Errorf("LATENCY is teamtalk-dev's, and DB_PROXY names a TeamTalk of your own: set one of them")
		}
	}
	if o.own != nil {
		o.sender, o.users, o.groups = o.own.Sender, o.own.Users, o.own.Groups
		if o.own.Key != nil {
			o.key = o.own.Key
		}
		return o, nil
	}
	for i := range uint32(bulkUsers) {
		o.users = append(o.users, devFirstUser+i)
	}
	for i := range uint32(devGroups) {
		o.groups = append(o.groups, 1+i)
	}
	return o, nil
}

// latencyOf returns how long teamtalk-dev waits before each answer in a figure.
func (o *options) latencyOf(f figure) time.Duration {
	switch {
	case o.own != nil:
		return 0
	case f.paced:
		return o.pace
	}
	return f.latency
}

// lacks describes what a figure needs and does not have, or is empty.
func (o *options) lacks(f figure) string {
	switch {
	case f.needsDev && o.own != nil:
		return "it takes teamtalk-dev, whose faults or inbox it uses"
	case len(o.users) < f.users:
		return fmt.Sprintf("it takes %d users, and USERS names %d", f.users, len(o.users))
	case len(o.groups) < f.groups:
		return "it takes a group of which the sender is a member, and GROUPS names none"
	}
	return ""
}

// choose returns the figures that are named, comma-separated, or all if none is named.
func choose(names string) ([]figure, error) {
	if names == "" {
		return figures, nil
	}
	named := strings.Split(names, ",")
	var chosen []figure
	var known []string
	for _, f := range figures {
		known = append(known, f.name)
		if slices.Contains(named, f.name) {
			chosen = append(chosen, f)
		}
	}
	for _, name := range named {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("BENCH=%s: there is no %q; choose of %s", names, name, strings.Join(known, ","))
		}
	}
	return chosen, nil
}

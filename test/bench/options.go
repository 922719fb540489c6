// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// defaultRounds is the least of which a ratio's median is taken.
const defaultRounds = 5

// stockPace has teamtalk-dev, with 64 requests in flight, send and read back about
// 1,190 messages per second: what saturates a stock db_proxy on two cores.
const stockPace = 27 * time.Millisecond

// options come from the environment: make passes what it is given on.
type options struct {
	figures []figure
	rounds  int
	// operator is a binary to be measured instead of the one that these sources make.
	operator string
	// pace is how long teamtalk-dev takes for each answer, beside its work, in the
	// figures that are paced.
	pace time.Duration
	// dbProxy and router are a TeamTalk of the user's own; empty: teamtalk-dev is started.
	dbProxy, router string
	sender          uint32
	users, groups   []uint32
	key             []byte
}

// Who is in the teamtalk-dev that is started here.
const (
	devSender    = 1
	devFirstUser = 1001
	devGroup     = 1
	// devMembers is how many users are in the group, beside the sender.
	devMembers = 8
)

// parse reads the environment.
func parse(getenv func(string) string) (options, error) {
	o := options{
		rounds: defaultRounds, operator: getenv("OPERATOR"), pace: stockPace,
		dbProxy: getenv("DB_PROXY"), router: getenv("ROUTER"),
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
	if s := getenv("LATENCY"); s != "" {
		if o.pace, err = time.ParseDuration(s); err != nil || o.pace < 0 {
			return o, fmt.Errorf("LATENCY=%s: want a duration, such as 27ms or 0", s)
		}
		if o.foreign() {
			return o, fmt.Errorf("LATENCY is teamtalk-dev's, and DB_PROXY names a TeamTalk of your own: set one of them")
		}
	}
	if !o.foreign() {
		for _, name := range []string{"ROUTER", "SENDER", "USERS", "GROUPS", "AES_KEY_FILE"} {
			if getenv(name) != "" {
				return o, fmt.Errorf("%s goes with DB_PROXY=host:port, a TeamTalk of your own: set both or neither", name)
			}
		}
		for i := range uint32(bulkUsers) {
			o.users = append(o.users, devFirstUser+i)
		}
		o.groups = []uint32{devGroup}
		return o, nil
	}
	return o, o.own(getenv)
}

// own reads what describes a TeamTalk of the user's own.
func (o *options) own(getenv func(string) string) error {
	if o.router == "" {
		return fmt.Errorf("DB_PROXY is set and ROUTER is not: set ROUTER=host:port")
	}
	sender, err := ids(getenv("SENDER"))
	if err != nil || len(sender) != 1 {
		return fmt.Errorf("SENDER=%s: want the id of one user, who sends", getenv("SENDER"))
	}
	o.sender = sender[0]
	if o.users, err = ids(getenv("USERS")); err != nil {
		return fmt.Errorf("USERS=%s: %w", getenv("USERS"), err)
	}
	if o.groups, err = ids(getenv("GROUPS")); err != nil {
		return fmt.Errorf("GROUPS=%s: %w", getenv("GROUPS"), err)
	}
	if len(o.users)+len(o.groups) == 0 {
		return fmt.Errorf("neither USERS nor GROUPS is set: name ids, such as USERS=3,5-9, who will get messages")
	}
	if slices.Contains(o.users, o.sender) {
		return fmt.Errorf("USERS=%s: has the sender, %d, and TeamTalk stores nothing to oneself", getenv("USERS"), o.sender)
	}
	if file := getenv("AES_KEY_FILE"); file != "" {
		if o.key, err = os.ReadFile(file); err != nil {
			return fmt.Errorf("AES_KEY_FILE: %w", err)
		}
		if len(o.key) == cipher.KeyLen+1 && o.key[cipher.KeyLen] == '\n' {
			o.key = o.key[:cipher.KeyLen]
		}
		if len(o.key) != cipher.KeyLen {
			return fmt.Errorf("AES_KEY_FILE=%s: has %d bytes, want %d", file, len(o.key), cipher.KeyLen)
		}
	}
	return nil
}

// foreign reports whether a TeamTalk of the user's own is measured.
func (o *options) foreign() bool { return o.dbProxy != "" }

// latencyOf returns how long teamtalk-dev waits before each answer in a figure.
func (o *options) latencyOf(f figure) time.Duration {
	if f.paced && !o.foreign() {
		return o.pace
	}
	return 0
}

// lacks says what a figure misses to be measured; empty: nothing.
func (o *options) lacks(f figure) string {
	switch {
	case len(o.users) < f.users:
		return fmt.Sprintf("it takes %d users, and USERS names %d", f.users, len(o.users))
	case len(o.groups) < f.groups:
		return "it takes a group of which the sender is a member, and GROUPS names none"
	}
	return ""
}

// choose returns the figures that are named, comma-separated; all if none is.
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

// maxIDs keeps a mistyped range from being taken at its word.
const maxIDs = 100_000

// ids reads comma-separated ids and ranges of them, such as 3,5-9.
func ids(list string) ([]uint32, error) {
	var all []uint32
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		first, err := strconv.ParseUint(from, 10, 31)
		last, err2 := strconv.ParseUint(to, 10, 31)
		if err != nil || err2 != nil || first == 0 || last < first || last-first >= maxIDs {
			return nil, fmt.Errorf("%q is no id and no range of ids: want such as 3,5-9", part)
		}
		for id := first; id <= last; id++ {
			all = append(all, uint32(id))
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

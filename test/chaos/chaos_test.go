// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/chaos/mutants"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

func TestShort(t *testing.T) {
	chosen, err := choose("", true)
	noError(t, err)
	s := &suite{size: shortSize, clusters: shortClusters, log: t.Logf}
	if s.binary, err = framework.BuildCached(t.Context(), "teamtalk-operator"); err != nil {
		t.Fatal(err)
	}
	results, err := s.run(t.Context(), chosen)
	noError(t, err)
	var table bytes.Buffer
	if !printTable(&table, results) {
		t.Errorf("\n%s", &table)
	}
}

// TestVerdicts checks that each kind of wrong count fails the scenario.
func TestVerdicts(t *testing.T) {
	counted := func(c framework.Tally) tally { return tally{Tally: c} }
	for name, tc := range map[string]struct {
		result result
		want   string
	}{
		"no fault":            {result{}, "no fault has happened"},
		"missing":             {result{faults: 1, tally: counted(framework.Tally{Missing: 2})}, "2 missing"},
		"duplicated":          {result{faults: 1, tally: counted(framework.Tally{Duplicated: 3})}, "3 duplicated"},
		"unexpected":          {result{faults: 1, tally: counted(framework.Tally{Unexpected: 1})}, "1 unexpected"},
		"in doubt":            {result{faults: 1, tally: tally{unknown: 1}}, "1 in doubt or unknown"},
		"out of order":        {result{faults: 1, tally: tally{misordered: 1}}, "1 out of order"},
		"not announced":       {result{faults: 1, tally: counted(framework.Tally{NotAnnounced: 1})}, "1 not announced"},
		"announced too often": {result{faults: 1, tally: tally{repeated: 1}}, "1 announced too often"},
		"a problem":           {result{faults: 1, tally: tally{problems: []string{"odd"}}}, "odd"},
		"not at its end":      {result{faults: 1, err: errDeadlock}, errDeadlock.Error()},
	} {
		r := tc.result
		r.name = "one"
		var table bytes.Buffer
		if printTable(&table, []*result{&r}) || !strings.Contains(table.String(), tc.want) {
			t.Errorf("%s passes, or is not named: %s", name, &table)
		}
	}
	good := &result{faults: 1}
	if !printTable(&bytes.Buffer{}, []*result{good}) {
		t.Error("a good result does not pass")
	}
}

func TestChoose(t *testing.T) {
	all, err := choose("", false)
	noError(t, err)
	names := map[string]bool{}
	for _, s := range all {
		if names[s.name] || s.clause == "" || s.bound < time.Minute || s.run == nil {
			t.Errorf("scenario %q is named twice, or not complete", s.name)
		}
		if len(s.flags) > 0 && !s.alone {
			t.Errorf("scenario %q has flags, and shares an operator", s.name)
		}
		names[s.name] = true
	}
	if two, err := choose("id-zero,edited", false); err != nil || len(two) != 2 {
		t.Errorf("two by name: %d, %v", len(two), err)
	}
	if _, err := choose("id-zero,nonsense", false); err == nil {
		t.Error("a scenario that is not there was chosen")
	}
}

// TestOwnTarget checks what the scenarios require in addition to framework.ReadOwnTeamTalk.
func TestOwnTarget(t *testing.T) {
	key := t.TempDir() + "/key"
	noError(t, os.WriteFile(key, []byte(strings.Repeat("k", 32)+"\n"), 0o600))
	good := map[string]string{
		"DB_PROXY": "a:1", "ROUTER": "b:2", "SENDER": "1", "USERS": "2, 3", "GROUPS": "7", "AES_KEY_FILE": key,
	}
	read := func(without string) (*target, error) {
		return ownTarget(func(name string) string {
			if name == without {
				return ""
			}
			return good[name]
		})
	}
	got, err := read("")
	if err != nil || got.dbProxy != "a:1" || got.router != "b:2" || got.sender != 1 || len(got.users) != 2 || got.groups[0] != 7 || len(got.keys[0]) != 32 {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, name := range []string{"ROUTER", "DB_PROXY", "SENDER", "USERS", "GROUPS", "AES_KEY_FILE"} {
		if _, err := read(name); err == nil {
			t.Errorf("without %s: accepted", name)
		}
	}
	if none, err := ownTarget(func(string) string { return "" }); none != nil || err != nil {
		t.Errorf("without variables: %+v, %v", none, err)
	}
}

// TestRotate checks that scenarios send as different users in turn. They are the members of all groups.
func TestRotate(t *testing.T) {
	isMember := func(user, group uint32) bool { return user%2 == 1 || group == 8 }
	for turn, want := range []uint32{1, 3, 5, 1} {
		own := &target{sender: 1, users: []uint32{2, 3, 4, 5}, groups: []uint32{7, 8}}
		own.rotate(turn, isMember)
		all := slices.Sorted(slices.Values(append(own.users, own.sender)))
		if own.sender != want || len(own.users) != 4 || !slices.Equal(all, []uint32{1, 2, 3, 4, 5}) {
			t.Errorf("turn %d: sender %d of %d, want %d", turn, own.sender, own.users, want)
		}
	}
}

// TestCountingIsRepeated checks that reads are repeated, because a db_proxy with a hanging thread leaves some
// unanswered.
func TestCountingIsRepeated(t *testing.T) {
	w := &world{id: "r", target: devTarget(t.Context()), began: time.Now()}
	defer w.dev.Stop()
	w.name, w.patience = "s", 50*time.Millisecond
	if _, err := w.dev.Faults().Add(devserver.Fault{Kind: devserver.Drop, Every: 8}); err != nil {
		t.Fatal(err)
	}
	noError(t, framework.Try(func() {
		w.warmUp(t.Context())
		for n := range 30 {
			w.messages = append(w.messages, &message{number: n + 1, to: []recipient{{true, w.groups[n]}}})
		}
		if rows := w.rows(t.Context()); len(rows) != 0 {
			t.Errorf("rows of nothing: %v", rows)
		}
	}))
	if w.dev.Faults().Fired(devserver.Drop) < 5 {
		t.Error("the fault has not happened")
	}
}

func TestMain(m *testing.M) {
	framework.DiscardLogs()
	os.Exit(m.Run())
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestDocs compares the tables in docs/explanation/chaos.md with the scenarios and mutants.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "explanation", "chaos.md"))
	noError(t, err)
	yes := map[bool]string{true: "yes"}
	var rows, mutantRows strings.Builder
	for _, s := range scenarios() {
		fmt.Fprintf(&rows, "| `%s` | %s | %s | %s | %s |\n", s.name, s.clause, yes[s.alone], yes[s.needsDev], yes[s.short])
	}
	all, err := mutants.All()
	noError(t, err)
	for _, m := range all {
		fmt.Fprintf(&mutantRows, "| `%s` | `%s` | %s |\n", m.Name, cmp.Or(m.Scenario, m.Test), m.Description)
	}
	for what, want := range map[string]string{"scenarios": rows.String(), "mutants": mutantRows.String()} {
		if !strings.Contains(string(page), "\n"+want+"\n") {
			t.Errorf("docs/explanation/chaos.md lacks the table of %s:\n%s", what, want)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package observability

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// ofReading matches what the leader has seen read, by the type of the recipient: how
// often, and how long that took in all, in seconds.
var ofReading = regexp.MustCompile(`(?m)^teamtalk_operator_routed_to_read_seconds_(count|sum)\{recipient_type="(\w+)",[^}]*\} (\S+)$`)

// readBy returns it, as it is now.
func readBy(ctx context.Context) (times map[string]int, took float64, err error) {
	status, body, err := get(ctx, "https://"+world.leader.metrics+"/metrics", world.scraper)
	if err != nil || status != http.StatusOK {
		return nil, 0, fmt.Errorf("scrape: %d %w", status, err)
	}
	times = map[string]int{}
	for _, m := range ofReading.FindAllStringSubmatch(body, -1) {
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return nil, 0, err
		}
		if m[1] == "sum" {
			took += value
		} else {
			times[m[2]] += int(value)
		}
	}
	return times, took, nil
}

// readAs has a user of teamtalk-dev read a conversation.
func readAs(t *testing.T, user uint32, session string) {
	t.Helper()
	request := fmt.Sprintf(`{"user": %d, "session": %q}`, user, session)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, world.TeamTalk.InboxURL()+"/api/reads", strings.NewReader(request))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", request, resp.Status)
	}
}

// TestReads has users read what the operator has sent them, and looks for it in the
// leader's metrics: once, and not by whoever has sent it.
func TestReads(t *testing.T) {
	began := time.Now()
	before, tookBefore, err := readBy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(before) != 2 {
		t.Fatalf("before anything is read there is %v, want a series for users and one for groups", before)
	}
	var times map[string]int
	var took float64
	await := func(what string, users, groups int) {
		t.Helper()
		var last error
		chat(t).EventuallySeen(func() string { return fmt.Sprintf("%s: %v, %v", what, times, last) }, func() bool {
			times, took, last = readBy(t.Context())
			return last == nil && times["user"]-before["user"] >= users && times["group"]-before["group"] >= groups
		})
		if times["user"]-before["user"] != users || times["group"]-before["group"] != groups {
			t.Errorf("%s: read %v, before %v; want %d more by users and %d by groups", what, times, before, users, groups)
		}
	}
	send(t, "read-1", v1alpha1.Recipients{Users: []v1alpha1.UserID{11}})
	send(t, "read-2", v1alpha1.Recipients{Users: []v1alpha1.UserID{11, 12}})
	send(t, "read-3", v1alpha1.Recipients{Groups: []v1alpha1.GroupID{8}})

	// Routers relay in order: by when the last is seen, the others would have been.
	readAs(t, 1, "user:1:11") // the sender's own devices
	readAs(t, 1, "group:8")
	readAs(t, 11, "user:1:11")
	await("user 11", 2, 0)
	readAs(t, 11, "user:1:11")
	readAs(t, 4, "group:8")
	await("group 8", 2, 1)
	readAs(t, 5, "group:8")
	readAs(t, 12, "user:1:12")
	await("user 12", 3, 1)
	if most := 4 * time.Since(began).Seconds(); took-tookBefore <= 0 || took-tookBefore > most {
		t.Errorf("it took %v s, want more than 0 and at most %v", took-tookBefore, most)
	}
}

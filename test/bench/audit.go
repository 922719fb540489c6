// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// auditPolicy logs the requests of the operator, which are counted. It also logs those of the bare client, so that
// the log costs both the same.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- {level: Metadata, users: [` + operatorUser + `, ` + bareUser + `]}
- {level: None}
`

type auditLog struct{ path string }

// newAuditLog writes the policy into dir and returns the log with the API server's flags for it.
func newAuditLog(dir string) (*auditLog, map[string][]string) {
	policy := filepath.Join(dir, "audit-policy.yaml")
	framework.Must(os.WriteFile(policy, []byte(auditPolicy), 0o600))
	log := &auditLog{path: filepath.Join(dir, "audit.log")}
	return log, map[string][]string{
		"audit-policy-file":         {policy},
		"audit-log-path":            {log.path},
		"audit-log-maxsize":         {"10000"}, // megabytes: not rotated while it is read
		"delete-collection-workers": {"8"},
	}
}

type request struct {
	Verb string `json:"verb"`
	User struct {
		Username string `json:"username"`
	} `json:"user"`
	ObjectRef struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	RequestURI     string `json:"requestURI"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	Received time.Time `json:"requestReceivedTimestamp"`
	Answered time.Time `json:"stageTimestamp"`
}

func (q request) statusWrite() bool {
	return q.ObjectRef.Resource == messages && q.ObjectRef.Subresource == "status" &&
		slices.Contains([]string{"patch", "update"}, q.Verb)
}

// String names the kind of request, for counting.
func (q request) String() string {
	what := q.ObjectRef.Resource
	if q.ObjectRef.Subresource != "" {
		what += "/" + q.ObjectRef.Subresource
	}
	if what == "" {
		what, _, _ = strings.Cut(q.RequestURI, "?")
	}
	return q.Verb + " " + what
}

// longestLine is more than a line of the log has, at level Metadata.
const longestLine = 64 << 10

// end returns the position behind the last whole line: the next one may be half written.
func (l *auditLog) end() int64 {
	f, err := os.Open(l.path)
	if os.IsNotExist(err) {
		return 0
	}
	framework.Must(err)
	defer f.Close()
	from := max(0, framework.MustGet(f.Seek(0, io.SeekEnd))-longestLine)
	tail := framework.MustGet(io.ReadAll(io.NewSectionReader(f, from, longestLine)))
	return from + int64(bytes.LastIndexByte(tail, '\n')) + 1
}

// since returns the operator's requests after a position but watches, which are logged when they end.
func (l *auditLog) since(position int64) []request {
	f := framework.MustGet(os.Open(l.path))
	defer f.Close()
	framework.MustGet(f.Seek(position, io.SeekStart))
	return readAudit(f)
}

func readAudit(r io.Reader) (requests []request) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF { // a line without a newline is still being written
			return requests
		}
		framework.Mustf(err, "read the audit log")
		var q request
		framework.Mustf(json.Unmarshal(line, &q), "read the audit log")
		if q.User.Username == operatorUser && q.Verb != "watch" {
			requests = append(requests, q)
		}
	}
}

type usage struct {
	cpu      time.Duration
	requests []request
}

// use returns what the operator uses while f runs, which delivers messages: their status writes are logged too.
func (w *world) use(ctx context.Context, delivered []string, f func()) (u usage) {
	from, before := w.audit.end(), w.operator.cpu()
	f()
	u.cpu = w.operator.cpu() - before
	w.loggedStatus(ctx, from, delivered...)
	u.requests = w.audit.since(from)
	return u
}

// loggedStatus waits until the log shows a status write for each message that was delivered. A request is logged
// after its answer, perhaps after its effect in a watch.
func (w *world) loggedStatus(ctx context.Context, from int64, names ...string) {
	until(ctx, "the log shows every message's status write", func(context.Context) bool {
		logged := sets.New[string]()
		for _, q := range w.audit.since(from) {
			if q.statusWrite() && q.ResponseStatus.Code == 200 {
				logged.Insert(q.ObjectRef.Name)
			}
		}
		return logged.HasAll(names...)
	})
}

// tally counts requests by their verbs and resources, in words.
func tally(requests []request) string {
	counts := map[string]int{}
	for _, q := range requests {
		counts[q.String()]++
	}
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return counts[b] - counts[a] })
	for i, name := range names {
		names[i] = fmt.Sprintf("%d %s", counts[name], name)
	}
	return cmp.Or(strings.Join(names, ", "), "none")
}

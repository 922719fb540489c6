// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// auditPolicy has the API server log the requests of the operator, which are
// what is counted, and of the bare client, so that neither side of a ratio is
// spared what logging costs.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- {level: Metadata, users: [` + operatorUser + `, ` + bareUser + `]}
- {level: None}
`

// auditLog is the API server's log of requests.
type auditLog struct{ path string }

// newAuditLog writes the policy into dir and returns the log with the API
// server's flags for it.
func newAuditLog(dir string) (*auditLog, map[string][]string, error) {
	policy := filepath.Join(dir, "audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return nil, nil, fmt.Errorf("write the audit policy: %w", err)
	}
	log := &auditLog{path: filepath.Join(dir, "audit.log")}
	return log, map[string][]string{
		"audit-policy-file":         {policy},
		"audit-log-path":            {log.path},
		"audit-log-maxsize":         {"10000"}, // megabytes: not rotated while it is read
		"delete-collection-workers": {"8"},
	}, nil
}

// request is one line of the log.
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

// statusWrite reports whether the request writes the status of a message.
func (q request) statusWrite() bool {
	return q.ObjectRef.Resource == messages && q.ObjectRef.Subresource == "status" &&
		slices.Contains([]string{"patch", "update"}, q.Verb)
}

// String names the kind of request, to be counted by.
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

// end returns the position behind the last whole line that is logged by now: the
// API server may be in the middle of the next one.
func (l *auditLog) end() (int64, error) {
	f, err := os.Open(l.path)
	if os.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the audit log: %w", err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("read the audit log: %w", err)
	}
	from := max(0, size-longestLine)
	tail := make([]byte, size-from)
	if _, err := f.ReadAt(tail, from); err != nil {
		return 0, fmt.Errorf("read the audit log: %w", err)
	}
	return from + int64(bytes.LastIndexByte(tail, '\n')) + 1, nil
}

// since returns the operator's requests that were logged after a position,
// watches aside: they are logged when they end, whenever they began.
func (l *auditLog) since(position int64) ([]request, error) {
	f, err := os.Open(l.path)
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	defer f.Close()
	if _, err := f.Seek(position, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	return readAudit(f)
}

func readAudit(r io.Reader) ([]request, error) {
	var requests []request
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF { // what has no newline yet is still being written
			return requests, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the audit log: %w", err)
		}
		var q request
		if err := json.Unmarshal(line, &q); err != nil {
			return nil, fmt.Errorf("read the audit log: %w", err)
		}
		if q.User.Username == operatorUser && q.Verb != "watch" {
			requests = append(requests, q)
		}
	}
}

// tally counts requests by their kind, in words.
func tally(requests []request) string {
	counts := map[string]int{}
	for _, q := range requests {
		counts[q.String()]++
	}
	var kinds []string
	for kind := range counts {
		kinds = append(kinds, kind)
	}
	slices.SortFunc(kinds, func(a, b string) int { return counts[b] - counts[a] })
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%d %s", counts[kind], kind)
	}
	if len(kinds) == 0 {
		return "none"
	}
	return strings.Join(kinds, ", ")
}

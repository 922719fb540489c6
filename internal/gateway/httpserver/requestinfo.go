package httpserver

import (
	"context"
	"strconv"
	"sync"
)

// Note is what a handler tells of its request, for the log and the metrics. It must
// never be told of a text, key or token.
type Note struct {
	mu        sync.Mutex
	errorCode *int
	pairs     []any
}

type noteKey struct{}

// NoteOf returns the request's note; outside of a Server, one that nobody reads.
func NoteOf(ctx context.Context) *Note {
	if n, ok := ctx.Value(noteKey{}).(*Note); ok {
		return n
	}
	return &Note{}
}

// Code tells the code of the endpoint's own, beside the HTTP status: a small number
// of values, as it is a metric's label.
func (n *Note) Code(code int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.errorCode = &code
}

// Add tells something for the log alone.
func (n *Note) Add(name, value string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pairs = append(n.pairs, name, value)
}

func (n *Note) code() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.errorCode == nil {
		return ""
	}
	return strconv.Itoa(*n.errorCode)
}

func (n *Note) values() []any {
	code := n.code()
	n.mu.Lock()
	defer n.mu.Unlock()
	if code == "" {
		return n.pairs
	}
	return append([]any{"errorCode", code}, n.pairs...)
}
